//! `IPPool`: the addresses of one vxnet.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::null_is_empty;

/// The addresses of one vxnet, after which it is named.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "network.qingcloud.com",
    version = "v1alpha1",
    doc = "The addresses of one vxnet.",
    kind = "IPPool",
    root = "IpPool",
    plural = "ippools",
    shortname = "ipp",
    status = "IpPoolStatus",
    derive = "PartialEq",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".status.capacity"),
    printcolumn(name = "Allocated", type_ = "integer", json_path = ".status.allocations"),
    printcolumn(name = "Free", type_ = "integer", json_path = ".status.unallocated"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IpPoolSpec {
    /// What the pool is for: `local` for a vxnet of this cluster, `vlan`, and others that the Go versions knew.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The vxnet's addresses, such as `172.16.3.0/24`. It may not change.
    pub(crate) cidr: String,
    /// The first address for pods; the first of `cidr` where there is none.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub(crate) range_start: String,
    /// The last address for pods; the last of `cidr` where there is none.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub(crate) range_end: String,
    /// Whether no pod gets an address any more.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "is_false")]
    pub(crate) disabled: bool,
    /// The length of the prefix of its blocks. It may not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub(crate) block_size: Option<u8>,
    /// How many addresses more stay the cloud's own.
    #[serde(rename = "customReservedIPCount", default, skip_serializing_if = "Option::is_none")]
    pub(crate) custom_reserved_ip_count: Option<u32>,
    /// The vxnet's router.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub(crate) gateway: String,
    /// Of a pool of type `vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vlan_config: Option<VlanConfig>,
    /// Routes that the Go versions could write, and nobody acts on.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<Route>,
    /// Name servers that the Go versions could write, and nobody acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<Dns>,
}

/// Of a pool of type `vlan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VlanConfig {
    /// The tag.
    pub(crate) vlan_id: u32,
    /// The link that carries it.
    pub(crate) master: String,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Route {
    /// Where to.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub(crate) dst: String,
    /// By whom.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub(crate) gateway: String,
}

/// Settings of a resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Dns {
    /// Whom to ask.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) nameservers: Vec<String>,
    /// The own domain.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub(crate) domain: String,
    /// Domains in which short names are looked for.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) search: Vec<String>,
    /// As in resolv.conf.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<String>,
}

/// How many of its addresses are whose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct IpPoolStatus {
    /// All that there are.
    #[serde(default)]
    pub(crate) capacity: u32,
    /// Pods'.
    #[serde(default)]
    pub(crate) allocations: u32,
    /// Nobody's.
    #[serde(default)]
    pub(crate) unallocated: u32,
    /// The cloud's own.
    #[serde(default)]
    pub(crate) reserved: u32,
    /// Whether its blocks are all there.
    #[serde(default)]
    pub(crate) synced: bool,
    /// By workspace, as KubeSphere writes it.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) workspaces: BTreeMap<String, Workspace>,
}

/// What a workspace of KubeSphere has of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Workspace {
    /// How many addresses.
    pub(crate) allocations: u32,
}

fn is_false(value: &bool) -> bool {
    !value
}
