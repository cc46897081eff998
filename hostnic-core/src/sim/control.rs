//! The simulated cloud from its own side: what an API server in front of it drives.

use std::net::IpAddr;
use std::time::Duration;

use super::builder::SubnetSpec;
use super::cloud::Cloud;
use super::create::NewNics;
use super::fault::Fate;
use super::job::Task;
use super::state::{Port, State};
use crate::capability::ReservedAddress;
use crate::cloud::{Instance, JobState, Nic, NicAttachment, NicFilter, Submitted, Subnet};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InstanceId, JobId, NicId, SubnetId};
use crate::provider::NicAddresses;

/// Does at once what an API server asks for: nothing here waits, is refused by the gate, goes wrong as injected, or is
/// written into the history. The server has those itself, in the way of its API.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    cloud: Cloud,
}

/// A NIC, and what the cloud knows besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicRecord {
    /// The NIC.
    pub nic: Nic,
    /// When it was made, in the cloud's time.
    pub made: Duration,
    /// When it was last attached or detached.
    pub changed: Duration,
    /// Its position on its instance, of which 0 is the primary NIC's; 0 where it is on none.
    pub sequence: u32,
    /// The job that is attaching or detaching it.
    pub job: Option<JobId>,
}

/// How a job is going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its state; never `Unknown`.
    pub state: JobState,
    /// When it was submitted, in the cloud's time.
    pub made: Duration,
    /// When it ended.
    pub ended: Option<Duration>,
}

/// A reserved address, and what the cloud knows besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRecord {
    /// The address.
    pub address: ReservedAddress,
    /// The name that it was reserved under.
    pub name: String,
    /// When, in the cloud's time.
    pub made: Duration,
}

/// Which addresses to reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// So many, chosen by the cloud.
    Next(u32),
    /// All from the first to the last.
    Range(IpAddr, IpAddr),
    /// These.
    Chosen(Vec<IpAddr>),
}

