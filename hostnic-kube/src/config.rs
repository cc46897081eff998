//! Which cluster, which node, and what it is allowed to ask and to tell.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hostnic_core::id::InvalidValue;

use crate::choice::ChoiceRules;
use crate::pods::PodRules;

/// The name of a node, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidValue`] unless it is a DNS subdomain, as Kubernetes asks: at most 253 lower-case letters, digits, '-' and '.'.
    pub fn new(value: impl Into<String>) -> Result<Self, InvalidValue> {
        let value = value.into();
        let is_edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_label = |label: &str| {
            let bytes = label.as_bytes();
            bytes.first().copied().is_some_and(is_edge)
                && bytes.last().copied().is_some_and(is_edge)
                && bytes.iter().all(|b| is_edge(*b) || *b == b'-')
        };
        if value.len() <= 253 && value.split('.').all(is_label) {
            Ok(Self(value))
        } else {
            Err(InvalidValue::new(
                "node name",
                value,
                "as Kubernetes has it: at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
            ))
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = InvalidValue;
    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        Self::new(value)
    }
}

/// Where the API server is, and as whom to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As every pod finds it: `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, and the files of the service account.
    InCluster,
    /// As this file says. Its current context counts.
    Kubeconfig(PathBuf),
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// How long the answer to one request may take.
    pub request: Duration,
    /// How long to wait for the watch to show a pod that is not known, before the API server is asked for it.
    pub pod_watch: Duration,
}

impl Default for Deadlines {
    /// 3 s for a request, 1 s for the watch.
    fn default() -> Self {
        Self { request: Duration::from_secs(3), pod_watch: Duration::from_secs(1) }
    }
}

/// What is told beside failures, which always are. Each costs the API server a request for each pod; with none, an ADD that
/// succeeds costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Telling {
    /// An event on every pod that gets a NIC. Without it only those get one that an event of ours had called failed.
    pub attached_events: bool,
    /// The annotation `…/nic` on every pod that gets a NIC without naming one, and `…/nic-given` with the same value, which
    /// says that it is no wish ([`annotation::NIC_GIVEN`](crate::annotation::NIC_GIVEN)). Needs the verb patch on pods.
    pub nic_annotation: bool,
}

/// All that [`Cluster::connect`](crate::Cluster::connect) needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// This node.
    pub node: NodeName,
    /// Where the API server is.
    pub access: Access,
    /// What pods may ask for.
    pub pods: PodRules,
    /// From which vxnets one is chosen for a node that has none.
    pub choice: ChoiceRules,
    /// What is told beside failures.
    pub telling: Telling,
    /// How long things may take.
    pub deadlines: Deadlines,
}

impl ClusterConfig {
    /// The defaults for one node: pods may ask for any vxnet, none is chosen for the node, nothing is told beside failures.
    pub fn new(node: NodeName, access: Access) -> Self {
        Self {
            node,
            access,
            pods: PodRules::default(),
            choice: ChoiceRules::default(),
            telling: Telling::default(),
            deadlines: Deadlines::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_what_kubernetes_takes_for_one() {
        for good in ["node1", "i-xrwbww35", "10.0.0.7", "a.b-c.d"] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Node", "-a", "a-", "a..b", "a/b", "a,spec.x=y", &"x".repeat(254)] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
    }
}
