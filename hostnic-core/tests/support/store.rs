//! A store that refuses to write when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hostnic_core::ledger::{State, Write};
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_core::{Error, ErrorKind, Result};

/// A [`MemoryStore`] whose next commits can be made to fail. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusingStore {
    inner: MemoryStore,
    refuse: Arc<AtomicU32>,
}

impl RefusingStore {
    pub(crate) fn over(inner: MemoryStore) -> Self {
        Self { inner, refuse: Arc::default() }
    }

    /// The next so many commits fail.
    pub(crate) fn refuse(&self, commits: u32) {
        self.refuse.store(commits, Ordering::SeqCst);
    }

    /// Whether a refusal is still to come.
    pub(crate) fn refusals_left(&self) -> u32 {
        self.refuse.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl StateStore for RefusingStore {
    async fn load(&self) -> Result<State> {
        self.inner.load().await
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        tokio::task::yield_now().await;
        let next = |left: u32| left.checked_sub(1);
        if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok() {
            return Err(Error::new(ErrorKind::Transient, "write", "the test's store").detail("no space left"));
        }
        self.inner.commit(writes).await
    }
}
