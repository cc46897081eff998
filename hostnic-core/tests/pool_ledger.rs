//! The ledger, when the store refuses a write: memory never stays ahead of what is durable.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::clock::BootTime;
use hostnic_core::ledger::{CreateIntent, Ledger, State, Write};
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_core::{Error, ErrorKind, Result};

use support::store::RefusingStore;

fn intent(n: u8) -> CreateIntent {
    CreateIntent {
        token: format!("token{n:08}").parse().unwrap(),
        subnet: "vxnet-1".parse().unwrap(),
        count: 1,
        since: BootTime::new(Duration::from_secs(1)),
    }
}

async fn put(ledger: &Ledger, n: u8) -> Result<()> {
    ledger.transact(|_| Ok((vec![Write::PutIntent(intent(n))], ()))).await
}

fn intents(state: &State) -> usize {
    state.intents.len()
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_taken_back_with_all_that_was_built_on_it() {
    let inner = MemoryStore::default();
    let store = RefusingStore::over(inner.clone());
    let ledger = Ledger::open(Arc::new(store.clone())).await.unwrap();
    put(&ledger, 0).await.unwrap();
    store.refuse(1);
    // The second comes while the first is being written: it could build on what is refused.
    let second = async {
        tokio::task::yield_now().await;
        let seen = ledger.transact(|state| Ok((vec![Write::PutIntent(intent(2))], intents(state)))).await;
        seen.map(drop)
    };
    let (first, second) = tokio::join!(put(&ledger, 1), second);
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(ledger.read(intents), 1, "memory is what the store is");
    put(&ledger, 3).await.unwrap();
    assert_eq!(ledger.read(Clone::clone), inner.load().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_fails_changes_nothing() {
    let ledger = Ledger::open(Arc::new(MemoryStore::default())).await.unwrap();
    let changes = ledger.changes();
    let refused = Error::new(ErrorKind::Conflict, "decide", "a test");
    let answer: Result<()> = ledger.transact(|_| Err(refused)).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Conflict);
    ledger.transact(|_| Ok((Vec::new(), ()))).await.unwrap();
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_caller_hangs_up_is_durable_all_the_same() {
    let store = MemoryStore::default();
    let ledger = Ledger::open(Arc::new(store.clone())).await.unwrap();
    let mut dropped = Box::pin(put(&ledger, 1));
    assert!(futures::poll!(&mut dropped).is_pending());
    drop(dropped);
    put(&ledger, 2).await.unwrap();
    assert_eq!(intents(&store.load().await.unwrap()), 2);
}
