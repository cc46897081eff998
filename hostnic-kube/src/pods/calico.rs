//! Calico's Felix, which enforces policies and nothing else, reads pods' addresses from annotations of theirs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::attachment::PodRef;
use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::error::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, info};

use super::Pods;
use super::cache::Named;
use crate::error::api_error;
use crate::events::{PodNote, is_of_no_pod};

/// From these Felix knows a pod's addresses, sooner than from the pod's status.
const ANNOTATIONS: [&str; 2] = ["cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs"];
/// How long the answer to a request may take that an ADD waits for: as long as the agent waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after something that could not be told later either, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];

const ANNOTATE: &str = "annotate pod";

/// Tells Calico's Felix the addresses of this node's pods, by the annotations `cni.projectcalico.org/podIP` and `podIPs`.
///
/// # What an ADD costs
/// One request, a patch of the pod with its uid, which the API server refuses for a later pod of its name. A pod that the watch has not
/// shown is looked up first, as [`Pods`] does it.
pub struct Calico {
    pods: Arc<Pods>,
    later: Arc<Later>,
}

impl fmt::Debug for Calico {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calico").field("pods", &self.pods).finish_non_exhaustive()
    }
}

/// Pods that run and whose address is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Later {
    due: Mutex<BTreeMap<Named, (PodRef, IpAddr)>>,
    more: Notify,
    /// Held while one of them is told: what is newer must not be overtaken by it.
    telling: tokio::sync::Mutex<()>,
}

fn name(pod: &PodRef) -> Named {
    (pod.namespace.clone(), pod.name.clone())
}

impl Later {
    fn due(&self) -> MutexGuard<'_, BTreeMap<Named, (PodRef, IpAddr)>> {
        // Every change of the map is one call.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, pod: &PodRef, address: IpAddr) {
        self.due().insert(name(pod), (pod.clone(), address));
        self.more.notify_one();
    }

    /// The first one after `last`, and after the last one the first of all.
    fn after(&self, last: Option<&Named>) -> Option<(PodRef, IpAddr)> {
        let due = self.due();
        let next = last.and_then(|last| due.iter().find(|(name, _)| *name > last));
        next.or_else(|| due.iter().next()).map(|(_, told)| told.clone())
    }

    /// Forgets what was to be told of the pod, if it is this.
    fn done(&self, told: &(PodRef, IpAddr)) {
        let mut due = self.due();
        if due.get(&name(&told.0)) == Some(told) {
            due.remove(&name(&told.0));
        }
    }

    /// Forgets what was to be told of the pod, and waits until it is not being told.
    async fn superseded(&self, pod: &PodRef) {
        if self.due().remove(&name(pod)).is_some() {
            drop(self.telling.lock().await);
        }
    }
}

impl Calico {
    pub(crate) fn new(pods: Arc<Pods>, later: Arc<Later>) -> Self {
        Self { pods, later }
    }
}

#[async_trait]
impl PolicyEnforcer for Calico {
    async fn tell(&self, pod: &PodRef, address: IpAddr) -> Result<()> {
        self.later.superseded(pod).await;
        annotate(&self.pods, pod, address).await
    }

    fn tell_later(&self, pod: &PodRef, address: IpAddr) {
        self.later.put(pod, address);
    }
}

/// Writes the annotations, once.
async fn annotate(pods: &Pods, pod: &PodRef, address: IpAddr) -> Result<()> {
    let seen = pods.known(pod).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => gone(pod).source(error),
        _ => error,
    })?;
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let value = format!("{address}/{prefix}");
    let annotations = ANNOTATIONS.map(|name| (name, value.clone())).into();
    let note = PodNote::new(pod, seen.uid(), annotations);
    match note.write(&pods.asker, PATIENCE).await {
        Ok(()) => Ok(()),
        Err(error) if is_of_no_pod(&error) => Err(gone(pod)),
        Err(error) => Err(api_error(ANNOTATE, pod, error)),
    }
}

fn gone(pod: &PodRef) -> Error {
    Error::new(ErrorKind::Cancelled, ANNOTATE, pod).detail("it is gone, and needs no address any more")
}

/// Tells what is due, one after the other, until it is told or the pod is gone.
pub(crate) async fn tell_later(pods: Arc<Pods>, later: Arc<Later>) {
    let [least, most] = PAUSES;
    let (mut pause, mut last) = (least, None);
    loop {
        let Some(told) = later.after(last.as_ref()) else {
            later.more.notified().await;
            continue;
        };
        let (pod, address) = &told;
        last = Some(name(pod));
        let outcome = {
            let _telling = later.telling.lock().await;
            // An ADD may have told something newer meanwhile.
            if later.due().get(&name(pod)) != Some(&told) {
                continue;
            }
            annotate(&pods, pod, *address).await
        };
        match outcome {
            Ok(()) => {
                info!("network policies know the address of pod {pod} now");
                later.done(&told);
                pause = least;
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => later.done(&told),
            Err(error) => {
                debug!("network policies do not know the address of pod {pod} yet: {}", error.chain());
                sleep(pause).await;
                pause = (pause * 2).min(most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "n".to_owned(), name: name.to_owned(), uid: Some("u".to_owned()) }
    }

    #[tokio::test]
    async fn what_is_told_later_is_the_latest_and_nobody_is_forgotten() {
        let later = Later::default();
        assert_eq!(later.after(None), None);
        let address = |n: u8| IpAddr::from([10, 9, 0, n]);
        for (pod_name, n) in [("a", 1), ("b", 2), ("a", 3)] {
            later.put(&pod(pod_name), address(n));
        }
        let first = later.after(None).unwrap();
        assert_eq!(first, (pod("a"), address(3)));
        assert_eq!(later.after(Some(&name(&pod("a")))).unwrap().0, pod("b"));
        assert_eq!(later.after(Some(&name(&pod("b")))).unwrap().0, pod("a"), "and the first again");
        later.done(&(pod("a"), address(1)));
        assert!(later.due().contains_key(&name(&pod("a"))), "something newer is to be told");
        later.done(&first);
        later.superseded(&pod("b")).await;
        assert_eq!(later.after(None), None);
    }

    #[tokio::test]
    async fn what_is_being_told_is_waited_for_before_something_newer_is() {
        let (later, pod) = (Later::default(), pod("a"));
        later.put(&pod, IpAddr::from([10, 9, 0, 1]));
        let telling = later.telling.lock().await;
        let newer = later.superseded(&pod);
        tokio::pin!(newer);
        assert!(futures::poll!(&mut newer).is_pending());
        drop(telling);
        newer.await;
        // Nobody waits for what others are told.
        let _telling = later.telling.lock().await;
        assert!(futures::poll!(std::pin::pin!(later.superseded(&pod))).is_ready());
    }
}
