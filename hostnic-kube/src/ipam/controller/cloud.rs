//! What the cloud has of our vxnets, asked for as seldom as that can be: the account's calls are for all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::cloud::{JobState, Submitted, Subnet};
use hostnic_core::id::{JobId, SubnetId};
use ipnet::Ipv4Net;
use tokio::time::Instant;

use super::PoolCloud;

/// How long what the cloud said of a vxnet counts, where nothing is wrong with it and where something is.
const SETTLED: Duration = Duration::from_secs(30 * 60);
const UNSETTLED: Duration = Duration::from_secs(60);

/// A vxnet, as the cloud told last.
#[derive(Debug)]
pub(super) struct Known {
    /// `None` where it is not ours to use.
    pub(super) subnet: Option<Subnet>,
    /// The addresses of it that we have reserved.
    pub(super) reserved: BTreeSet<Ipv4Addr>,
    until: Instant,
}

/// The cloud, and what it is doing for us.
#[derive(Debug)]
pub(super) struct CloudView {
    cloud: PoolCloud,
    known: BTreeMap<SubnetId, Known>,
    /// Jobs that were begun here and have not ended, by the vxnet whose addresses they are about.
    jobs: BTreeMap<SubnetId, JobId>,
    /// From where the security group lets everything in.
    opened: BTreeSet<Ipv4Net>,
}

impl CloudView {
    pub(super) fn new(cloud: PoolCloud) -> Self {
        Self { cloud, known: BTreeMap::new(), jobs: BTreeMap::new(), opened: BTreeSet::new() }
    }

    /// Asks for what is not known of these vxnets, or has been known for long, and for the jobs that were begun.
    pub(super) async fn look(&mut self, ids: &[SubnetId]) -> Result<()> {
        self.follow_jobs().await?;
        let now = Instant::now();
        self.known.retain(|id, known| known.until > now && ids.contains(id));
        // What a job is about is seen when it has ended.
        let unknown = |id: &&SubnetId| !self.known.contains_key(id) && !self.jobs.contains_key(id);
        let asked: Vec<SubnetId> = ids.iter().filter(unknown).cloned().collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mut subnets = self.cloud.provider.subnets(&asked).await?;
        for id in asked {
            let place = subnets.iter().position(|subnet| subnet.id == id);
            let subnet = place.map(|place| subnets.swap_remove(place));
            let reserved = match &subnet {
                Some(_) => self.reservations(&id).await?.into_keys().collect(),
                None => BTreeSet::new(),
            };
            self.known.insert(id, Known { subnet, reserved, until: now + UNSETTLED });
        }
        Ok(())
    }

    /// What is known of a vxnet that was [looked](Self::look) at.
    pub(super) fn of(&self, id: &SubnetId) -> Option<&Known> {
        self.known.get(id)
    }

    /// Says that nothing is wrong with a vxnet.
    pub(super) fn settled(&mut self, id: &SubnetId) {
        let until = Instant::now() + SETTLED;
        if let Some(known) = self.known.get_mut(id)
            && known.until + UNSETTLED < until
        {
            known.until = until;
        }
    }

    /// Our reservations in a vxnet, by address, as the cloud has them now.
    pub(super) async fn reservations(&self, id: &SubnetId) -> Result<BTreeMap<Ipv4Addr, String>> {
        let reserved = self.cloud.addresses.reserved(id, &name(id)).await?;
        let told = reserved.into_iter().filter_map(|reserved| match reserved.address {
            IpAddr::V4(address) => Some((address, reserved.id)),
            IpAddr::V6(_) => None,
        });
        Ok(told.collect())
    }

    /// Begins to claim what is missing; false when nothing is.
    pub(super) async fn claim(
        &mut self,
        id: &SubnetId,
        missing: &[RangeInclusive<Ipv4Addr>],
    ) -> Result<bool> {
        let Some(part) = missing.first() else { return Ok(false) };
        // The rest is missing still when it is looked at next.
        let most = u32::from(*part.start()).saturating_add(self.cloud.addresses.at_once().saturating_sub(1));
        let last = Ipv4Addr::from(u32::from(*part.end()).min(most));
        let (first, last) = (IpAddr::V4(*part.start()), IpAddr::V4(last));
        // Whatever becomes of it, what is known is no longer so.
        self.known.remove(id);
        let submitted = self.cloud.addresses.reserve(id, &name(id), first, last).await?;
        self.note(id, submitted);
        Ok(true)
    }

    /// Begins to give reservations back.
    pub(super) async fn give_back(&mut self, id: &SubnetId, reservations: &[String]) -> Result<()> {
        self.known.remove(id);
        let submitted = self.cloud.addresses.release(reservations).await?;
        self.note(id, submitted);
        Ok(())
    }

    fn note(&mut self, id: &SubnetId, submitted: Submitted) {
        if let Submitted::Job(job) = submitted {
            self.jobs.insert(id.clone(), job);
        }
    }

    /// Whether the cloud is still at a job that was begun here. Addresses that it is about may not be listed yet.
    pub(super) fn is_busy(&self, id: &SubnetId) -> bool {
        self.jobs.contains_key(id)
    }

    /// Asks how far the jobs are, all in one call.
    async fn follow_jobs(&mut self) -> Result<()> {
        let most = usize::try_from(self.cloud.provider.capabilities().batch).unwrap_or(usize::MAX).max(1);
        let jobs: Vec<(SubnetId, JobId)> =
            self.jobs.iter().take(most).map(|(id, job)| (id.clone(), job.clone())).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let asked: Vec<JobId> = jobs.iter().map(|(_, job)| job.clone()).collect();
        let told = self.cloud.provider.jobs(&asked).await?;
        for ((id, _), job) in jobs.into_iter().zip(told) {
            if job.state == JobState::Running {
                continue;
            }
            if let JobState::Failed { reason, .. } = job.state {
                tracing::warn!(vxnet = %id, %reason, "the cloud did not carry out a job about addresses; trying again");
            }
            self.jobs.remove(&id);
            self.known.remove(&id);
        }
        Ok(())
    }

    /// Lets packets from a vxnet into the cluster's machines.
    pub(super) async fn open(&mut self, cidr: Ipv4Net) -> Result<()> {
        if let Some((rules, group)) = &self.cloud.security
            && !self.opened.contains(&cidr)
        {
            rules.allow_from(group, cidr.into()).await?;
            self.opened.insert(cidr);
        }
        Ok(())
    }
}

/// Under which name a vxnet's addresses are claimed, as the Go version did.
fn name(id: &SubnetId) -> String {
    format!("hostnic_{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_have_the_go_versions_name() {
        assert_eq!(name(&"vxnet-abc1234".parse().unwrap()), "hostnic_vxnet-abc1234");
    }
}
