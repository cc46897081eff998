//! Tasks that end with the agent, and answers that survive their caller.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};

/// Runs operations to their end even when their callers hang up, and stops them all when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Owned {
    tasks: Mutex<JoinSet<()>>,
}

impl Owned {
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move { drop(answer.send(operation.await)) });
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Cancelled, "serve", "a request")
                .detail("the node agent is stopping; try again"))
        })
    }

    /// Stops the operations that run, and waits until they have.
    pub(super) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}
