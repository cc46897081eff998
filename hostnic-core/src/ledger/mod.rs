//! The node's memory: records in memory, every change checked against the state machines and durable before its
//! effect is relied on.

mod committer;
mod record;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::point::{Point, Points, Side};
use crate::store::StateStore;

pub use record::{
    AddressRecord, AddressState, CreateIntent, LeaseRecord, LeaseState, NicRecord, NicRole, NicState,
    SubnetRange,
};
pub use state::{State, Write};

use committer::Commit;

/// The records of a node, kept in a [`StateStore`].
///
/// Reads are answered from memory and never wait. A [transaction](Self::transact) is one step of the state machines: its
/// writes are checked, applied in memory, and durable together when it returns. Transactions are committed in the order
/// in which they were applied, several at a time where they come together.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    points: Points,
    queue: mpsc::UnboundedSender<Commit>,
    closing: CancellationToken,
    committer: tokio::sync::Mutex<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    changes: watch::Sender<u64>,
    /// Set for good when what is durable cannot be read any more.
    broken: watch::Sender<bool>,
}

#[derive(Debug)]
struct Memory {
    state: State,
    /// Set while memory is ahead of a store that refused a write: nothing may build on it.
    failed: bool,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic while the lock is held cannot leave a half-applied state: writes are applied by infallible inserts.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Reads the store and begins to write to it.
    ///
    /// # Errors
    /// Those of [`StateStore::load`].
    pub async fn open(store: Arc<dyn StateStore>) -> Result<Self> {
        Self::open_probed(store, Points::default()).await
    }

    /// The same, and `points` hears of every transaction that writes something.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub async fn open_probed(store: Arc<dyn StateStore>, points: Points) -> Result<Self> {
        let state = store.load().await?;
        let shared = Arc::new(Shared {
            memory: Mutex::new(Memory { state, failed: false }),
            changes: watch::channel(0).0,
            broken: watch::channel(false).0,
        });
        // Unbounded, because a transaction must be queued while the lock is held; each entry has its caller waiting, so
        // there are never more of them than operations under way.
        let (queue, commits) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let committer = tokio::spawn(committer::run(shared.clone(), store, commits, closing.clone()));
        Ok(Self { shared, points, queue, closing, committer: committer.into() })
    }

    /// Looks at the state. `look` runs under a lock: it must be short and must not wait.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.memory().state)
    }

    /// Who hears of this ledger's transactions.
    pub(crate) fn points(&self) -> &Points {
        &self.points
    }

    /// Makes one step: `decide` sees the state and says what to write and what to answer. `point` is where in the code.
    ///
    /// The writes are in memory at once and durable when this returns. Dropping the future does not take them back.
    ///
    /// # Errors
    /// Whatever `decide` says, then nothing is changed; `Internal` for an illegal step; the store's own error when it cannot
    /// be written, then memory goes back to what is durable.
    pub async fn transact<T>(
        &self,
        point: Point,
        decide: impl FnOnce(&State) -> Result<(Vec<Write>, T)>,
    ) -> Result<T> {
        let (answer, durable) = {
            let mut memory = self.shared.memory();
            if memory.failed {
                return Err(Error::new(ErrorKind::Transient, "write", "the state store").detail(
                    "the last write failed and the store is being read again; try again in a moment",
                ));
            }
            let (writes, answer) = decide(&memory.state)?;
            if writes.is_empty() {
                return Ok(answer);
            }
            for write in &writes {
                memory.state.check(write)?;
            }
            self.points.reached(point, Side::Before);
            memory.state.apply(&writes);
            let (done, durable) = oneshot::channel();
            self.queue.send(Commit { writes, done }).map_err(|_| committer::stopped())?;
            (answer, durable)
        };
        durable.await.map_err(|_| committer::stopped())??;
        self.points.reached(point, Side::After);
        Ok(answer)
    }

    /// Waits until the records turn out to be damaged; every transaction fails from then on. Whoever opens the store
    /// anew begins with what can be found in the cloud and the kernel.
    pub async fn broken(&self) -> Error {
        let mut broken = self.shared.broken.subscribe();
        // The sender lives as long as the ledger, which this borrows.
        let _ = broken.wait_for(|broken| *broken).await;
        Error::new(ErrorKind::Damaged, "read", "the state store")
            .detail("records are damaged; start again: they are kept aside, and pods and NICs are looked for")
    }

    /// Takes no more transactions, makes those that were begun durable, and lets go of the store, so that it can be opened
    /// again. Closing again is fine. Dropping the future does not call it off.
    pub async fn close(&self) {
        self.closing.cancel();
        let mut committer = self.committer.lock().await;
        if !committer.is_finished() {
            // However it ended, it has let go of the store.
            let _ = (&mut *committer).await;
        }
    }

    /// Tells after every durable change; the value only counts them.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.committer.get_mut().abort();
    }
}
