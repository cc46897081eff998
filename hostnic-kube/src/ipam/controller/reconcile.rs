//! One comparison of what there is with what there should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::cloud::{JobState, Submitted, Subnet};
use hostnic_core::id::{JobId, SubnetId};
use ipnet::Ipv4Net;
use k8s_openapi::jiff::Timestamp;

use super::PoolCloud;
use super::namespaces::give_blocks;
use super::objects::{self, FINALIZER};
use super::plan::{InCluster, plan};
use super::report::{self, Outcome};
use super::store::Store;
use crate::ipam::assign::Candidate;
use crate::ipam::block::Block;
use crate::ipam::resources::{IpPool, IpamBlock, VxNetPool, VxNetPoolSpec};

/// How often everything is compared, whether or not somebody changed something.
const PERIOD: Duration = Duration::from_secs(20);
/// How soon again when pods are to leave a vxnet.
const LEAVING: Duration = Duration::from_secs(5);
/// How soon again when the cloud is at work.
const SOON: Duration = Duration::from_secs(1);

const CLAIMING: &str = "its addresses are being claimed";
const RETURNING: &str = "its addresses are given back";

pub(super) struct Reconciler {
    store: Store,
    cloud: PoolCloud,
    /// Jobs of the cloud that were begun here, by the vxnet whose addresses they are about.
    jobs: BTreeMap<SubnetId, JobId>,
    /// From where the security group lets everything in.
    opened: BTreeSet<Ipv4Net>,
    /// All blocks of the vxnets that are ready.
    blocks: Vec<Candidate>,
}

impl Reconciler {
    pub(super) fn new(store: Store, cloud: PoolCloud) -> Self {
        Self { store, cloud, jobs: BTreeMap::new(), opened: BTreeSet::new(), blocks: Vec::new() }
    }

