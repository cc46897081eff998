//! The simulated cloud behind the traits, for one instance.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::IpAddr;

use async_trait::async_trait;
use ipnet::IpNet;

use super::cloud::Cloud;
use super::create::NewNics;
use super::history::Operation;
use super::service::Caller;
use crate::capability::{
    AddressReservation, HostMachines, InstanceDirectory, NicForwarding, ReservedAddress, SecurityRules,
    Tagging,
};
use crate::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet};
use crate::error::Result;
use crate::id::{InstanceId, JobId, NicId, SubnetId};
use crate::provider::{Capabilities, CreateNics, NicProvider};

/// A [`Cloud`] as one instance sees it. Cheap to clone; each is a handle of the cloud.
#[derive(Debug, Clone)]
pub struct SimProvider {
    cloud: Cloud,
    instance: InstanceId,
}

impl SimProvider {
    pub(super) fn new(cloud: Cloud, instance: InstanceId) -> Self {
        Self { cloud, instance }
    }

    /// The cloud behind it.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    fn caller<'a>(
        &'a self,
        operation: Operation,
        subject: &'a (dyn Display + Sync),
        items: usize,
    ) -> Caller<'a> {
        Caller { operation, instance: &self.instance, subject, items }
    }
}

#[async_trait]
impl NicProvider for SimProvider {
    fn capabilities(&self) -> Capabilities {
        self.cloud.change(|service, _| service.state.capabilities.clone())
    }

    async fn instance(&self) -> Result<Instance> {
        let caller = self.caller(Operation::Instance, &self.instance, 1);
        self.cloud.call(caller, |state, _, _| state.instance(&self.instance)).await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        let subject = Named(ids);
        let caller = self.caller(Operation::Subnets, &subject, ids.len());
        self.cloud.call(caller, |state, _, _| state.describe_subnets(ids)).await
    }

    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        let count = usize::try_from(request.count).unwrap_or(usize::MAX);
        let caller = self.caller(Operation::CreateNics, &request.subnet, count);
        let name = request.name.to_string();
        let (count, addresses) = (request.count, &request.addresses);
        let new = NewNics { subnet: &request.subnet, count, name: &name, addresses };
        self.cloud.call(caller, |state, _, now| state.create(&new, now)).await
    }

    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        let subject = Named(nics);
        let caller = self.caller(Operation::AttachNics, &subject, nics.len());
        self.cloud.call(caller, |state, fate, now| state.attach(&self.instance, nics, fate, now)).await
    }

    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        let subject = Named(nics);
        let caller = self.caller(Operation::DetachNics, &subject, nics.len());
        self.cloud.call(caller, |state, fate, now| state.detach(&self.instance, nics, fate, now)).await
    }

    async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        let subject = Named(nics);
        let caller = self.caller(Operation::DeleteNics, &subject, nics.len());
        self.cloud.call(caller, |state, _, now| state.delete(nics, now)).await
    }

    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        let items = filter.ids.as_ref().map_or(0, Vec::len);
        let caller = self.caller(Operation::ListNics, &"of the account", items);
        self.cloud.call(caller, |state, _, now| state.list(filter, now)).await
    }

    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        let subject = Named(jobs);
        let caller = self.caller(Operation::Jobs, &subject, jobs.len());
        self.cloud.call(caller, |state, _, _| state.job_states(jobs)).await
    }
}

#[async_trait]
impl AddressReservation for SimProvider {
    async fn reserve(&self, subnet: &SubnetId, name: &str, first: IpAddr, last: IpAddr) -> Result<Submitted> {
        let caller = self.caller(Operation::Reserve, subnet, 1);
        self.cloud
            .call(caller, |state, fate, now| state.reserve(subnet, name, (first, last), fate, now))
            .await
    }

    async fn reserved(&self, subnet: &SubnetId, name: &str) -> Result<Vec<ReservedAddress>> {
        let caller = self.caller(Operation::Reserved, subnet, 1);
        self.cloud.call(caller, |state, _, _| Ok(state.reserved(subnet, name))).await
    }

    async fn release(&self, ids: &[String]) -> Result<Submitted> {
        let subject = Named(ids);
        let caller = self.caller(Operation::Release, &subject, ids.len());
        self.cloud.call(caller, |state, fate, now| Ok(state.release(ids, fate, now))).await
    }
}

#[async_trait]
impl SecurityRules for SimProvider {
    async fn allow_from(&self, group: &str, source: IpNet) -> Result<()> {
        let caller = self.caller(Operation::AllowFrom, &group, 1);
        self.cloud.call(caller, |state, _, _| state.allow_from(group, source)).await
    }
}

#[async_trait]
impl Tagging for SimProvider {
    async fn tag_nics(&self, tag: &str, nics: &[NicId]) -> Result<()> {
        let subject = Named(nics);
        let caller = self.caller(Operation::TagNics, &subject, nics.len());
        self.cloud.call(caller, |state, _, _| state.tag(tag, nics)).await
    }

    async fn tagged(&self, tags: &[String], nics: &[NicId]) -> Result<BTreeSet<NicId>> {
        let subject = Named(nics);
        let caller = self.caller(Operation::Tagged, &subject, nics.len());
        self.cloud.call(caller, |state, _, _| state.tagged(tags, nics)).await
    }
}

#[async_trait]
impl InstanceDirectory for SimProvider {
    async fn existing(&self, ids: &BTreeSet<InstanceId>) -> Result<BTreeSet<InstanceId>> {
        let asked: Vec<_> = ids.iter().collect();
        let subject = Named(&asked);
        let caller = self.caller(Operation::Existing, &subject, ids.len());
        self.cloud
            .call(caller, |state, _, _| {
                Ok(ids.iter().filter(|id| state.instance(id).is_ok()).cloned().collect())
            })
            .await
    }
}

/// It has one cluster, of whatever name.
#[async_trait]
impl HostMachines for SimProvider {
    async fn host_machines(&self, cluster: &str) -> Result<BTreeMap<IpAddr, String>> {
        let caller = self.caller(Operation::HostMachines, &cluster, 1);
        self.cloud.call(caller, |state, _, _| Ok(state.host_machines.clone())).await
    }
}

#[async_trait]
impl NicForwarding for SimProvider {
    async fn allow_forwarding(&self, nics: &[NicId]) -> Result<()> {
        let subject = Named(nics);
        let caller = self.caller(Operation::AllowForwarding, &subject, nics.len());
        self.cloud.call(caller, |state, _, _| state.allow_forwarding(nics)).await
    }
}

/// Names the first of many, and how many more there are.
struct Named<'a, T>(&'a [T]);

impl<T: Display> Display for Named<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("(none)"),
            [only] => only.fmt(f),
            [first, others @ ..] => write!(f, "{first} and {} more", others.len()),
        }
    }
}
