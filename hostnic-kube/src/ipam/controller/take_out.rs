//! Taking a vxnet out again.

use hostnic_core::Result;
use hostnic_core::id::SubnetId;

use super::reconcile::Reconciler;
use super::report::Outcome;
use crate::ipam::block::Block;
use crate::ipam::resources::{FINALIZER, IpPool, IpamBlock};

const RETURNING: &str = "its addresses are given back";

impl Reconciler {
    /// Takes a vxnet a step further out that is no longer wanted, or whose pool somebody removes though it is `wanted`; `None`
    /// when nothing is left of it.
    pub(super) async fn take_out(
        &mut self,
        id: &SubnetId,
        pool: &IpPool,
        wanted: bool,
    ) -> Result<Option<Outcome>> {
        self.close(id, true).await?;
        let blocks = self.store.blocks(id.as_str()).await?;
        // One that cannot be read may be anybody's.
        let used_of =
            |block: &IpamBlock| Block::read(&block.spec).map_or(1, |(read, _)| read.usage().allocated);
        let used = blocks.iter().map(used_of).sum();
        if used > 0 {
            return Ok(Some(Outcome::Leaving { used, wanted }));
        }
        // Whoever claims an address meanwhile changes the block, which then is not removed.
        for block in &blocks {
            self.store.remove(block).await?;
            self.blocks.forget(block.metadata.name.as_deref().unwrap_or_default());
        }
        if self.cloud.is_busy(id) {
            return Ok(Some(Outcome::Underway(RETURNING)));
        }
        let reserved: Vec<String> = self.cloud.reservations(id).await?.into_values().collect();
        if !reserved.is_empty() {
            self.cloud.give_back(id, &reserved).await?;
            return Ok(Some(Outcome::Underway(RETURNING)));
        }
        self.remove_pool(pool).await.map(|()| None)
    }

    /// Removes a pool with what keeps it.
    async fn remove_pool(&self, pool: &IpPool) -> Result<()> {
        let mut free = pool.clone();
        if let Some(finalizers) = &mut free.metadata.finalizers {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let being_removed = pool.metadata.deletion_timestamp.is_some();
        let free = self.store.replace(&free).await?;
        if being_removed { Ok(()) } else { self.store.remove(&free).await }
    }
}
