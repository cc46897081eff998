//! What is remembered of each pod: little, since there may be hundreds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostnic_core::attachment::PodRef;
use tokio::sync::watch;

use super::object::{NodePod, is_owed_an_interface};
use crate::annotation::Asked;

/// On a mirror pod, which stands for a static pod of the kubelet's: the uid by which the kubelet knows that pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is remembered of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    uid: Box<str>,
    mirror: Option<Box<str>>,
    asked: Option<Arc<Asked>>,
    owed: bool,
}

impl Seen {
    pub(crate) fn of(pod: &NodePod) -> Option<Self> {
        let annotations = pod.metadata.annotations.as_ref();
        Some(Self {
            uid: pod.metadata.uid.as_deref()?.into(),
            mirror: annotations.and_then(|a| a.get(MIRROR)).map(|uid| uid.as_str().into()),
            asked: annotations.and_then(Asked::read).map(Arc::new),
            owed: is_owed_an_interface(pod),
        })
    }

    /// Whether a runtime that says `uid` means this pod.
    pub(crate) fn is(&self, uid: &str) -> bool {
        *self.uid == *uid || self.mirror.as_deref() == Some(uid)
    }

    /// What its annotations ask for; `None` for nothing.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.asked.as_deref()
    }

    /// Whether it is to have an interface, whether it has it or not.
    pub(crate) fn is_owed_an_interface(&self) -> bool {
        self.owed
    }

    /// Its uid in the cluster.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// The uid by which the kubelet, its runtime and `kubectl describe`, which looks for events, know it: for a static pod not the
    /// cluster's.
    pub(crate) fn event_uid(&self) -> &str {
        self.mirror.as_deref().unwrap_or(&self.uid)
    }
}

/// A pod's namespace and name.
pub(crate) type Named = (String, String);

fn named(pod: &NodePod) -> Option<Named> {
    Some((pod.metadata.namespace.clone()?, pod.metadata.name.clone()?))
}

/// The pods that the watch has shown.
#[derive(Debug)]
pub(crate) struct Cache {
    pods: Mutex<HashMap<Named, Seen>>,
    changes: watch::Sender<u64>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { pods: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, HashMap<Named, Seen>> {
        // Every change of the map is one call, so it is whole even where a thread died over it.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the present state as seen by the receiver, which then hears of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The pod of this name, if a runtime that says its uid means that pod. Without a uid, whatever has the name.
    pub(crate) fn find(&self, pod: &PodRef) -> Option<Seen> {
        let pods = self.lock();
        let seen = pods.get(&(pod.namespace.clone(), pod.name.clone()))?;
        pod.uid.as_deref().is_none_or(|uid| seen.is(uid)).then(|| seen.clone())
    }

    /// The pods that are owed an interface, whether they have it or not.
    pub(crate) fn owed(&self) -> Vec<PodRef> {
        let pods = self.lock();
        let owed = pods.iter().filter(|(_, seen)| seen.owed);
        owed.map(|((namespace, name), seen)| PodRef {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: Some(seen.event_uid().to_owned()),
        })
        .collect()
    }

    /// A pod was made or changed.
    pub(crate) fn put(&self, pod: &NodePod) {
        if let (Some(name), Some(seen)) = (named(pod), Seen::of(pod)) {
            self.lock().insert(name, seen);
            self.changes.send_modify(|n| *n += 1);
        }
    }

    /// A pod is gone. One of its name that came later stays.
    pub(crate) fn remove(&self, pod: &NodePod) {
        if let (Some(name), Some(gone)) = (named(pod), Seen::of(pod)) {
            let mut pods = self.lock();
            if pods.get(&name).is_some_and(|seen| seen.uid == gone.uid) {
                pods.remove(&name);
            }
            drop(pods);
            self.changes.send_modify(|n| *n += 1);
        }
    }

    /// These are all there are.
    pub(crate) fn replace(&self, pods: HashMap<Named, Seen>) {
        *self.lock() = pods;
        self.changes.send_modify(|n| *n += 1);
    }

    /// Collects what a list shows, for [`Cache::replace`].
    pub(crate) fn gather(list: &mut HashMap<Named, Seen>, pod: &NodePod) {
        if let (Some(name), Some(seen)) = (named(pod), Seen::of(pod)) {
            list.insert(name, seen);
        }
    }
}
