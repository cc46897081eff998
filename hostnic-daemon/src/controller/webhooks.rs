//! The webhooks of this controller, which all of several answer and one has the API servers know of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use hostnic_kube::admission::{Admission, AdmissionState, Standing};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::flags::Controller;

/// How long to wait before something is tried again that failed.
const AGAIN: Duration = Duration::from_secs(2);
/// How long it is tried at the end to have changes made without the webhooks, and how soon again: less than the five seconds that
/// the lease leaves to a work that is to end.
const LEAVE: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_millis(200);

/// The webhooks, answered.
#[derive(Debug)]
pub(super) struct Webhooks {
    admission: Arc<Admission>,
    standing: watch::Sender<Standing>,
    /// Whether changes may be refused for want of an answer of this controller's, and nobody took that back.
    insists: AtomicBool,
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
        Ok(Some(Self { admission, standing, insists: AtomicBool::new(false), stop, task }))
    }

    /// How far things are.
    pub(super) fn state(&self) -> watch::Receiver<AdmissionState> {
        self.admission.state()
    }

    /// What is to be said by whoever has the lease. Nothing is, yet.
    pub(super) fn leading(&self) -> Leading<'_> {
        Leading(self)
    }

    /// Ends it: nothing is refused for want of an answer of this controller's.
    pub(super) async fn end(self) {
        // Its work was dropped before it could do so, and nobody else leads as yet.
        if self.insists.load(Ordering::Acquire) {
            self.relax().await;
        }
        self.stop.cancel();
        // It neither panics nor is it aborted.
        let _ = self.task.await;
    }

    /// Tries for [`LEAVE`] to have no change be refused for want of an answer.
    async fn relax(&self) {
        let mut why = "the API server is away".to_owned();
        let relaxed = timeout(LEAVE, async {
            while let Err(error) = self.admission.relax().await {
                why = error.chain().to_string();
                tokio::time::sleep(SOON).await;
            }
        });
        if relaxed.await.is_err() {
            tracing::warn!("changes may be refused until another controller leads: {why}");
        }
        self.insists.store(false, Ordering::Release);
    }
}

impl Leading<'_> {
    /// Says that this controller works from now on, when nothing is refused any more for want of the answer of who worked before.
    pub(super) async fn begin(&self) {
        let Self(webhooks) = self;
        while let Err(error) = webhooks.admission.relax().await {
            tracing::warn!(error = %error.chain(), "it may be that changes are refused which no webhook answers for; trying again");
            tokio::time::sleep(AGAIN).await;
        }
        webhooks.insists.store(true, Ordering::Release);
        webhooks.standing.send_replace(Standing::Ready);
    }

    /// Says that it does not work any more, and has nothing refused for want of its answer. To be awaited before the lease is given
    /// up, since whoever has it next may insist on webhooks of its own. Takes no longer than [`LEAVE`].
    pub(super) async fn end(self) {
        let Self(webhooks) = &self;
        // Or the next comparison would insist on them again.
        webhooks.standing.send_replace(Standing::Follower);
        webhooks.relax().await;
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.standing.send_replace(Standing::Follower);
    }
}
