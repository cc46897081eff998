//! Where the ledger's records survive the process.

mod memory;
#[cfg(feature = "redb")]
mod redb;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::ledger::{State, Write};

pub use memory::MemoryStore;
#[cfg(feature = "redb")]
pub use redb::{BootId, DumpedRecord, HostId, Identity, Opened, RedbStore, StoreDump, catches_panics};

/// Keeps a node's records over a restart of the process.
///
/// # Contract
/// - **Atomicity**: of one commit either all or nothing is found later, whatever is killed and when.
/// - **Durability**: what a commit that returned wrote is found by the next load.
/// - **Damage** is never passed on as data and never a panic. Found when a store is opened, it is kept aside and
///   said, and an empty store begins; the agent rebuilds from the cloud and the kernel. Found later it is the error
///   `Damaged`, and the store must be opened anew: one that went on empty behind its agent's back would give
///   addresses away twice.
/// - **Failure**: after a commit that failed, [`load`](Self::load) tells what is durable and later commits work
///   again, once the reason (a full disk, say) is gone.
/// - **Order**: commits are made in the order in which they were called, also where a future was dropped.
/// - **Cancellation**: a dropped commit is made or not made, never half.
#[async_trait]
pub trait StateStore: Send + Sync + Debug {
    /// All records.
    async fn load(&self) -> Result<State>;

    /// Makes these writes durable, in order and together.
    async fn commit(&self, writes: &[Write]) -> Result<()>;
}
