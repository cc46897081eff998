//! A store for tests and for embedders without a disk.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::error::Result;
use crate::ledger::{State, Write};

use super::StateStore;

/// Keeps records in memory. A clone is the same store, so it outlives the agent that writes to it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn load(&self) -> Result<State> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).apply(writes);
        Ok(())
    }
}
