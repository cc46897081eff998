//! At most so many calls at a time.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::{Error, ErrorKind, Result};
use crate::layer::call::{Answer, Call};
use crate::layer::layered::Around;

/// Lets at most a fixed number of calls run at a time; further ones wait, first come first served.
///
/// Dropping a waiting call gives up its place; it never went to the cloud.
#[derive(Debug, Clone)]
pub struct Concurrency {
    permits: Arc<Semaphore>,
}

impl Concurrency {
    /// At most `limit` calls at a time, clones of this layer included.
    pub fn new(limit: NonZeroU32) -> Self {
        let permits = usize::try_from(limit.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)) }
    }
}

impl Around for Concurrency {
    async fn around<T, F>(&self, call: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        // It fails only for a closed semaphore, and nothing closes this one.
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, call.operation().phrase(), call).source(e))?;
        work.await
    }
}
