//! `IPAMBlock`: some neighbouring addresses of a pool, and whose each is.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::null_is_empty;

/// Some neighbouring addresses of a pool, and whose each is. Named `<id>-<cidr>`, such as `4100-172-16-3-0-26`.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "network.qingcloud.com",
    version = "v1alpha1",
    doc = "Some neighbouring addresses of a pool, and whose each is.",
    kind = "IPAMBlock",
    root = "IpamBlock",
    plural = "ipamblocks",
    shortname = "ipb",
    derive = "PartialEq",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = r".metadata.labels.ippool\.network\.qingcloud\.com/name"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub(crate) struct IpamBlockSpec {
    /// The id of its pool's kind: 4100 for `local`.
    pub(crate) id: u32,
    /// Its addresses. An address's number is its distance from the first of them.
    pub(crate) cidr: String,
    /// For each number, where in `attributes` it says whose the address is; `null` for nobody's.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) allocations: Vec<Option<u32>>,
    /// The numbers of the addresses that are nobody's. They are taken from the front and come back at the end.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) unallocated: Vec<u32>,
    /// Who has addresses.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) attributes: Vec<Attribute>,
    /// Whether it is about to be removed, and nobody may have an address of it.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) deleted: bool,
}

/// Somebody who has addresses of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Attribute {
    /// By what they are found and given back together.
    #[serde(
        rename = "handle_id",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) handle: String,
    /// For a person: namespace, pod, node, since when.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) secondary: BTreeMap<String, String>,
}
