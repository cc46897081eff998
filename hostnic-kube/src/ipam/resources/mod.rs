//! The custom resources of cluster mode, field by field as the Go versions wrote them: objects of theirs are read and
//! continued, and what is written here they could read.
//!
//! Whatever they left out or wrote as `null` is read as empty.

#![expect(clippy::duplicated_attributes, reason = "columns that are printed may have the same type")]

mod definitions;
mod ip_pool;
mod ipam_block;
mod ipam_handle;
mod vxnet_pool;

use serde::{Deserialize, Deserializer};

pub use definitions::definitions;
pub(crate) use ip_pool::{IpPool, IpPoolSpec, IpPoolStatus};
pub(crate) use ipam_block::{Attribute, IpamBlock, IpamBlockSpec};
pub(crate) use ipam_handle::{IpamHandle, IpamHandleSpec};
pub(crate) use vxnet_pool::{Condition, Pool, VxNetPool, VxNetPoolSpec, VxNetPoolStatus};

/// The VxNetPool that counts.
pub(crate) const V_POOL: &str = "v-pool";
/// What keeps a pool until nobody uses it.
pub(crate) const FINALIZER: &str = "finalizers.network.qingcloud.com/ippool";

/// The labels of pools and blocks.
pub(crate) mod label {
    /// The pool that a block is of, and on a pool its own name.
    pub(crate) const POOL: &str = "ippool.network.qingcloud.com/name";
    /// The type of a pool.
    pub(crate) const TYPE: &str = "ippool.network.qingcloud.com/type";
    /// The id of that type.
    pub(crate) const ID: &str = "ippool.network.qingcloud.com/id";
    /// On pools that were made of a vxnet: its name.
    pub(crate) const CONTROLLER: &str = "controller";
}

/// For lists and maps that Go writes as `null` when they are empty.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}
