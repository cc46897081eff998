//! Where the ledger's records survive the process.

mod memory;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::ledger::{State, Write};

pub use memory::MemoryStore;

/// Keeps a node's records over a restart of the process.
///
/// # Contract
/// - **Atomicity**: of one commit either all or nothing is found later, whatever is killed and when.
/// - **Durability**: what a commit that returned wrote is found by the next load.
/// - **Damage** is never passed on as data and never a panic: a record that cannot be trusted makes [`load`](Self::load)
///   keep the damaged file aside, say so, and begin anew; the agent rebuilds from the cloud and the kernel.
/// - **Cancellation**: a dropped commit is made or not made, never half.
#[async_trait]
pub trait StateStore: Send + Sync + Debug {
    /// All records.
    async fn load(&self) -> Result<State>;

    /// Makes these writes durable, in order and together.
    async fn commit(&self, writes: &[Write]) -> Result<()>;
}
