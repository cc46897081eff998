//! One comparison of what there is with what there should be.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::id::SubnetId;
use hostnic_core::{Error, Result};
use k8s_openapi::jiff::Timestamp;

use super::blocks::{Blocks, Seen};
use super::cloud::CloudView;
use super::lost::lost;
use super::namespaces::{Shared, Shares};
use super::objects;
use super::plan::{InCluster, plan};
use super::report::{self, Outcome};
use super::store::Store;
use super::telling::Telling;
use crate::ipam::assign::Candidate;
use crate::ipam::resources::{IpPool, VxNetPool, VxNetPoolSpec};

/// How often everything is compared, whether or not somebody changed something.
const PERIOD: Duration = Duration::from_secs(20);
/// How soon again when pods are to leave a vxnet.
const LEAVING: Duration = Duration::from_secs(5);
/// How soon again when the cloud is at work.
const SOON: Duration = Duration::from_secs(1);

const CLAIMING: &str = "its addresses are being claimed";

pub(super) struct Reconciler {
    pub(super) store: Store,
    pub(super) blocks: Arc<Blocks>,
    pub(super) cloud: CloudView,
    pub(super) shares: Shares,
    pub(super) telling: Telling,
    /// What was said last of pools that go without a `v-pool` that could say it.
    pub(super) said: String,
    /// Pools, by uid, of which all blocks were there and nobody had an address when they began to be removed.
    pub(super) emptied: BTreeSet<String>,
}

impl Reconciler {
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
        self.blocks.listed().await;
        let v_pool = self.store.v_pool().await?;
        let pools = self.store.pools().await?;
        let Some(v_pool) = v_pool.filter(|v_pool| v_pool.metadata.deletion_timestamp.is_none()) else {
            return self.take_out_removed(&pools).await;
        };
        self.telling.at_first(&v_pool);
        let ids: Vec<SubnetId> = wanted(&v_pool.spec);
        if let Err(error) = self.cloud.look(&ids).await {
            // Nothing of the cloud is needed to give away blocks that are there.
            let shared = self.share(&ready_before(&v_pool, &ids, &pools)).await;
            self.telling.of_shares(&v_pool, &shared);
            self.tell_unanswered(&v_pool, &error).await?;
            return Err(error);
        }
        let mut outcomes = Vec::new();
        for id in &ids {
            let pool = pools.iter().find(|pool| pool.metadata.name.as_deref() == Some(id.as_str()));
            let outcome = match pool.filter(|pool| pool.metadata.deletion_timestamp.is_some()) {
                // It is made again when it is gone.
                Some(pool) => {
                    self.take_out(id, pool, true).await.map(|outcome| outcome.unwrap_or(Outcome::GONE))
                }
                None => self.prepare(&v_pool.spec, id, pool).await,
            };
            outcomes.push((id.to_string(), or_failed(outcome)));
        }
        for pool in &pools {
            let id = pool.metadata.name.as_deref().and_then(|name| name.parse::<SubnetId>().ok());
            if let Some(id) = id.filter(|id| !ids.contains(id)) {
                let outcome = self.take_out(&id, pool, false).await.transpose();
                outcomes.extend(outcome.map(|outcome| (id.to_string(), or_failed(outcome))));
            }
        }
        let ready = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Ready(_)));
        let shared = self.share(&ready.map(|(vxnet, _)| vxnet.as_str()).collect()).await;
        self.tell(&v_pool, &outcomes, &shared).await?;
        Ok(shared.soon().into_iter().chain([pause(&outcomes)]).min().unwrap_or(PERIOD))
    }

    /// Gives namespaces blocks of the vxnets that are ready.
    async fn share(&mut self, ready: &BTreeSet<&str>) -> Shared {
        let candidate = |(vxnet, seen): (Arc<str>, Seen)| Candidate {
            name: seen.name,
            usage: seen.usage,
            rested: seen.fresh,
            closed: seen.closed,
            may_be_given: ready.contains(&*vxnet),
            vxnet: vxnet.to_string(),
        };
        let candidates = self.blocks.all().into_iter().map(candidate).collect();
        let telling = self.telling.clone();
        self.shares.give(&self.store, &telling, candidates).await
    }

    async fn tell_unanswered(&self, v_pool: &VxNetPool, error: &Error) -> Result<()> {
        let now = Timestamp::now().to_string();
        let status = report::unanswered(v_pool.status.as_ref(), &error.chain().to_string(), &now);
        if v_pool.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.store.tell_v_pool(&status).await
    }

    async fn tell(&self, v_pool: &VxNetPool, outcomes: &[(String, Outcome)], shared: &Shared) -> Result<()> {
        let now = Timestamp::now().to_string();
        let status = report::status(v_pool.status.as_ref(), outcomes, shared, &now);
        if v_pool.status.as_ref() == Some(&status) {
            return Ok(());
        }
        if let Some(message) = &status.message {
            tracing::info!("v-pool: {message}");
        }
        for (vxnet, outcome) in outcomes {
            self.telling.of_vxnet(v_pool, vxnet, outcome);
        }
        self.telling.of_shares(v_pool, shared);
        self.store.tell_v_pool(&status).await
    }

    /// Brings one vxnet a step further: what the cloud does comes before what pods could use.
    async fn prepare(
        &mut self,
        spec: &VxNetPoolSpec,
        id: &SubnetId,
        pool: Option<&IpPool>,
    ) -> Result<Outcome> {
        if self.cloud.is_busy(id) {
            return Ok(Outcome::Underway(CLAIMING));
        }
        let seen = if pool.is_some() { self.blocks.of_pool(id.as_str()) } else { Vec::new() };
        let cluster = InCluster {
            pool: pool.map(|pool| pool.spec.clone()),
            blocks: seen.iter().flatten().map(|seen| seen.name).collect(),
        };
        let none: BTreeSet<Ipv4Addr> = BTreeSet::new();
        let known = self.cloud.of(id);
        let (subnet, reserved) =
            known.map_or((None, &none), |known| (known.subnet.as_ref(), &known.reserved));
        let plan = match plan(spec, subnet, reserved, &cluster) {
            Ok(plan) => plan,
            Err(problem) => {
                return Ok(Outcome::Refused { reason: problem.reason(), message: problem.to_string() });
            }
        };
        if self.cloud.claim(id, &plan.reserve).await? {
            return Ok(Outcome::Underway(CLAIMING));
        }
        self.cloud.open(plan.cidr).await?;
        let pool = match (pool, plan.pool) {
            (Some(pool), _) => {
                if !plan.blocks.is_empty()
                    && let Some(refused) = self.bereaved(id, pool).await?
                {
                    return Ok(refused);
                }
                pool.clone()
            }
            (None, Some(new)) => self.store.make(&objects::pool(id, new)).await?,
            (None, None) => return Ok(Outcome::Underway("its pool is being made")),
        };
        self.emptied.remove(pool.metadata.uid.as_deref().unwrap_or_default());
        for block in &plan.blocks {
            let made = self.store.make(&objects::block(&pool, block)).await?;
            self.blocks.note(&made);
        }
        self.close(id, pool.spec.disabled).await?;
        self.count(&pool).await?;
        self.cloud.settled(id);
        Ok(Outcome::Ready(plan.names.iter().map(ToString::to_string).collect()))
    }

    /// What is to be said where blocks that are missing are pods' still: made again, they would give these addresses to others.
    async fn bereaved(&self, id: &SubnetId, pool: &IpPool) -> Result<Option<Outcome>> {
        let left = self.store.blocks(id.as_str()).await?;
        let lost = lost(&self.store, &pool.spec, &left).await?;
        let message = format!(
            "blocks of it were removed of which {lost} pods have addresses; delete these pods: the blocks are made again when they have gone"
        );
        Ok((lost > 0).then_some(Outcome::Refused { reason: "BlocksRemoved", message }))
    }

    /// Has the blocks of a vxnet give addresses, or give none any more.
    pub(super) async fn close(&self, id: &SubnetId, closed: bool) -> Result<()> {
        for seen in self.blocks.of_pool(id.as_str()).into_iter().flatten() {
            if seen.closed != closed
                && let Some(block) = self.store.close(seen.name, closed).await?
            {
                self.blocks.note(&block);
            }
        }
        Ok(())
    }

    /// Has the pool say how many of its addresses are whose.
    async fn count(&self, pool: &IpPool) -> Result<()> {
        let Some(name) = pool.metadata.name.as_deref() else { return Ok(()) };
        let usages: Vec<_> = self.blocks.of_pool(name).into_iter().flatten().map(|seen| seen.usage).collect();
        let status = objects::status(pool.status.as_ref(), &usages, true);
        if pool.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.store.tell_pool(name, &status).await
    }
}

