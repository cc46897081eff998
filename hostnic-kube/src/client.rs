//! The way to the API server: one deadline for every answer, and whether there were answers at all.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

use crate::config::Access;
use crate::error::{ConnectError, NoAnswer, Unreached};

/// Whether the API server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing was asked yet.
    Unknown,
    /// The last request had an answer, whatever it said.
    Answers,
    /// The last request had none.
    Away,
}

/// A way to ask the API server, on which every request has its whole answer, or an error, within the deadline.
#[derive(Clone)]
pub(crate) struct Asker {
    /// What watches need: the head of every answer is in time, and the rest may take as long as it likes.
    pub(crate) client: Client,
    deadline: Duration,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Asker {
    /// Waits for the answer to one request.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let late = |_| kube::Error::Service(NoAnswer { after: self.deadline }.into());
        timeout(self.deadline, request).await.map_err(late)?
    }

    /// The same, for an answer that may take as long as this, and not as long as others.
    pub(crate) async fn ask_within<T: DeserializeOwned>(
        &self,
        deadline: Duration,
        mut request: Request<Vec<u8>>,
    ) -> Result<T, kube::Error> {
        request.extensions_mut().insert(Within(deadline));
        let late = |_| kube::Error::Service(NoAnswer { after: deadline }.into());
        timeout(deadline, self.client.request(request)).await.map_err(late)?
    }

    /// How long answers may take that nothing else is said of.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }
}

/// On a request: how long the head of its answer may take.
#[derive(Debug, Clone, Copy)]
struct Within(Duration);

/// Prepares to ask; asks for nothing yet.
pub(crate) async fn connect(
    access: &Access,
    deadline: Duration,
) -> Result<(Asker, watch::Receiver<Reach>), ConnectError> {
    let mut config = match access {
        Access::InCluster => {
            // Each of the errors on the way says what its cause says.
            Config::incluster().map_err(|e| ConnectError::InCluster(Box::new(Unreached::of(&e))))?
        }
        Access::Kubeconfig(path) => {
            let wrong = |e| ConnectError::Kubeconfig { path: path.clone(), source: Box::new(e) };
            let file = Kubeconfig::read_from(path).map_err(wrong)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(wrong)?
        }
    };
    config.connect_timeout = Some(deadline);
    // Repetitions are decided where it is known what they are for.
    config.default_retry = false;
    let (reach, heard) = watch::channel(Reach::Unknown);
    let client = ClientBuilder::try_from(config)
        .map_err(|e| ConnectError::Credentials(Box::new(e)))?
        .with_layer(&Answered { deadline, reach })
        .build();
    Ok((Asker { client, deadline }, heard))
}

#[derive(Clone)]
struct Answered {
    deadline: Duration,
    reach: watch::Sender<Reach>,
}

impl<S> Layer<S> for Answered {
    type Service = AnsweredService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        AnsweredService { inner, answered: self.clone() }
    }
}

struct AnsweredService<S> {
    inner: S,
    answered: Answered,
}

impl Answered {
    fn heard(&self, reach: Reach) {
        self.reach.send_if_modified(|was| std::mem::replace(was, reach) != reach);
    }
}

impl<S, B> Service<Request<B>> for AnsweredService<S>
where
    S: Service<Request<B>>,
    S::Response: 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answered = self.answered.clone();
        let deadline = request.extensions().get().map_or(answered.deadline, |Within(deadline)| *deadline);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let outcome = match timeout(deadline, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(NoAnswer { after: deadline }.into()),
            };
            answered.heard(if outcome.is_ok() { Reach::Answers } else { Reach::Away });
            outcome
        })
    }
}
