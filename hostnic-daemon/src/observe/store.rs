//! The state store, watched: how long commits take, and what fails.

use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::Result;
use hostnic_core::ledger::{State, Write};
use hostnic_core::store::StateStore;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::errors::LastErrors;

/// In seconds: on a tmpfs a commit takes well under a millisecond, on a slow disk some ten.
const BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// How long commits took.
#[derive(Debug, Clone)]
pub(crate) struct Commits(pub(crate) Histogram);

impl Default for Commits {
    fn default() -> Self {
        Self(Histogram::new(BUCKETS))
    }
}

/// A store and who watches it.
#[derive(Debug)]
pub(super) struct WatchedStore {
    inner: Arc<dyn StateStore>,
    commits: Commits,
    errors: Arc<LastErrors>,
}

impl WatchedStore {
    pub(super) fn new(inner: Arc<dyn StateStore>, commits: Commits, errors: Arc<LastErrors>) -> Self {
        Self { inner, commits, errors }
    }

    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.errors.note(error))
    }
}

#[async_trait]
impl StateStore for WatchedStore {
    async fn load(&self) -> Result<State> {
        self.noted(self.inner.load().await)
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let begun = Instant::now();
        let result = self.inner.commit(writes).await;
        self.commits.0.observe(begun.elapsed().as_secs_f64());
        self.noted(result)
    }
}
