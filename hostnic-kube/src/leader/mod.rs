//! Of several that could do a work, one does it: who has a Lease of the cluster's.

mod election;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use hostnic_core::Result;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::{Asker, connect};
use crate::config::Access;
use crate::error::{ConnectError, api_error};
use election::{Observed, Step, Terms, given_up};

/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(4);
/// How long to wait after a request that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Who may have the lease, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Unlike that of any other process, and of this one before it was restarted.
    pub identity: String,
}

/// Has a work done by one process of the cluster at a time.
///
/// The Lease is `coordination.k8s.io/v1`, used as the controllers of Kubernetes use theirs: it lasts 15 s and is renewed every 2 s;
/// who could not renew it for 10 s stops working, and who ends in good order gives it up at once.
pub struct Leader {
    asker: Asker,
    candidate: Candidate,
    terms: Terms,
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("candidate", &self.candidate).finish_non_exhaustive()
    }
}

/// The lease, as it was written last.
struct Held {
    lease: Lease,
    /// When the request was sent that wrote it.
    renewed: Instant,
}

impl Leader {
    /// Reads how to reach the API server. Waits for no answer of it.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn new(access: &Access, candidate: Candidate) -> std::result::Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        Ok(Self { asker, candidate, terms: Terms::USUAL })
    }

    /// Waits until this process has the lease, and has `work` done as long as it has it, again and again, until `stop`.
    ///
    /// `work` is told to end by its token, when the lease is lost or at `stop`, and is awaited. It has five seconds: what has not
    /// ended then is dropped. When it ends by itself, it is begun again. Dropping the future drops the work, and leaves the lease
    /// to run out.
    pub async fn run<W: Future<Output = ()>>(
        mut self,
        stop: CancellationToken,
        mut work: impl FnMut(CancellationToken) -> W,
    ) {
        loop {
            let held = tokio::select! {
                held = self.acquire() => held,
                () = stop.cancelled() => return,
            };
            let identity = &self.candidate.identity;
            tracing::info!(lease = self.candidate.name, identity, "this process has the lease and works");
            let ending = stop.child_token();
            let mut held = Some(held);
            {
                let worked = work(ending.clone());
                tokio::pin!(worked);
                tokio::select! {
                    () = &mut worked => {}
                    () = self.keep(&mut held) => {
                        tracing::warn!(lease = self.candidate.name, "the lease is lost; another process may work now");
                        ending.cancel();
                        self.end(worked).await;
                    }
                    () = stop.cancelled() => self.end(worked).await,
                }
            }
            if stop.is_cancelled() {
                if held.is_some() {
                    self.give_up().await;
                }
                return;
            }
        }
    }

    /// Waits for a work that was told to end, as long as nobody else can have the lease.
    async fn end(&self, worked: impl Future<Output = ()>) {
        let until = Instant::now() + (self.terms.lasts - self.terms.works);
        if timeout_at(until, worked).await.is_err() {
            tracing::warn!("the work did not end in time and is dropped");
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.asker.client.clone(), &self.candidate.namespace)
    }

    fn subject(&self) -> String {
        format!("Lease {}/{}", self.candidate.namespace, self.candidate.name)
    }

    async fn acquire(&mut self) -> Held {
        let mut observed = Observed::default();
        let mut failing = false;
        loop {
            let again = match self.try_to_take(&mut observed).await {
                Ok(Ok(held)) => return held,
                Ok(Err(again)) => {
                    failing = false;
                    // Who has it may give it up before it runs out.
                    again.min(Instant::now() + self.terms.renewal)
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = %error.chain(), "it cannot be told who works; trying again");
                    }
                    Instant::now() + AGAIN
                }
            };
            sleep_until(again).await;
        }
    }

    /// Looks at the lease and takes it if it is to be had; otherwise says when it may be.
    async fn try_to_take(&self, observed: &mut Observed) -> Result<std::result::Result<Held, Instant>> {
        let failed = |error| api_error("take", self.subject(), error);
        let found = self.asker.ask(self.leases().get_opt(&self.candidate.name)).await.map_err(failed)?;
        let lease = found.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.candidate.name.clone()),
                namespace: Some(self.candidate.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let me = &self.candidate.identity;
        match observed.decide(&lease, me, self.terms, Instant::now(), Timestamp::now()) {
            Step::Wait(until) => Ok(Err(until)),
            Step::Take(spec) => self.write(lease, spec).await.map(Ok),
        }
    }

    /// Writes the lease; `Conflict` when somebody else did so meanwhile.
    async fn write(&self, mut lease: Lease, spec: LeaseSpec) -> Result<Held> {
        lease.spec = Some(spec);
        let (api, params, renewed) = (self.leases(), PostParams::default(), Instant::now());
        let written = if lease.metadata.resource_version.is_some() {
            self.asker.ask(api.replace(&self.candidate.name, &params, &lease)).await
        } else {
            self.asker.ask(api.create(&params, &lease)).await
        };
        let lease = written.map_err(|error| api_error("write", self.subject(), error))?;
        Ok(Held { lease, renewed })
    }

    /// Renews the lease, and returns when it can no longer be relied on: `held` is `None` then.
    async fn keep(&self, held: &mut Option<Held>) {
        while let Some(current) = held.as_ref() {
            sleep_until(current.renewed + self.terms.renewal).await;
            let until = current.renewed + self.terms.works;
            let renewed = timeout_at(until, self.renew(current.lease.clone())).await;
            *held = renewed.ok().flatten();
        }
    }

    /// Renews the lease, however often that must be tried; `None` when somebody else has it.
    async fn renew(&self, lease: Lease) -> Option<Held> {
        let (me, now) = (&self.candidate.identity, Instant::now);
        let mut lease = lease;
        loop {
            let decided = Observed::default().decide(&lease, me, self.terms, now(), Timestamp::now());
            let Step::Take(spec) = decided else { return None };
            match self.write(lease.clone(), spec).await {
                Ok(held) => return Some(held),
                Err(error) => tracing::debug!(error = %error.chain(), "the lease is not renewed yet"),
            }
            tokio::time::sleep(AGAIN).await;
            // An answer may have been lost, and somebody may have written it by hand.
            if let Ok(Some(found)) = self.asker.ask(self.leases().get_opt(&self.candidate.name)).await {
                lease = found;
            }
        }
    }

    async fn give_up(&self) {
        if let Err(error) = self.try_to_give_up().await {
            tracing::debug!(error = %error.chain(), "the lease is left to run out");
        }
    }

    async fn try_to_give_up(&self) -> Result<()> {
        let failed = |error| api_error("give up", self.subject(), error);
        // A renewal may have been under way.
        let found = self.asker.ask(self.leases().get_opt(&self.candidate.name)).await.map_err(failed)?;
        let Some(lease) = found else { return Ok(()) };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.candidate.identity) {
            return Ok(());
        }
        self.write(lease, given_up(&spec, Timestamp::now())).await.map(drop)
    }
}
