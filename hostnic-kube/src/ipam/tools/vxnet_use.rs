//! Whether a cluster still needs the addresses of a vxnet.

use hostnic_core::id::SubnetId;
use hostnic_core::{ErrorKind, Result};
use kube::ResourceExt;

use super::IpamTools;
use super::inventory::SeenBlock;
use crate::ipam::resources::{IpamBlock, V_POOL, VxNetPool};

/// Who needs the addresses of a vxnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VxnetUse {
    /// Nobody.
    Nobodys,
    /// It is one of the vxnets of `v-pool`.
    VPool,
    /// So many addresses of its blocks are pods' or in nodes' stocks.
    Pods(u32),
    /// This block of it cannot be read, and may be anybody's.
    Unreadable(String),
}

impl IpamTools {
    /// Who needs the addresses of a vxnet. A cluster that knows of no such objects needs none. Without effect.
    ///
    /// # Errors
    /// `Transient` where the API server does not answer, `Unauthorised` where something may not be read.
    pub async fn vxnet_use(&self, vxnet: &SubnetId) -> Result<VxnetUse> {
        let mut wanted = false;
        let asked = self
            .each("VxNetPools", |pool: VxNetPool| {
                let named = pool.spec.vxnets.iter().any(|named| named.name == vxnet.as_str());
                wanted |= pool.name_any() == V_POOL && named;
            })
            .await;
        unless_unknown(asked)?;
        if wanted {
            return Ok(VxnetUse::VPool);
        }
        let (mut used, mut unreadable) = (0, None);
        let asked = self
            .each("IPAMBlocks", |object: IpamBlock| {
                let SeenBlock { pool, block, .. } = SeenBlock::of(&object);
                if pool == vxnet.as_str() {
                    match block {
                        Some(block) => used += block.usage().allocated,
                        None => unreadable = Some(object.name_any()),
                    }
                }
            })
            .await;
        unless_unknown(asked)?;
        Ok(match (used, unreadable) {
            (1.., _) => VxnetUse::Pods(used),
            (0, Some(block)) => VxnetUse::Unreadable(block),
            (0, None) => VxnetUse::Nobodys,
        })
    }
}

/// A kind of objects that the cluster does not know has none.
fn unless_unknown(asked: Result<()>) -> Result<()> {
    match asked {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        asked => asked,
    }
}
