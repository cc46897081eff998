//! The simulated cloud as a state machine: state, request and time give an answer and a new state. No clock, no
//! task and no lock is in here, so that anything can drive it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::builder::{Durations, SubnetSpec};
use super::history::Operation;
use super::job::{Jobs, Work};
use super::quota::Quotas;
use super::range::AddressRange;
use super::reserve::Reservation;
use super::seed::Names;
use super::view::LaggingView;
use crate::cloud::{Instance, Nic, NicAttachment, NicFilter, Subnet};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InstanceId, JobId, NicId, SubnetId};
use crate::provider::Capabilities;

/// One NIC, and what only the cloud knows of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Port {
    pub(super) nic: Nic,
    /// The attach or detach job that has not ended.
    pub(super) job: Option<JobId>,
    pub(super) tags: BTreeSet<String>,
    /// Whether it may send from any address.
    #[serde(default)]
    pub(super) forwards: bool,
    /// What its subnet's DHCP server has given it.
    #[serde(default)]
    pub(super) leased: Option<IpAddr>,
    pub(super) made: Duration,
    /// When it was last attached or detached.
    pub(super) changed: Duration,
    /// Its position on its instance; 0 where it is on none, and for a primary one.
    pub(super) sequence: u32,
}

impl Port {
    fn new(nic: Nic, now: Duration) -> Self {
        let tags = BTreeSet::new();
        Self { nic, job: None, tags, forwards: false, leased: None, made: now, changed: now, sequence: 0 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct InstanceState {
    pub(super) instance: Instance,
    pub(super) primary: Option<NicId>,
    /// The NICs besides the primary one that are attached or are being attached.
    pub(super) secondary: BTreeSet<NicId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SubnetState {
    pub(super) spec: SubnetSpec,
    pub(super) range: AddressRange,
    pub(super) nics: u32,
}

/// The whole cloud.
#[derive(Debug)]
pub(super) struct State {
    pub(super) capabilities: Capabilities,
    pub(super) quotas: Quotas,
    pub(super) durations: Durations,
    /// Whether subnets tell their room.
    pub(super) tells_room: bool,
    /// Whether links are to be plugged by somebody before an attach job ends.
    pub(super) has_plug: bool,
    pub(super) instances: BTreeMap<InstanceId, InstanceState>,
    pub(super) subnets: BTreeMap<SubnetId, SubnetState>,
    pub(super) nics: BTreeMap<NicId, Port>,
    pub(super) reservations: BTreeMap<String, Reservation>,
    pub(super) rules: BTreeMap<String, BTreeSet<IpNet>>,
    /// The machines that instances run on, by their own addresses, as far as they are told.
    pub(super) host_machines: BTreeMap<IpAddr, String>,
    pub(super) jobs: Jobs,
    pub(super) work: Vec<Work>,
    pub(super) view: LaggingView,
    pub(super) names: Names,
}

impl State {
    pub(super) fn add_instance(&mut self, instance: Instance) {
        let id = instance.id.clone();
        self.instances.insert(id, InstanceState { instance, primary: None, secondary: BTreeSet::new() });
    }

    pub(super) fn add_subnet(&mut self, spec: SubnetSpec) {
        let range = AddressRange::new(&spec.range, spec.gateway);
        self.subnets.insert(spec.id.clone(), SubnetState { spec, range, nics: 0 });
    }

    pub(super) fn instance(&self, id: &InstanceId) -> Result<Instance> {
        let known = self.instances.get(id).map(|state| state.instance.clone());
        known.ok_or_else(|| Error::new(ErrorKind::NotFound, Operation::Instance.verb(), id))
    }

    pub(super) fn describe_subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        self.check_batch(Operation::Subnets, ids.len())?;
        Ok(ids.iter().filter_map(|id| self.subnets.get(id)).map(|state| self.describe(state)).collect())
    }

    pub(super) fn subnet(&self, id: &SubnetId) -> Option<Subnet> {
        self.subnets.get(id).map(|state| self.describe(state))
    }

    fn describe(&self, state: &SubnetState) -> Subnet {
        let spec = &state.spec;
        let room = self.quotas.nics_per_subnet.saturating_sub(state.nics).min(state.range.free());
        Subnet {
            id: spec.id.clone(),
            prefix: spec.prefix,
            gateway: spec.gateway,
            router: spec.router.clone(),
            dhcp: spec.dhcp.then(|| spec.range.clone()),
            carrier: spec.carrier,
            room: self.tells_room.then_some(room),
        }
    }

    /// Puts in a NIC whose addresses are taken already.
    pub(super) fn put(&mut self, nic: Nic, now: Duration) {
        if let Some(subnet) = self.subnets.get_mut(&nic.subnet) {
            subnet.nics += 1;
        }
        self.view.publish(&nic.id, Some(&nic), now);
        self.nics.insert(nic.id.clone(), Port::new(nic, now));
    }

    /// Puts in a NIC that somebody else made.
    pub(super) fn insert_foreign(&mut self, nic: Nic, now: Duration) -> Result<()> {
        let refuse = |kind| Error::new(kind, "insert NIC", &nic.id);
        if self.nics.contains_key(&nic.id) || self.nics.values().any(|p| p.nic.mac == nic.mac) {
            return Err(refuse(ErrorKind::Conflict).detail("a NIC with this id or MAC exists"));
        }
        let subnet = self.subnets.get_mut(&nic.subnet).ok_or_else(|| refuse(ErrorKind::NotFound))?;
        if nic.addresses.iter().any(|a| subnet.range.is_taken(*a)) {
            return Err(refuse(ErrorKind::Conflict).detail("one of its addresses is taken"));
        }
        if let NicAttachment::Attached { instance, primary } = &nic.attachment {
            let carrier = self.instances.get_mut(instance).ok_or_else(|| refuse(ErrorKind::NotFound))?;
            if *primary {
                carrier.primary = Some(nic.id.clone());
            } else {
                carrier.secondary.insert(nic.id.clone());
            }
        }
        for address in &nic.addresses {
            subnet.range.take(*address);
        }
        let carrier = nic.attachment.instance().cloned();
        self.put(nic.clone(), now);
        if let Some(instance) = carrier
            && self.has_plug
        {
            let sources = self.sources(&nic);
            self.work.push(Work::Plug { instance, nic, sources });
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, ids: &[NicId], now: Duration) -> Result<()> {
        self.check_batch(Operation::DeleteNics, ids.len())?;
        for id in ids {
            if let Some(port) = self.nics.get(id)
                && (port.job.is_some() || port.nic.attachment != NicAttachment::Available)
            {
                return Err(Error::new(ErrorKind::Conflict, Operation::DeleteNics.verb(), id)
                    .detail("it is attached or in transition: detach it first"));
            }
        }
        for id in ids {
            self.remove(id, now);
        }
        Ok(())
    }

    /// Takes a NIC out of the cloud whatever its state. Its link, where there is one, is to be unplugged.
    pub(super) fn remove(&mut self, id: &NicId, now: Duration) -> Option<Nic> {
        let Port { nic, .. } = self.nics.remove(id)?;
        if let Some(subnet) = self.subnets.get_mut(&nic.subnet) {
            subnet.nics = subnet.nics.saturating_sub(1);
            for address in &nic.addresses {
                subnet.range.give_back(*address);
            }
        }
        for instance in self.instances.values_mut() {
            instance.secondary.remove(id);
            if instance.primary.as_ref() == Some(id) {
                instance.primary = None;
            }
        }
        if let Some(instance) = nic.attachment.instance() {
            self.unplug_later(instance.clone(), nic.clone());
        }
        self.view.publish(id, None, now);
        Some(nic)
    }

    /// The NICs that are no instance's primary one.
    pub(super) fn removable(&self) -> impl Iterator<Item = &NicId> {
        let is_primary = |nic: &Nic| matches!(nic.attachment, NicAttachment::Attached { primary: true, .. });
        self.nics.values().map(|port| &port.nic).filter(move |nic| !is_primary(nic)).map(|nic| &nic.id)
    }

    /// Ends an instance: its primary NIC goes with it, the others become available.
    pub(super) fn terminate(&mut self, id: &InstanceId, now: Duration) {
        let Some(ended) = self.instances.remove(id) else { return };
        if let Some(primary) = ended.primary {
            self.remove(&primary, now);
        }
        for nic in ended.secondary {
            let Some(port) = self.nics.get_mut(&nic) else { continue };
            if port.nic.attachment != NicAttachment::Available {
                port.nic.attachment = NicAttachment::Available;
                (port.changed, port.sequence) = (now, 0);
                let freed = port.nic.clone();
                self.view.publish(&nic, Some(&freed), now);
                self.unplug_later(id.clone(), freed);
            }
        }
    }

    pub(super) fn unplug_later(&mut self, instance: InstanceId, nic: Nic) {
        if self.has_plug {
            self.work.push(Work::Unplug { instance, nic });
        }
    }

    pub(super) fn list(&mut self, filter: &NicFilter, now: Duration) -> Result<Vec<Nic>> {
        self.check_batch(Operation::ListNics, filter.ids.as_ref().map_or(0, Vec::len))?;
        Ok(self.view.list(filter, now))
    }

    /// How many more NICs the instance can carry.
    pub(super) fn room_in(&self, state: &InstanceState) -> usize {
        let limit = state.instance.nic_limit.min(self.quotas.nics_per_instance.saturating_sub(1));
        usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(state.secondary.len())
    }

    pub(super) fn check_batch(&self, operation: Operation, items: usize) -> Result<()> {
        let limit = self.capabilities.batch;
        if usize::try_from(limit).is_ok_and(|limit| items > limit) {
            return Err(Error::new(ErrorKind::Invalid, operation.verb(), format_args!("{items} of them"))
                .detail(format_args!("one call takes at most {limit}")));
        }
        Ok(())
    }
}
