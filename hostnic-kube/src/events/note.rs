//! Annotations that tell about a pod's NIC and address.

use std::collections::BTreeMap;
use std::time::Duration;

use hostnic_core::attachment::PodRef;
use hostnic_core::ipam::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::annotation::{Asked, NIC, NIC_GIVEN};
use crate::client::Asker;
use crate::pods::Seen;

/// Annotations to be written on one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodNote {
    pub(super) namespace: String,
    pub(super) name: String,
    uid: String,
    annotations: BTreeMap<&'static str, String>,
}

impl PodNote {
    /// For the pod of this uid in the cluster.
    pub(crate) fn new(pod: &PodRef, uid: &str, annotations: BTreeMap<&'static str, String>) -> Self {
        Self { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: uid.to_owned(), annotations }
    }

    /// Which NIC it was given; `None` where it names one itself, or may do so, since it is not known.
    pub(super) fn nic(pod: &PodRef, seen: Option<&Seen>, lease: &Lease) -> Option<Self> {
        let seen = seen.filter(|seen| !seen.asked().is_some_and(Asked::names_nic))?;
        let annotations = [NIC, NIC_GIVEN].map(|name| (name, lease.nic.to_string()));
        Some(Self::new(pod, seen.uid(), annotations.into()))
    }

    /// Writes it, by one request whose answer may take this long.
    pub(crate) async fn write(&self, asker: &Asker, patience: Duration) -> Result<(), kube::Error> {
        // With the uid, the API server refuses to annotate a later pod of the name.
        let patch = Patch::Merge(json!({ "metadata": { "uid": self.uid, "annotations": self.annotations } }));
        let pods = Request::new(Pod::url_path(&(), Some(&self.namespace)));
        let request = pods.patch_metadata(&self.name, &PatchParams::default(), &patch);
        let request = request.map_err(kube::Error::BuildRequest)?;
        asker.ask_within::<IgnoredAny>(patience, request).await.map(drop)
    }
}

/// Whether the API server has refused a note because the pod is gone: there is none of its name, or one with another uid.
pub(crate) fn is_of_no_pod(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    // Which of the two is said of the uid is up to its release.
    let of_uid =
        |message: &str| ["metadata.uid", "UID in precondition"].iter().any(|of| message.contains(of));
    status.code == 404 || matches!(status.code, 409 | 422) && of_uid(&status.message)
}
