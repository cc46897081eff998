//! The one task that writes to the store, in order, and several transactions at a time.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::store::StateStore;

use super::{Shared, Write};

/// How many transactions are committed together at the most, so that the first of them does not wait for ever.
const TOGETHER: usize = 256;

/// A transaction to be made durable.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) writes: Vec<Write>,
    pub(super) done: oneshot::Sender<Result<()>>,
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, "write", "the state store").detail("the node agent is stopping")
}

pub(super) async fn run(
    shared: Arc<Shared>,
    store: Arc<dyn StateStore>,
    mut commits: mpsc::UnboundedReceiver<Commit>,
    closing: CancellationToken,
) {
    let mut batch = Vec::new();
    while next(&mut commits, &mut batch, &closing).await > 0 {
        let writes: Vec<Write> = batch.iter_mut().flat_map(|c| std::mem::take(&mut c.writes)).collect();
        match store.commit(&writes).await {
            Ok(()) => {
                // Here and not in the transaction, whose future may be gone by now.
                shared.changes.send_modify(|n| *n += 1);
                batch.drain(..).for_each(|commit| drop(commit.done.send(Ok(()))));
            }
            Err(error) => fall_back(&shared, store.as_ref(), &mut commits, &mut batch, &error).await,
        }
    }
}

/// Waits for transactions. Once the ledger is closing only those come that were queued before.
async fn next(
    commits: &mut mpsc::UnboundedReceiver<Commit>,
    batch: &mut Vec<Commit>,
    closing: &CancellationToken,
) -> usize {
    tokio::select! {
        count = commits.recv_many(batch, TOGETHER) => return count,
        () = closing.cancelled() => commits.close(),
    }
    commits.recv_many(batch, TOGETHER).await
}

/// Memory is ahead of the store: refuses what was queued on top of the failed write, then goes back to what is durable.
async fn fall_back(
    shared: &Shared,
    store: &dyn StateStore,
    commits: &mut mpsc::UnboundedReceiver<Commit>,
    batch: &mut Vec<Commit>,
    error: &Error,
) {
    shared.memory().failed = true;
    while let Ok(commit) = commits.try_recv() {
        batch.push(commit);
    }
    tracing::error!(error = %error.chain(), transactions = batch.len(), "the state store cannot be written");
    go_back(shared, store).await;
    // Only now: whoever hears of the failure must find the old state, not the refused one.
    for commit in batch.drain(..) {
        let refused = Error::new(error.kind(), "record", "what was asked for")
            .detail(format!("it is not done; look at the disk, then try again: {}", error.chain()));
        drop(commit.done.send(Err(refused)));
    }
}

/// Memory becomes what is durable, as soon as that can be read. Records that are damaged cannot be: the ledger then
/// stays closed, and says so.
async fn go_back(shared: &Shared, store: &dyn StateStore) {
    loop {
        match store.load().await {
            Ok(state) => {
                let mut memory = shared.memory();
                memory.state = state;
                memory.failed = false;
                return;
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::error!(error = %error.chain(), "the state store is damaged; start again to rebuild it");
                shared.broken.send_replace(true);
                return;
            }
            Err(error) => {
                tracing::error!(error = %error.chain(), "the state store cannot be read; trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}
