//! What the cloud has of our vxnets, asked for as seldom as that can be: the account's calls are for all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use futures::{StreamExt, stream};
use hostnic_core::Result;
use hostnic_core::cloud::{JobState, Submitted, Subnet};
use hostnic_core::id::{JobId, SubnetId};
use ipnet::Ipv4Net;
use tokio::time::Instant;

use super::PoolCloud;

/// How long what the cloud said of a vxnet counts, where nothing is wrong with it and where something is.
const SETTLED: Duration = Duration::from_secs(30 * 60);
const UNSETTLED: Duration = Duration::from_secs(60);
/// How many vxnets' reservations are listed at once: a list has a page for each hundred of them.
const AT_ONCE: usize = 4;

/// A vxnet, as the cloud told last.
#[derive(Debug)]
pub(super) struct Known {
    /// `None` where it is not ours to use.
    pub(super) subnet: Option<Subnet>,
    /// The addresses of it that we have reserved.
    pub(super) reserved: BTreeSet<Ipv4Addr>,
    /// Whether the cloud has listed all of them. What a job of ours has reserved since is believed as long as more is to be reserved:
    /// a large vxnet's list is long.
    listed: bool,
    until: Instant,
}

/// Something that the cloud was asked to do.
#[derive(Debug)]
struct Begun {
    job: JobId,
    /// What is reserved when it is done, for a claim.
    claims: Option<RangeInclusive<u32>>,
}

/// The cloud, and what it is doing for us.
#[derive(Debug)]
pub(super) struct CloudView {
    cloud: PoolCloud,
    known: BTreeMap<SubnetId, Known>,
    /// Jobs that were begun here and have not ended, by the vxnet whose addresses they are about.
    jobs: BTreeMap<SubnetId, Begun>,
    /// The cluster's security group, once it is known.
    group: Option<Option<String>>,
    /// From where the security group lets everything in.
    opened: BTreeSet<Ipv4Net>,
}

impl CloudView {
    pub(super) fn new(cloud: PoolCloud) -> Self {
        Self { cloud, known: BTreeMap::new(), jobs: BTreeMap::new(), group: None, opened: BTreeSet::new() }
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
        let listed = self.list(&asked, &subnets).await;
        let mut failed = None;
        for (id, reserved) in asked.into_iter().zip(listed) {
            let place = subnets.iter().position(|subnet| subnet.id == id);
            let subnet = place.map(|place| subnets.swap_remove(place));
            match reserved {
                Ok(reserved) => {
                    let known = Known { subnet, reserved, listed: true, until: now + UNSETTLED };
                    self.known.insert(id, known);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is reserved in each of these vxnets; nothing in those that the cloud does not know.
    async fn list(&self, asked: &[SubnetId], subnets: &[Subnet]) -> Vec<Result<BTreeSet<Ipv4Addr>>> {
        let list = |id: &SubnetId| {
            let (id, known) = (id.clone(), subnets.iter().any(|subnet| subnet.id == *id));
            async move {
                match known {
                    true => Ok(self.reservations(&id).await?.into_keys().collect()),
                    false => Ok(BTreeSet::new()),
                }
            }
        };
        let lists: Vec<_> = asked.iter().map(list).collect();
        stream::iter(lists).buffered(AT_ONCE).collect().await
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

    /// Begins to claim what is missing, or sees to it that what was claimed is listed; false when nothing is to be done.
    pub(super) async fn claim(
        &mut self,
        id: &SubnetId,
        missing: &[RangeInclusive<Ipv4Addr>],
    ) -> Result<bool> {
        let Some(part) = missing.first() else {
            let unlisted = self.known.get(id).is_some_and(|known| !known.listed);
            if unlisted {
                self.known.remove(id);
            }
            return Ok(unlisted);
        };
        // The rest is missing still when it is looked at next.
        let most = u32::from(*part.start()).saturating_add(self.cloud.addresses.at_once().saturating_sub(1));
        let (first, last) = (u32::from(*part.start()), u32::from(*part.end()).min(most));
        let [from, to] = [first, last].map(|end| IpAddr::V4(Ipv4Addr::from(end)));
        let known = self.known.remove(id);
        let submitted = self.cloud.addresses.reserve(id, &name(id), from, to).await?;
        // Had it failed or been called off, what is known would not be so any more.
        self.known.extend(known.map(|known| (id.clone(), known)));
        match submitted {
            Submitted::Job(job) => {
                drop(self.jobs.insert(id.clone(), Begun { job, claims: Some(first..=last) }))
            }
            Submitted::Complete => self.believe(id, first..=last),
        }
        Ok(true)
    }

    /// Begins to give reservations back.
    pub(super) async fn give_back(&mut self, id: &SubnetId, reservations: &[String]) -> Result<()> {
        self.known.remove(id);
        let submitted = self.cloud.addresses.release(reservations).await?;
        if let Submitted::Job(job) = submitted {
            self.jobs.insert(id.clone(), Begun { job, claims: None });
        }
        Ok(())
    }

    /// Takes addresses for reserved, until they are listed.
    fn believe(&mut self, id: &SubnetId, claimed: RangeInclusive<u32>) {
        if let Some(known) = self.known.get_mut(id) {
            known.reserved.extend(claimed.map(Ipv4Addr::from));
            known.listed = false;
            known.until = Instant::now() + UNSETTLED;
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
            self.jobs.iter().take(most).map(|(id, begun)| (id.clone(), begun.job.clone())).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let asked: Vec<JobId> = jobs.iter().map(|(_, job)| job.clone()).collect();
        let told = self.cloud.provider.jobs(&asked).await?;
        for ((id, _), job) in jobs.into_iter().zip(told) {
            if job.state == JobState::Running {
                continue;
            }
            if let JobState::Failed { reason, .. } = &job.state {
                tracing::warn!(vxnet = %id, %reason, "the cloud did not carry out a job about addresses; trying again");
            }
            let claims = self.jobs.remove(&id).and_then(|begun| begun.claims);
            match (job.state, claims) {
                (JobState::Succeeded, Some(claimed)) => self.believe(&id, claimed),
                _ => drop(self.known.remove(&id)),
            }
        }
        Ok(())
    }

    /// Lets packets from a vxnet into the cluster's machines.
    pub(super) async fn open(&mut self, cidr: Ipv4Net) -> Result<()> {
        let Some((rules, of_cluster)) = &self.cloud.security else { return Ok(()) };
        if self.opened.contains(&cidr) {
            return Ok(());
        }
        if self.group.is_none() {
            self.group = Some(of_cluster.group().await?);
        }
        if let Some(Some(group)) = &self.group {
            rules.allow_from(group, cidr.into()).await?;
        }
        self.opened.insert(cidr);
        Ok(())
    }
}

/// Under which name a vxnet's addresses are claimed, as the Go version did.
fn name(id: &SubnetId) -> String {
    format!("hostnic_{id}")
}

#[cfg(test)]
#[path = "cloud_tests.rs"]
mod tests;