    /// Compares and acts; answers how long it need not be done again if nothing changes.
    pub(super) async fn reconcile(&mut self) -> Duration {
        match self.all().await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "the pools of vxnets cannot be compared; trying again");
                PERIOD
            }
        }
    }

    async fn all(&mut self) -> Result<Duration> {
        let Some(v_pool) = self.store.v_pool().await? else { return Ok(PERIOD) };
        if v_pool.metadata.deletion_timestamp.is_some() {
            return Ok(PERIOD);
        }
        let pools = self.store.pools().await?;
        let ids: Vec<SubnetId> = wanted(&v_pool.spec);
        let subnets = self.cloud.provider.subnets(&ids).await?;
        let mut outcomes = Vec::new();
        self.blocks.clear();
        for id in &ids {
            let pool = pools.iter().find(|pool| pool.metadata.name.as_deref() == Some(id.as_str()));
            let subnet = subnets.iter().find(|subnet| subnet.id == *id);
            let outcome = self.prepare(&v_pool.spec, id, subnet, pool).await;
            outcomes
                .push((id.to_string(), outcome.unwrap_or_else(|e| Outcome::Failed(e.chain().to_string()))));
        }
        for pool in &pools {
            let id = pool.metadata.name.as_deref().and_then(|name| name.parse::<SubnetId>().ok());
            if let Some(id) = id.filter(|id| !ids.contains(id)) {
                match self.take_out(&id, pool).await {
                    Ok(None) => {}
                    Ok(Some(outcome)) => outcomes.push((id.to_string(), outcome)),
                    Err(error) => outcomes.push((id.to_string(), Outcome::Failed(error.chain().to_string()))),
                }
            }
        }
        self.tell(&v_pool, &outcomes).await?;
        let wanting = give_blocks(&self.store, &self.blocks).await?;
        if !wanting.is_empty() {
            tracing::warn!(
                namespaces = wanting.join(", "),
                "no block is left for these namespaces; add a vxnet to v-pool"
            );
        }
        let pauses = outcomes.iter().map(|(_, outcome)| match outcome {
            Outcome::Underway(_) => SOON,
            Outcome::Leaving { .. } => LEAVING,
            Outcome::Ready(_) | Outcome::Refused { .. } | Outcome::Failed(_) => PERIOD,
        });
        Ok(pauses.min().unwrap_or(PERIOD))
    }

    async fn tell(&self, v_pool: &VxNetPool, outcomes: &[(String, Outcome)]) -> Result<()> {
        let now = Timestamp::now().to_string();
        let status = report::status(v_pool.status.as_ref(), outcomes, &now);
        if v_pool.status.as_ref() == Some(&status) {
            return Ok(());
        }
        if let Some(message) = &status.message {
            tracing::info!("v-pool: {message}");
        }
        self.store.tell_v_pool(&status).await
    }

    /// Brings one vxnet a step further: what the cloud does comes before what pods could use.
    async fn prepare(
        &mut self,
        spec: &VxNetPoolSpec,
        id: &SubnetId,
        subnet: Option<&Subnet>,
        pool: Option<&IpPool>,
    ) -> Result<Outcome> {
        let blocks = match pool {
            Some(_) => self.store.blocks(id.as_str()).await?,
            None => Vec::new(),
        };
        let reserved = if subnet.is_some() { self.reserved(id).await? } else { BTreeMap::new() };
        let cluster = InCluster {
            pool: pool.map(|pool| pool.spec.clone()),
            blocks: blocks.iter().filter_map(|block| block.metadata.name.as_ref()?.parse().ok()).collect(),
        };
        let plan = match plan(spec, subnet, &reserved.into_keys().collect(), &cluster) {
            Ok(plan) => plan,
            Err(problem) => {
                return Ok(Outcome::Refused { reason: problem.reason(), message: problem.to_string() });
            }
        };
        if self.is_busy(id).await? || self.claim(id, &plan.reserve).await? {
            return Ok(Outcome::Underway(CLAIMING));
        }
        self.open(plan.cidr).await?;
        let pool = match (pool, plan.pool) {
            (Some(pool), _) => pool.clone(),
            (None, Some(new)) => self.store.make(&objects::pool(id, new)).await?,
            (None, None) => return Ok(Outcome::Underway("its pool is being made")),
        };
        for block in &plan.blocks {
            self.store.make(&objects::block(&pool, block)).await?;
        }
        self.count(id, &pool, &blocks, &plan.blocks).await?;
        Ok(Outcome::Ready(plan.names.iter().map(ToString::to_string).collect()))
    }

    /// Has the pool say how many of its addresses are whose.
    async fn count(&mut self, id: &SubnetId, pool: &IpPool, old: &[IpamBlock], new: &[Block]) -> Result<()> {
        let old = old.iter().filter_map(|block| Block::read(&block.spec)).map(|(block, _)| block);
        let candidate =
            |block: Block| Candidate { name: block.name(), vxnet: id.to_string(), usage: block.usage() };
        let present: Vec<Candidate> = old.chain(new.iter().cloned()).map(candidate).collect();
        let usages: Vec<_> = present.iter().map(|block| block.usage).collect();
        self.blocks.extend(present);
        let status = objects::status(pool.status.as_ref(), &usages, true);
        match pool.metadata.name.as_deref() {
            Some(name) if pool.status.as_ref() != Some(&status) => self.store.tell_pool(name, &status).await,
            _ => Ok(()),
        }
    }

    /// Our reservations in a vxnet, by address.
    async fn reserved(&self, id: &SubnetId) -> Result<BTreeMap<Ipv4Addr, String>> {
        let reserved = self.cloud.addresses.reserved(id, &name(id)).await?;
        let told = reserved.into_iter().filter_map(|reserved| match reserved.address {
            IpAddr::V4(address) => Some((address, reserved.id)),
            IpAddr::V6(_) => None,
        });
        Ok(told.collect())
    }

    /// Begins to claim what is missing; false when nothing is.
    async fn claim(&mut self, id: &SubnetId, missing: &[RangeInclusive<Ipv4Addr>]) -> Result<bool> {
        let Some(part) = missing.first() else { return Ok(false) };
        let (first, last) = (IpAddr::V4(*part.start()), IpAddr::V4(*part.end()));
        let submitted = self.cloud.addresses.reserve(id, &name(id), first, last).await?;
        self.note(id, submitted);
        Ok(true)
    }

    fn note(&mut self, id: &SubnetId, submitted: Submitted) {
        if let Submitted::Job(job) = submitted {
            self.jobs.insert(id.clone(), job);
        }
    }

    /// Whether the cloud is still at a job that was begun here. Addresses that it is about may not be listed yet.
    async fn is_busy(&mut self, id: &SubnetId) -> Result<bool> {
        let Some(job) = self.jobs.get(id) else { return Ok(false) };
        let told = self.cloud.provider.jobs(std::slice::from_ref(job)).await?;
        match told.into_iter().next().map(|job| job.state) {
            Some(JobState::Running) => Ok(true),
            state => {
                if let Some(JobState::Failed { reason, .. }) = state {
                    tracing::warn!(vxnet = %id, %reason, "the cloud did not carry out a job about addresses; trying again");
                }
                self.jobs.remove(id);
                // What the job did is seen when it is looked at next.
                Ok(true)
            }
        }
    }

    /// Lets packets from a vxnet into the cluster's machines.
    async fn open(&mut self, cidr: Ipv4Net) -> Result<()> {
        if let Some((rules, group)) = &self.cloud.security
            && !self.opened.contains(&cidr)
        {
            rules.allow_from(group, cidr.into()).await?;
            self.opened.insert(cidr);
        }
        Ok(())
    }

    /// Takes a vxnet out that is no longer wanted; `None` when nothing is left of it.
    async fn take_out(&mut self, id: &SubnetId, pool: &IpPool) -> Result<Option<Outcome>> {
        let blocks = self.store.blocks(id.as_str()).await?;
        // One that cannot be read may be anybody's.
        let used_of =
            |block: &IpamBlock| Block::read(&block.spec).map_or(1, |(read, _)| read.usage().allocated);
        let used = blocks.iter().map(used_of).sum();
        if used > 0 {
            return Ok(Some(Outcome::Leaving { used }));
        }
        if !pool.spec.disabled {
            let mut disabled = pool.clone();
            disabled.spec.disabled = true;
            self.store.replace(&disabled).await?;
            return Ok(Some(Outcome::Underway("its pool is being closed")));
        }
        // Whoever claims an address meanwhile changes the block, which then is not removed.
        for block in &blocks {
            self.store.remove(block).await?;
        }
        let reserved: Vec<String> = self.reserved(id).await?.into_values().collect();
        if self.is_busy(id).await? {
            return Ok(Some(Outcome::Underway(RETURNING)));
        }
        if !reserved.is_empty() {
            let submitted = self.cloud.addresses.release(&reserved).await?;
            self.note(id, submitted);
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

/// Under which name a vxnet's addresses are claimed, as the Go version did.
fn name(id: &SubnetId) -> String {
    format!("hostnic_{id}")
}

/// The vxnets of a pool, each once.
fn wanted(spec: &VxNetPoolSpec) -> Vec<SubnetId> {
    let mut ids: Vec<SubnetId> = Vec::new();
    for id in spec.vxnets.iter().filter_map(|vxnet| vxnet.name.parse().ok()) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_have_the_go_versions_name() {
        assert_eq!(name(&"vxnet-abc1234".parse().unwrap()), "hostnic_vxnet-abc1234");
    }
}
