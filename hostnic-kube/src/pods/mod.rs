//! The pods of this node: what they ask for, whether they are there, and what they are told.

mod cache;
mod calico;
mod object;
mod watch;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::attachment::PodRef;
use hostnic_core::error::{Error, ErrorKind, Result};
use hostnic_core::id::SubnetId;
use hostnic_core::ipam::Lease;
use hostnic_core::pods::{PodDirectory, PodWishes};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout_at};

use crate::client::Asker;
use crate::config::Deadlines;
use crate::error::api_error;
use crate::events::Reporter;
pub(crate) use cache::{Cache, Seen};
pub use calico::Calico;
pub(crate) use calico::{Later, tell_later};
pub(crate) use object::{Placed, all_placed};
pub(crate) use watch::follow;

/// What pods may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodRules {
    /// The vxnets that pods may name by annotation; `None` for any. A pod that names an address alone gets it in the node's
    /// vxnet, whatever stands here.
    pub annotation_vxnets: Option<Vec<SubnetId>>,
}

/// The pods that are bound to this node.
///
/// # What an ADD costs
/// A pod that the watch has shown, by the uid that the runtime gave, is answered from memory, whether the API server can
/// be reached or not. One that it has not shown is waited for ([`Deadlines::pod_watch`]) and then asked for once. A pod whose
/// uid the runtime does not give (dockershim) is always asked for, since what is remembered may be an earlier pod of its name.
/// The uid of a static pod is the kubelet's, and is looked for in its mirror's annotation.
pub struct Pods {
    cache: Arc<Cache>,
    asker: Asker,
    rules: PodRules,
    deadlines: Deadlines,
    reporter: Reporter,
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pods")
            .field("rules", &self.rules)
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

const READ: &str = "read pod";

impl Pods {
    pub(crate) fn new(
        cache: Arc<Cache>,
        asker: Asker,
        rules: PodRules,
        deadlines: Deadlines,
        reporter: Reporter,
    ) -> Self {
        Self { cache, asker, rules, deadlines, reporter }
    }

    /// Whether the pod is gone from the cluster: no pod of that name, or only one with another uid. `None` where that is not
    /// known, because the API server cannot be asked.
    ///
    /// A pod that is there is answered from memory; one that seems gone is asked for once, so this is not for hot paths.
    /// A pod whose deletion has begun is not gone. The future may be dropped.
    pub async fn gone(&self, pod: &PodRef) -> Option<bool> {
        if self.cache.find(pod).is_some() {
            return Some(false);
        }
        match self.ask(pod).await {
            Ok(_) => Some(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(true),
            Err(_) => None,
        }
    }

    /// The pods of this node that are owed an interface by now, as the watch has shown them, whether they have it or not: those that
    /// are bound to it, are to run, and have a network of their own. From memory.
    pub fn owed(&self) -> Vec<PodRef> {
        self.cache.owed()
    }

    /// Hears of every change of the node's pods that the watch shows.
    pub fn changes(&self) -> Receiver<u64> {
        self.cache.changes()
    }

    /// The pod that the runtime means, by the watch, which may be a moment behind.
    async fn shown(&self, pod: &PodRef) -> Option<Seen> {
        // Without a uid nothing says that what is shown is not an earlier pod of that name.
        pod.uid.as_ref()?;
        let mut changes = self.cache.changes();
        let until = Instant::now() + self.deadlines.pod_watch;
        loop {
            if let Some(seen) = self.cache.find(pod) {
                return Some(seen);
            }
            timeout_at(until, changes.changed()).await.ok()?.ok()?;
        }
    }

    /// The pod that the runtime means, by whoever knows it sooner.
    async fn known(&self, pod: &PodRef) -> Result<Seen> {
        match self.shown(pod).await {
            Some(seen) => Ok(seen),
            None => self.ask(pod).await,
        }
    }

    /// Asks the API server for the pod, once.
    async fn ask(&self, pod: &PodRef) -> Result<Seen> {
        let pods = object::of_namespace(self.asker.client.clone(), &pod.namespace);
        let answer = self.asker.ask(pods.get(&pod.name)).await.map_err(|e| api_error(READ, pod, e))?;
        match Seen::of(&answer) {
            Some(seen) if pod.uid.as_deref().is_none_or(|uid| seen.is(uid)) => Ok(seen),
            seen => Err(Error::new(ErrorKind::NotFound, READ, pod).detail(format_args!(
                "that pod is gone: the one of its name has the uid {}, not {}",
                seen.as_ref().map_or("-", Seen::uid),
                pod.uid.as_deref().unwrap_or("-"),
            ))),
        }
    }
}

#[async_trait]
impl PodDirectory for Pods {
    async fn wishes(&self, pod: &PodRef) -> Result<PodWishes> {
        let seen = self.known(pod).await?;
        let Some(asked) = seen.asked() else { return Ok(PodWishes::default()) };
        asked
            .wishes(self.rules.annotation_vxnets.as_deref())
            .map_err(|wrong| Error::new(ErrorKind::Invalid, "read the annotations of pod", pod).detail(wrong))
    }

    async fn over(&self, pod: &PodRef) {
        let mut changes = self.cache.changes();
        let mut known = self.shown(pod).await.is_some();
        if !known && self.gone(pod).await == Some(true) {
            return;
        }
        loop {
            match self.cache.find(pod) {
                Some(seen) if seen.is_owed_an_interface() => known = true,
                // The watch may be behind.
                None if !known => {}
                _ => return,
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn attached(&self, pod: &PodRef, lease: &Lease) {
        self.reporter.attached(pod, self.cache.find(pod).as_ref(), lease);
    }

    fn failed(&self, pod: &PodRef, error: &Error) {
        self.reporter.failed(pod, self.cache.find(pod).as_ref(), error);
    }
}