/// How long nothing need be done about these vxnets if nothing changes.
pub(super) fn pause(outcomes: &[(String, Outcome)]) -> Duration {
    let pauses = outcomes.iter().map(|(_, outcome)| match outcome {
        Outcome::Underway(_) => SOON,
        Outcome::Leaving { .. } => LEAVING,
        Outcome::Ready(_) | Outcome::Refused { .. } | Outcome::Failed(_) => PERIOD,
    });
    pauses.min().unwrap_or(PERIOD)
}

pub(super) fn or_failed(outcome: Result<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|error| Outcome::Failed(error.chain().to_string()))
}

/// The vxnets that were ready when the cloud answered last, as far as they are wanted and nobody removes their pools.
fn ready_before<'a>(v_pool: &'a VxNetPool, wanted: &[SubnetId], pools: &[IpPool]) -> BTreeSet<&'a str> {
    let stays = |vxnet: &str| {
        let named = |pool: &&IpPool| pool.metadata.name.as_deref() == Some(vxnet);
        let pool = pools.iter().find(named);
        pool.is_some_and(|pool| pool.metadata.deletion_timestamp.is_none())
            && wanted.iter().any(|id| id.as_str() == vxnet)
    };
    let ready = v_pool.status.iter().flat_map(|status| &status.pools).map(|pool| pool.name.as_str());
    ready.filter(|vxnet| stays(vxnet)).collect()
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::ipam::resources::{IpPoolSpec, Pool, VxNetPoolStatus};

    #[test]
    fn while_the_cloud_is_away_what_was_ready_is_so_unless_somebody_takes_it_away() {
        let [a, b, c, d] = ["vxnet-a", "vxnet-b", "vxnet-c", "vxnet-d"];
        let mut v_pool = VxNetPool::new("v-pool", VxNetPoolSpec::default());
        assert_eq!(ready_before(&v_pool, &[], &[]), BTreeSet::new());
        let told = |name: &str| Pool { name: name.into(), ippool: name.into(), subnets: Vec::new() };
        v_pool.status =
            Some(VxNetPoolStatus { pools: [a, b, c].map(told).into(), ..VxNetPoolStatus::default() });
        let mut pools = [a, b, c, d].map(|name| IpPool::new(name, IpPoolSpec::default()));
        pools[1].metadata.deletion_timestamp = Some(Time(Timestamp::now()));
        let wanted = [a, b, d].map(|name| name.parse().unwrap());
        assert_eq!(ready_before(&v_pool, &wanted, &pools), BTreeSet::from([a]));
        assert_eq!(ready_before(&v_pool, &wanted, &pools[1..]), BTreeSet::new());
    }
}
