//! The ledger over stores that are slow, fail, or look closely at what they are given.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod store_support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hostnic_core::clock::BootTime;
use hostnic_core::ledger::{Ledger, State, Write};
use hostnic_core::point::Point;
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use store_support::*;

/// A store that lets commits through one at a time, refuses some, and writes down all that it took.
#[derive(Debug)]
struct WatchedStore {
    memory: MemoryStore,
    /// One permit for each commit that may go on.
    gate: Semaphore,
    /// Which commits fail, counted from 0.
    failing: BTreeSet<usize>,
    /// The writes of each commit, refused ones too.
    commits: Mutex<Vec<Vec<Write>>>,
    /// A permit for each commit that has begun.
    begun: Semaphore,
}

impl WatchedStore {
    fn new(open: usize, failing: impl IntoIterator<Item = usize>) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryStore::default(),
            gate: Semaphore::new(open),
            failing: failing.into_iter().collect(),
            commits: Mutex::default(),
            begun: Semaphore::new(0),
        })
    }
}

#[async_trait]
impl StateStore for WatchedStore {
    async fn load(&self) -> Result<State> {
        self.memory.load().await
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let number = {
            let mut commits = self.commits.lock().unwrap();
            commits.push(writes.to_vec());
            commits.len() - 1
        };
        self.begun.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        if self.failing.contains(&number) {
            return Err(
                Error::new(ErrorKind::Transient, "write", "the test's store").detail("the disk is full")
            );
        }
        self.memory.commit(writes).await
    }
}

/// Counts up in one record: each step is built on the one before.
async fn count_up(ledger: &Ledger) -> Result<u64> {
    ledger
        .transact(Point::PrepareLease, |state| {
            let next = counted(state) + 1;
            Ok((vec![Write::PutTombstone(key(0).mark(), at(next))], next))
        })
        .await
}

fn counted(state: &State) -> u64 {
    state.tombstones.get(&key(0).mark()).copied().map_or(0, seconds)
}

fn seconds(time: BootTime) -> u64 {
    time.since_boot().as_secs()
}

#[tokio::test]
async fn after_a_failed_commit_memory_is_what_is_durable_and_the_next_step_works() {
    for failing in 0..6 {
        let store = WatchedStore::new(100, [failing]);
        let ledger = Ledger::open(store.clone()).await.unwrap();
        let mut expected = 0;
        for step in 0..8 {
            let result = count_up(&ledger).await;
            if step == failing {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Transient);
                assert!(error.to_string().contains("the disk is full"), "{error}");
            } else {
                expected += 1;
                assert_eq!(result.unwrap(), expected);
            }
            assert_eq!(ledger.read(counted), expected);
            assert_eq!(counted(&store.load().await.unwrap()), expected);
        }
    }
}

#[tokio::test]
async fn steps_built_on_one_that_fails_are_refused_with_it() {
    let store = WatchedStore::new(1, [1]);
    let ledger = Arc::new(Ledger::open(store.clone()).await.unwrap());
    count_up(&ledger).await.unwrap();
    store.begun.acquire().await.unwrap().forget();

    let count = || {
        let ledger = ledger.clone();
        tokio::spawn(async move { count_up(&ledger).await })
    };
    let first = count();
    // The first is with the store, the others wait behind it, built on it in memory.
    store.begun.acquire().await.unwrap().forget();
    let others: Vec<_> = (0..5).map(|_| count()).collect();
    while ledger.read(counted) < 7 {
        tokio::task::yield_now().await;
    }
    store.gate.add_permits(100);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Transient);
    for other in others {
        assert_eq!(other.await.unwrap().unwrap_err().kind(), ErrorKind::Transient);
    }
    assert_eq!(ledger.read(counted), 1);
    assert_eq!(store.commits.lock().unwrap().len(), 2, "what was refused never reached the store");
    assert_eq!(count_up(&ledger).await.unwrap(), 2);
    assert_eq!(counted(&store.load().await.unwrap()), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steps_made_at_once_are_committed_in_the_order_in_which_they_were_decided() {
    let store = WatchedStore::new(10_000, []);
    let ledger = Arc::new(Ledger::open(store.clone()).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                count_up(&ledger).await.unwrap();
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let order: Vec<u64> = store
        .commits
        .lock()
        .unwrap()
        .iter()
        .flatten()
        .map(|write| match write {
            Write::PutTombstone(_, at) => seconds(*at),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, (1..=800).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_waits_for_the_commit_that_it_promises() {
    let store = WatchedStore::new(0, []);
    let ledger = Arc::new(Ledger::open(store.clone()).await.unwrap());
    let mut step = Box::pin(count_up(&ledger));
    assert!(futures::poll!(&mut step).is_pending());
    store.begun.acquire().await.unwrap().forget();
    assert!(futures::poll!(&mut step).is_pending());
    store.gate.add_permits(1);
    assert_eq!(step.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_future_is_dropped_is_made_and_told_all_the_same() {
    let store = WatchedStore::new(0, []);
    let ledger = Ledger::open(store.clone()).await.unwrap();
    let mut changes = ledger.changes();
    {
        let mut step = Box::pin(count_up(&ledger));
        assert!(futures::poll!(&mut step).is_pending());
    }
    store.gate.add_permits(1);
    // The clock is paused: this runs out as soon as nobody has anything to do.
    tokio::time::timeout(std::time::Duration::from_secs(1), changes.changed()).await.unwrap().unwrap();
    assert_eq!(counted(&store.load().await.unwrap()), 1);
}

#[tokio::test]
async fn a_step_that_writes_nothing_never_touches_the_store() {
    let store = WatchedStore::new(0, []);
    let ledger = Ledger::open(store.clone()).await.unwrap();
    assert_eq!(ledger.transact(Point::PrepareLease, |_| Ok((vec![], 5))).await.unwrap(), 5);
    let refused: Result<()> =
        ledger.transact(Point::PrepareLease, |_| Err(Error::new(ErrorKind::Exhausted, "lease", "x"))).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Exhausted);
    assert!(store.commits.lock().unwrap().is_empty());
}
