//! The objects that the controller makes, named, labelled and owned as the Go version's.

use std::collections::BTreeMap;

use hostnic_core::id::SubnetId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::super::block::{Block, Usage};
use super::super::name::LOCAL;
use super::super::resources::{FINALIZER, IpPool, IpPoolSpec, IpPoolStatus, IpamBlock, label};

/// The pool of a vxnet.
pub(super) fn pool(vxnet: &SubnetId, spec: IpPoolSpec) -> IpPool {
    let labels = [
        (label::CONTROLLER, vxnet.to_string()),
        (label::POOL, vxnet.to_string()),
        (label::TYPE, spec.kind.clone()),
        (label::ID, LOCAL.to_string()),
    ];
    let mut pool = IpPool::new(vxnet.as_str(), spec);
    pool.metadata.labels = Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    pool.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    pool
}

/// A block of a pool.
pub(super) fn block(pool: &IpPool, block: &Block) -> IpamBlock {
    let name = pool.metadata.name.clone().unwrap_or_default();
    IpamBlock {
        metadata: ObjectMeta {
            name: Some(block.name().to_string()),
            labels: Some(BTreeMap::from([(label::POOL.to_owned(), name)])),
            owner_references: pool.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: block.write(),
    }
}

/// What a pool says of its blocks. What others wrote beside it stays.
pub(super) fn status(before: Option<&IpPoolStatus>, blocks: &[Usage], synced: bool) -> IpPoolStatus {
    let sum = |part: fn(&Usage) -> u32| blocks.iter().map(part).sum();
    IpPoolStatus {
        capacity: sum(|usage| usage.capacity),
        allocations: sum(|usage| usage.allocated),
        unallocated: sum(|usage| usage.free),
        reserved: sum(|usage| usage.reserved),
        synced,
        workspaces: before.map(|before| before.workspaces.clone()).unwrap_or_default(),
    }
}
