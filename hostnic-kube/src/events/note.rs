//! Annotations that tell about a pod's NIC and address.

use std::collections::BTreeMap;

use hostnic_core::attachment::PodRef;
use hostnic_core::ipam::Lease;

use crate::annotation::{Asked, NIC, NIC_GIVEN};
use crate::config::Telling;
use crate::pods::Seen;

/// From these Calico's Felix knows a pod's addresses, sooner than from the pod's status.
const CALICO: [&str; 2] = ["cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs"];

/// Annotations to be written on one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodNote {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) annotations: BTreeMap<&'static str, String>,
}

impl PodNote {
    /// What is to be written; `None` for nothing. On a pod that is not known nothing is written, since it may name a NIC itself.
    pub(super) fn of(pod: &PodRef, seen: Option<&Seen>, lease: &Lease, telling: Telling) -> Option<Self> {
        let seen = seen?;
        let mut annotations = BTreeMap::new();
        if telling.nic_annotation && !seen.asked().is_some_and(Asked::names_nic) {
            annotations.insert(NIC, lease.nic.to_string());
            annotations.insert(NIC_GIVEN, lease.nic.to_string());
        }
        if telling.calico_annotations {
            let address = lease.address.addr();
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            annotations.extend(CALICO.map(|name| (name, format!("{address}/{prefix}"))));
        }
        (!annotations.is_empty()).then(|| Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: seen.uid().to_owned(),
            annotations,
        })
    }
}
