//! Tasks that end with the agent, and answers that survive their caller.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};

/// Where an operation's answer goes. That the caller has hung up is no error.
pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

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
        self.run_on(|answer| async move { drop(answer.send(operation.await)) }).await
    }

    /// The same, for an operation that answers when it is told to, and may go on after that.
    pub(super) async fn run_on<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        &self,
        operation: impl FnOnce(Answer<T>) -> F,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(operation(answer));
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
