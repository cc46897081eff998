//! Instances.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::Deserialize;

use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InstanceRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub instance_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub instance_name: String,
    /// `running`, `stopped`, `terminated` and so on.
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
    /// What is being done to it; empty for nothing.
    #[serde(deserialize_with = "wire::text")]
    pub transition_status: String,
    /// Its NICs; the cloud may list the primary one only.
    #[serde(deserialize_with = "wire::list")]
    pub vxnets: Vec<InstanceNicRow>,
}

impl Row for InstanceRow {
    const SET: &'static str = "instance_set";

    fn id(&self) -> &str {
        &self.instance_id
    }
}

/// A NIC, as its instance lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InstanceNicRow {
    /// Its vxnet.
    #[serde(deserialize_with = "wire::text")]
    pub vxnet_id: String,
    /// Its MAC address.
    #[serde(deserialize_with = "wire::text")]
    pub nic_id: String,
    /// Its address.
    #[serde(deserialize_with = "wire::text")]
    pub private_ip: String,
    /// 1 for the primary NIC.
    #[serde(deserialize_with = "wire::number")]
    pub role: Option<i64>,
}

impl Operation<'_> {
    /// `DescribeInstances` for one; `None` where there is no such instance.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_instance(&self, id: impl Display) -> Result<Option<InstanceRow>, CallError> {
        let id = id.to_string();
        match self.describe_instances([&id]).await {
            Err(error) if error.code() == Some(2100) => Ok(None),
            rows => Ok(rows?.into_iter().find(|row| row.instance_id == id)),
        }
    }

    /// `DescribeInstances` for at most a hundred. Ids that do not exist are left out.
    ///
    /// Nodes of AppCenter clusters are listed only when asked for, so that is done second, for those that are missing.
    ///
    /// # Errors
    /// [`CallError`]; code 2100 where the cloud refuses a list with an id that it does not know.
    pub async fn describe_instances(
        &self,
        ids: impl IntoIterator<Item = impl Display>,
    ) -> Result<Vec<InstanceRow>, CallError> {
        let mut missing: BTreeSet<_> = ids.into_iter().map(|id| id.to_string()).collect();
        let mut found: Vec<InstanceRow> = Vec::new();
        let mut refused = None;
        for nodes in [None, Some(1)] {
            if missing.is_empty() {
                break;
            }
            let request = Request::new(Action::DescribeInstances)
                .with_list("instances", &missing)
                .with_some("is_cluster_node", nodes);
            match self.all::<InstanceRow>(&request).await {
                Err(error) if error.code() == Some(2100) => refused = Some(error),
                rows => found.extend(rows?.into_iter().filter(|row| missing.remove(&row.instance_id))),
            }
        }
        match refused {
            Some(error) if !missing.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}
