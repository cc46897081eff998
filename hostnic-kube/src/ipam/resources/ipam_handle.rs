//! `IPAMHandle`: in which blocks somebody has addresses.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::null_is_empty;

/// In which blocks somebody has addresses. Named after its handle, which for a pod is
/// `<namespace>-<pod>-<container id>`.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "network.qingcloud.com",
    version = "v1alpha1",
    doc = "In which blocks somebody has addresses.",
    kind = "IPAMHandle",
    root = "IpamHandle",
    plural = "ipamhandles",
    shortname = "iph",
    derive = "PartialEq",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub(crate) struct IpamHandleSpec {
    /// The handle.
    #[serde(rename = "handleID")]
    pub(crate) handle: String,
    /// How many addresses it has, by block: `<id>-<cidr>`, such as `4100-172.16.3.0/26`.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) block: BTreeMap<String, u32>,
    /// Whether it is about to be removed.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) deleted: bool,
}
