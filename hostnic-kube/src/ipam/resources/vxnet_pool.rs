//! `VxNetPool`: which vxnets the cluster's pods have addresses of.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::null_is_empty;

/// Which vxnets the pods of this cluster have addresses of. Only the one named `v-pool` counts.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "network.qingcloud.com",
    version = "v1alpha1",
    doc = "Which vxnets the pods of this cluster have addresses of.",
    kind = "VxNetPool",
    plural = "vxnetpools",
    shortname = "vnp",
    status = "VxNetPoolStatus",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Block size", type_ = "integer", json_path = ".spec.blockSize"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VxNetPoolSpec {
    /// The vxnets. Each must be bound to a VPC's router and have DHCP on.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) vxnets: Vec<VxNet>,
    /// The length of the prefix of the blocks that each vxnet is cut into, such as 27 for 32 addresses.
    #[schemars(range(min = 1, max = 32))]
    pub(crate) block_size: u8,
    /// How many addresses more stay the cloud's own, of a vxnet of vlan.
    #[serde(
        rename = "customReservedIPCount",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "is_zero"
    )]
    pub(crate) custom_reserved_ip_count: u32,
}

/// One vxnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct VxNet {
    /// Its id, such as `vxnet-abcdefg`.
    #[schemars(regex(pattern = "^vxnet-[0-9a-z]+$"))]
    pub(crate) name: String,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct VxNetPoolStatus {
    /// Whether each vxnet has its pool and its blocks.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) ready: bool,
    /// What a person should know, and do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
    /// The vxnets that have been cut into blocks.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) pools: Vec<Pool>,
    /// The same for programs: `Ready`, with a reason.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
}

/// A vxnet that has been cut into blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Pool {
    /// The vxnet.
    pub(crate) name: String,
    /// Its `IPPool`.
    pub(crate) ippool: String,
    /// The names of its blocks.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) subnets: Vec<String>,
}

/// One aspect of the state, as Kubernetes' conventions have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    pub(crate) aspect: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: String,
    /// Why, in one word.
    pub(crate) reason: String,
    /// Why, for a person.
    pub(crate) message: String,
    /// Since when.
    pub(crate) last_transition_time: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
