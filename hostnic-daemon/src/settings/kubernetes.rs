//! What a node of Kubernetes is told beside what every node is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hostnic_core::id::{InvalidValue, SubnetId};
use hostnic_kube::NodeName;

use super::key::Key;
use super::reading::Reading;
use super::source::Setting;
use super::values::{boolean, path, tag};

/// Where runtimes look for CNI configurations.
pub const CNI_FOLDER: &str = "/etc/cni/net.d";

/// The settings of a node of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubernetesSettings {
    /// Whether it is one.
    pub enabled: Setting<bool>,
    /// What Kubernetes calls it; `None` for the machine's host name.
    pub node_name: Setting<Option<NodeName>>,
    /// The file that says where the API is; `None` for what Kubernetes gives each pod.
    pub kubeconfig: Setting<Option<PathBuf>>,
    /// The folder for the CNI file; `None` for nowhere.
    pub cni_conf_dir: Setting<Option<PathBuf>>,
    /// The subnets that pods' annotations may name; any where there are none.
    pub annotation_vxnets: Setting<Vec<SubnetId>>,
    /// NICs with such a tag may be named by pods' annotations, beside those with a name of ours.
    pub annotation_nic_tags: Setting<Vec<String>>,
    /// Whether pods are annotated with the NIC that they were given.
    pub nic_annotation: Setting<bool>,
    /// Who enforces network policies.
    pub network_policy: Setting<NetworkPolicy>,
    /// Whether pods start also where that one could not be told their addresses.
    pub policy_fail_open: Setting<bool>,
}

impl KubernetesSettings {
    pub(super) fn read(reading: &mut Reading<'_>) -> Self {
        let enabled = reading.one(Key::Kubernetes, reading.personality.kubernetes(), boolean);
        let usual = enabled.value.then(|| PathBuf::from(CNI_FOLDER));
        let folder = |text: &str| match text {
            "off" | "false" => Ok(None),
            text => path(text).map(Some),
        };
        Self {
            node_name: reading.open(Key::NodeName),
            kubeconfig: reading.one(Key::Kubeconfig, None, |text| path(text).map(Some)),
            cni_conf_dir: reading.one(Key::CniConfDir, usual, folder),
            annotation_vxnets: reading.list(Key::AnnotationVxnet, str::parse),
            annotation_nic_tags: reading.list(Key::AnnotationNicTag, tag),
            nic_annotation: reading.one(Key::NicAnnotation, false, boolean),
            network_policy: reading.parsed(Key::NetworkPolicy, NetworkPolicy::None),
            policy_fail_open: reading.one(Key::PolicyFailOpen, false, boolean),
            enabled,
        }
    }
}

/// Who enforces network policies, and has to be told pods' addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkPolicy {
    /// Nobody that has to be told.
    None,
    /// Calico's Felix, which reads pods' addresses from annotations of its own.
    Calico,
}

impl FromStr for NetworkPolicy {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.to_ascii_lowercase().as_str() {
            "none" | "" => Ok(Self::None),
            "calico" => Ok(Self::Calico),
            _ => Err(InvalidValue::new("network policy", text, "none or calico")),
        }
    }
}

impl fmt::Display for NetworkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Calico => "calico",
        })
    }
}