impl ControlPlane {
    pub(super) fn new(cloud: Cloud) -> Self {
        Self { cloud }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State, Duration) -> T) -> T {
        self.cloud.change(|service, now| {
            let done = work(&mut service.state, now);
            // Jobs that take no time are done when the call returns.
            service.state.settle(now);
            done
        })
    }

    /// As [`NicProvider::create_nics`](crate::NicProvider::create_nics), with any name.
    ///
    /// # Errors
    /// `NotFound` for the subnet, `Invalid`, `Conflict` or `Quota`.
    pub fn create_nics(
        &self,
        subnet: &SubnetId,
        name: &str,
        count: u32,
        addresses: &NicAddresses,
    ) -> Result<Vec<Nic>> {
        self.with(|state, now| state.create(&NewNics { subnet, count, name, addresses }, now))
    }

    /// Begins to attach NICs, all or none.
    ///
    /// # Errors
    /// `NotFound` for the instance or a NIC, `Conflict` for one that is not available, `Quota`.
    pub fn attach_nics(&self, instance: &InstanceId, nics: &[NicId], fate: Fate) -> Result<Submitted> {
        self.with(|state, now| state.attach(instance, nics, fate, now))
    }

    /// Begins to detach NICs of one instance; those that are unknown or available are left out.
    ///
    /// # Errors
    /// `Conflict` for one that is primary, in transition or in another instance.
    pub fn detach_nics(&self, instance: &InstanceId, nics: &[NicId], fate: Fate) -> Result<Submitted> {
        self.with(|state, now| state.detach(instance, nics, fate, now))
    }

    /// The subnet's DHCP server has given a NIC without addresses this one, or none any more: from no other that is not
    /// reserved may it send. The server itself is whoever calls this.
    ///
    /// # Errors
    /// `NotFound` for the NIC.
    pub fn lease(&self, nic: &NicId, address: Option<IpAddr>) -> Result<()> {
        self.with(|state, _| state.set_leased(nic, address))
    }

    /// Deletes NICs, all or none; those that are unknown are left out.
    ///
    /// # Errors
    /// `Conflict` for one that is attached or in transition.
    pub fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        self.with(|state, now| state.delete(nics, now))
    }

    /// Gives a NIC another name and, where `address` is set, that address instead of its own.
    ///
    /// # Errors
    /// `NotFound`; for the address `Conflict` unless the NIC is available and the address free, `Invalid` outside the
    /// subnet.
    pub fn modify_nic(&self, nic: &NicId, name: Option<&str>, address: Option<IpAddr>) -> Result<()> {
        self.with(|state, now| state.modify(nic, name, address, now))
    }

    /// Lets a NIC send from any address, or forbids it again.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn set_forwarding(&self, nic: &NicId, forwards: bool) -> Result<()> {
        self.with(|state, _| state.set_forwarding(nic, forwards))
    }

    /// The machine that the instance of this address runs on, where one was set.
    pub fn host_machine(&self, address: IpAddr) -> Option<String> {
        self.cloud.host_machine(address)
    }

    /// Every NIC, as it is.
    pub fn nics(&self) -> Vec<NicRecord> {
        self.with(|state, _| state.nics.values().map(|port| record(port.nic.clone(), Some(port))).collect())
    }

    /// Every NIC as lists show it, so much later as
    /// [`CloudBuilder::list_lag`](super::CloudBuilder::list_lag) says.
    pub fn listed_nics(&self) -> Vec<NicRecord> {
        self.with(|state, now| {
            let listed = state.view.list(&NicFilter::default(), now);
            listed.into_iter().map(|nic| record(nic.clone(), state.nics.get(&nic.id))).collect()
        })
    }

    /// Every subnet.
    pub fn subnets(&self) -> Vec<Subnet> {
        self.with(|state, _| {
            let ids: Vec<SubnetId> = state.subnets.keys().cloned().collect();
            ids.iter().filter_map(|id| state.subnet(id)).collect()
        })
    }

    /// Adds a subnet.
    ///
    /// # Errors
    /// `Conflict` when there is one with this id, `Invalid` when its parts do not fit together.
    pub fn add_subnet(&self, spec: SubnetSpec) -> Result<()> {
        spec.check()?;
        self.with(|state, _| {
            if state.subnets.contains_key(&spec.id) {
                return Err(Error::new(ErrorKind::Conflict, "add subnet", &spec.id));
            }
            state.add_subnet(spec);
            Ok(())
        })
    }

    /// Removes a subnet; one that is unknown is removed already.
    ///
    /// # Errors
    /// `Conflict` while NICs or reservations are in it.
    pub fn remove_subnet(&self, id: &SubnetId) -> Result<()> {
        self.with(|state, _| {
            let reserved = state.reservations.values().any(|r| r.address.subnet == *id);
            if reserved || state.subnets.get(id).is_some_and(|subnet| subnet.nics > 0) {
                return Err(Error::new(ErrorKind::Conflict, "remove subnet", id)
                    .detail("NICs or reserved addresses are in it"));
            }
            state.subnets.remove(id);
            Ok(())
        })
    }

    /// Every instance.
    pub fn instances(&self) -> Vec<Instance> {
        self.with(|state, _| state.instances.values().map(|i| i.instance.clone()).collect())
    }

    /// Begins to reserve addresses, all or none, and says under which ids.
    ///
    /// # Errors
    /// `NotFound` for the subnet, `Conflict` for an address that is taken, `Invalid` for one that the subnet does not give
    /// out, `Quota` where there are not as many.
    pub fn reserve(
        &self,
        subnet: &SubnetId,
        name: &str,
        selection: &Selection,
        fate: Fate,
    ) -> Result<(Vec<String>, Submitted)> {
        self.with(|state, now| {
            let addresses = state.select(subnet, selection)?;
            let reservations = state.hold(subnet, name, addresses, now);
            let task = Task::Reserve { reservations: reservations.clone() };
            Ok((reservations, state.submit(task, fate, state.durations.reserve, now)))
        })
    }

    /// Begins to give reservations back; those that are unknown are left out.
    pub fn release(&self, ids: &[String], fate: Fate) -> Submitted {
        self.with(|state, now| state.release(ids, fate, now))
    }

    /// The reservations whose jobs have ended.
    pub fn reservations(&self) -> Vec<ReservationRecord> {
        self.with(|state, _| {
            let shown = state.reservations.values().filter(|r| r.shown);
            shown
                .map(|r| ReservationRecord { address: r.address.clone(), name: r.name.clone(), made: r.made })
                .collect()
        })
    }

    /// Begins a job that only lasts: what it stands for is the caller's.
    pub fn begin_job(&self, takes: Duration, fate: Fate) -> JobId {
        self.with(|state, now| state.submit_job(Task::Last, fate, takes, now))
    }

    /// How a job is going; `None` for one that is unknown or forgotten.
    pub fn job(&self, id: &JobId) -> Option<JobRecord> {
        self.with(|state, _| {
            let (made, ended) = state.jobs.times(id)?;
            Some(JobRecord { state: state.jobs.state(id), made, ended })
        })
    }

    /// Takes away some NIC, chosen by the seed and no primary one.
    pub fn vanish_any(&self) -> Option<NicId> {
        self.cloud.change(|service, now| service.vanish_any(now))
    }

    /// Allows so much from now on.
    pub fn set_quotas(&self, quotas: super::Quotas) {
        self.with(|state, _| state.quotas = quotas);
    }

    /// How many NICs the account owns, primary ones not counted, and how many more it may.
    pub fn nic_quota(&self) -> (u32, Option<u32>) {
        self.with(|state, _| {
            let owned = state.owned();
            (owned, state.quotas.nics_per_account.map(|limit| limit.saturating_sub(owned)))
        })
    }
}

fn record(nic: Nic, port: Option<&Port>) -> NicRecord {
    let times = |port: &Port| (port.made, port.changed, port.sequence, port.job.clone());
    let (made, changed, sequence, job) = port.map(times).unwrap_or_default();
    NicRecord { nic, made, changed, sequence, job }
}

impl State {
    fn modify(
        &mut self,
        id: &NicId,
        name: Option<&str>,
        address: Option<IpAddr>,
        now: Duration,
    ) -> Result<()> {
        let refuse = |kind| Error::new(kind, "modify NIC", id);
        let port = self.nics.get_mut(id).ok_or_else(|| refuse(ErrorKind::NotFound))?;
        if let Some(address) = address {
            if port.job.is_some() || port.nic.attachment != NicAttachment::Available {
                return Err(
                    refuse(ErrorKind::Conflict).detail("its address is changed while it is available")
                );
            }
            let subnet = self.subnets.get_mut(&port.nic.subnet).ok_or_else(|| refuse(ErrorKind::NotFound))?;
            if !subnet.spec.prefix.contains(&address) {
                return Err(refuse(ErrorKind::Invalid).detail("the address is outside the subnet"));
            }
            if !port.nic.addresses.contains(&address) && !subnet.range.take(address) {
                return Err(refuse(ErrorKind::Conflict).detail(format_args!("{address} is taken")));
            }
            for old in std::mem::replace(&mut port.nic.addresses, vec![address]) {
                if old != address {
                    subnet.range.give_back(old);
                }
            }
        }
        if let Some(name) = name {
            name.clone_into(&mut port.nic.name);
        }
        self.view.publish(id, Some(&port.nic), now);
        Ok(())
    }
}
