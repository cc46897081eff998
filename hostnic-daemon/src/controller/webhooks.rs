//! The webhooks of this controller, which all of several answer and one has the API servers know of.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use hostnic_kube::admission::{Admission, AdmissionState, Standing};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::flags::Controller;

/// How long to wait before something is tried again that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// The webhooks, answered.
#[derive(Debug)]
pub(super) struct Webhooks {
    admission: Arc<Admission>,
    standing: watch::Sender<Standing>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What the one that works says of itself. It is one of several again when this is dropped.
#[derive(Debug)]
pub(super) struct Leading<'a>(&'a Webhooks);

impl Webhooks {
    /// Begins to answer; `None` where none are to be answered.
    ///
    /// # Errors
    /// `Invalid` for an address that cannot be listened on, and for flags that make no sense.
    pub(super) async fn begin(controller: &Controller) -> Result<Option<Self>> {
        let Some((address, settings)) = controller.admission()? else { return Ok(None) };
        let failed = |error: std::io::Error| {
            let failed = Error::new(ErrorKind::Invalid, "answer webhooks on", address);
            failed
                .detail("stop who listens there, or choose another address with --webhook-addr")
                .source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let admission = Admission::new(&controller.access(), settings).await.map_err(|source| {
            Error::new(ErrorKind::Invalid, "connect to", "the cluster")
                .detail("see --kubeconfig")
                .source(source)
        })?;
        let (admission, stop) = (Arc::new(admission), CancellationToken::new());
        let (standing, heard) = watch::channel(Standing::Follower);
        let (running, stopped) = (admission.clone(), stop.clone());
        let task = tokio::spawn(async move { running.run(listener, heard, stopped).await });
        Ok(Some(Self { admission, standing, stop, task }))
    }

    /// How far things are.
    pub(super) fn state(&self) -> watch::Receiver<AdmissionState> {
        self.admission.state()
    }

    /// Says that this controller works from now on, when nothing is refused any more for want of the answer of who worked before.
    pub(super) async fn lead(&self) -> Leading<'_> {
        while let Err(error) = self.admission.relax().await {
            tracing::warn!(error = %error.chain(), "it may be that changes are refused which no webhook answers for; trying again");
            tokio::time::sleep(AGAIN).await;
        }
        self.standing.send_replace(Standing::Ready);
        Leading(self)
    }

    /// Ends it: nothing is refused for want of an answer of this controller's.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // It neither panics nor is it aborted.
        let _ = self.task.await;
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.standing.send_replace(Standing::Follower);
    }
}
