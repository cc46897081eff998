//! Clusters of the AppCenter, and their nodes.

use std::fmt::Display;

use serde::Deserialize;

use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClusterRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub cluster_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub name: String,
    /// `active` where it runs.
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
    /// Its security group; may be empty.
    #[serde(deserialize_with = "wire::text")]
    pub security_group_id: String,
}

impl Row for ClusterRow {
    const SET: &'static str = "cluster_set";

    fn id(&self) -> &str {
        &self.cluster_id
    }
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClusterNodeRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub node_id: String,
    /// Its cluster.
    #[serde(deserialize_with = "wire::text")]
    pub cluster_id: String,
    /// The instance that it is.
    #[serde(deserialize_with = "wire::text")]
    pub instance_id: String,
    /// Its address.
    #[serde(deserialize_with = "wire::text")]
    pub private_ip: String,
    /// The vxnet of that address.
    #[serde(deserialize_with = "wire::text")]
    pub vxnet_id: String,
    /// What it does in the cluster.
    #[serde(deserialize_with = "wire::text")]
    pub role: String,
    /// `active` where it runs.
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
    /// The machine under it, where the cloud tells.
    #[serde(deserialize_with = "wire::text")]
    pub host_machine: String,
}

impl Row for ClusterNodeRow {
    const SET: &'static str = "node_set";

    fn id(&self) -> &str {
        &self.node_id
    }
}

impl Operation<'_> {
    /// `DescribeClusters`, at most a hundred ids.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_clusters(&self, ids: &[impl Display]) -> Result<Vec<ClusterRow>, CallError> {
        self.all(&Request::new(Action::DescribeClusters).with_list("clusters", ids)).await
    }

    /// `DescribeClusterNodes`: all nodes of a cluster.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_cluster_nodes(&self, cluster: &str) -> Result<Vec<ClusterNodeRow>, CallError> {
        self.all(&Request::new(Action::DescribeClusterNodes).with("cluster", cluster)).await
    }
}
