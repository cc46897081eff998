//! Taking a vxnet out again.

use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::id::SubnetId;

use super::lost::lost;
use super::reconcile::{Reconciler, or_failed, pause};
use super::report::Outcome;
use crate::ipam::block::Block;
use crate::ipam::resources::{FINALIZER, IpPool, IpamBlock};

const RETURNING: &str = "its addresses are given back";

impl Reconciler {
    /// Takes out what somebody removes while there is no `v-pool`, and answers how long that need not be done again. The other pools
    /// stay: a `v-pool` that is made again finds them.
    pub(super) async fn take_out_removed(&mut self, pools: &[IpPool]) -> Result<Duration> {
        let removed: Vec<(SubnetId, &IpPool)> = pools
            .iter()
            .filter(|pool| pool.metadata.deletion_timestamp.is_some())
            .filter_map(|pool| Some((pool.metadata.name.as_deref()?.parse().ok()?, pool)))
            .collect();
        if !removed.is_empty() {
            // Of what was begun, which has to be followed.
            self.cloud.look(&[]).await?;
        }
        let mut outcomes = Vec::new();
        for (id, pool) in removed {
            let outcome = self.take_out(&id, pool, false).await.transpose();
            outcomes.extend(outcome.map(|outcome| (id.to_string(), or_failed(outcome))));
        }
        let said: Vec<String> =
            outcomes.iter().filter_map(|(vxnet, outcome)| outcome.message(vxnet)).collect();
        let said = said.join("; ");
        if !said.is_empty() && said != self.said {
            tracing::info!("there is no v-pool: {said}");
        }
        self.said = said;
        Ok(pause(&outcomes))
    }

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
        let uid = pool.metadata.uid.clone().unwrap_or_default();
        // What was found empty is short of blocks because we are at it.
        let lost = match self.emptied.contains(&uid) {
            true => 0,
            false => lost(&self.store, &pool.spec, &blocks).await?,
        };
        if used > 0 || lost > 0 {
            return Ok(Some(Outcome::Leaving { used, lost, wanted }));
        }
        self.emptied.insert(uid.clone());
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
        self.remove_pool(pool).await?;
        self.emptied.remove(&uid);
        Ok(None)
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
