//! How a pod is joined to its NIC and, behind a veth, under which numbers and names. Pure.

use std::collections::BTreeSet;

use ipnet::IpNet;
use sha1::{Digest, Sha1};

use crate::attachment::{IfName, PodRef};
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::GatewayConfig;
use crate::ledger::{LeaseRecord, State, Write};
use crate::pool::PoolConfig;
use crate::route::{NicTable, PodDatapath, PodPlan, ServiceVeth, SharedPlan, VethPlan};

use super::shared;
use super::veth::{PodMtu, VethCommon, VethConfig, VethPrefix};

/// How many characters of a pod's hash are in the name of its veth. Felix knows pods' veths by that.
const HASHED: usize = 11;

/// What is known about the veth of a pod before its lease is recorded; the rest depends on the other leases.
#[derive(Debug, Clone)]
pub(super) struct VethDraft {
    pub(super) common: VethCommon,
    pub(super) config: VethConfig,
    /// Tables that no NIC is to have, beside those of the leases.
    pub(super) taken: BTreeSet<u32>,
}

impl VethDraft {
    fn table(&self, state: &State, record: &LeaseRecord) -> Result<NicTable> {
        free_table(self.config.first_table, &self.taken, state).ok_or_else(|| {
            Error::new(ErrorKind::Exhausted, "find a routing table for", record.lease.mac).detail(format!(
                "all from {} on are taken; begin with a lower one",
                self.config.first_table.number()
            ))
        })
    }

    /// Puts into the record what a pod has that shares its NIC, as the records are now. Answers what is to be written of the
    /// NIC.
    ///
    /// # Errors
    /// `Exhausted` when the NIC has no table and none is free, `Transient` when the NIC is gone.
    pub(super) fn decide_shared(&self, state: &State, record: &mut LeaseRecord) -> Result<Option<Write>> {
        let nic = state.nics.get(&record.lease.nic).filter(|nic| nic.role.is_shared()).ok_or_else(|| {
            Error::new(ErrorKind::Transient, "share NIC", &record.lease.nic)
                .detail("it is gone since a moment ago; try again")
        })?;
        let (table, chosen) = shared::table_of(nic, || self.table(state, record))?;
        let (mtu, mtu_at_most) = mtu(self.config.mtu, record.plan.mtu);
        record.plan.mtu = mtu;
        record.plan.datapath = PodDatapath::Shared(SharedPlan {
            table,
            pods: self.common.pods,
            host_ifname: host_ifname(&self.config.prefix, state, record)?,
            source: self.common.source,
            mtu_at_most,
        });
        Ok(chosen)
    }

    /// Puts into the record what is free as the records are now.
    ///
    /// # Errors
    /// `Exhausted` when no table is free.
    pub(super) fn decide(&self, state: &State, record: &mut LeaseRecord) -> Result<()> {
        let table = self.table(state, record)?;
        let (mtu, mtu_at_most) = mtu(self.config.mtu, record.plan.mtu);
        record.plan.mtu = mtu;
        record.plan.datapath = PodDatapath::Veth(VethPlan {
            table,
            pods: self.common.pods,
            host_ifname: host_ifname(&self.config.prefix, state, record)?,
            source: self.common.source,
            hairpin: self.common.hairpin,
            mtu_at_most,
        });
        Ok(())
    }
}

/// Gives a pod that its NIC is moved into a veth to services, but for those that the request has routes to. A sandbox has
/// one veth for that.
///
/// # Errors
/// `Internal` where no name can be made of the prefix.
pub(super) fn lead_to_services(config: &VethConfig, state: &State, record: &mut LeaseRecord) -> Result<()> {
    let routed = |service: &IpNet| record.plan.routes.iter().any(|route| route.destination == *service);
    let services: Vec<IpNet> = config.services.iter().copied().filter(|service| !routed(service)).collect();
    let has_one = |other: &LeaseRecord| is_beside(other, record) && services_veth(&other.plan).is_some();
    let name_taken = record.plan.ifname.as_str() == ServiceVeth::POD_IFNAME;
    if services.is_empty() || name_taken || state.leases.values().any(has_one) {
        return Ok(());
    }
    let host_ifname = host_ifname(&config.prefix, state, record)?;
    record.plan.datapath = PodDatapath::PassthroughWithServices(ServiceVeth { host_ifname, services });
    Ok(())
}

/// The veth beside the NIC of a plan, where there is to be one.
fn services_veth(plan: &PodPlan) -> Option<&ServiceVeth> {
    match &plan.datapath {
        PodDatapath::PassthroughWithServices(services) => Some(services),
        PodDatapath::Passthrough | PodDatapath::Veth(_) | PodDatapath::Shared(_) => None,
    }
}

/// The name of the end in the node of a plan's veth, of either kind.
fn host_end(plan: &PodPlan) -> Option<&IfName> {
    match &plan.datapath {
        PodDatapath::Passthrough => None,
        PodDatapath::Veth(veth) => Some(&veth.host_ifname),
        PodDatapath::PassthroughWithServices(services) => Some(&services.host_ifname),
        PodDatapath::Shared(shared) => Some(&shared.host_ifname),
    }
}

/// The veth's part of a plan; `None` where the NIC is moved into the pod.
pub(super) fn veth(plan: &PodPlan) -> Option<&VethPlan> {
    match &plan.datapath {
        PodDatapath::Veth(veth) => Some(veth),
        PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) | PodDatapath::Shared(_) => None,
    }
}

/// What a plan says of a pod that shares its NIC; `None` for any other.
pub(super) fn shared(plan: &PodPlan) -> Option<&SharedPlan> {
    match &plan.datapath {
        PodDatapath::Shared(shared) => Some(shared),
        PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) | PodDatapath::Veth(_) => None,
    }
}

/// The tables that the leases have, and the NICs that pods share.
pub(super) fn leased_tables(state: &State) -> impl Iterator<Item = u32> {
    let of_plan = |plan| veth(plan).map(|veth| veth.table).or(shared(plan).map(|shared| shared.table));
    let leased = state.leases.values().filter_map(move |lease| of_plan(&lease.plan));
    let shared = state.nics.values().filter_map(|nic| nic.role.shared_table());
    leased.chain(shared).map(NicTable::number)
}

/// The tables that are the pods', or a gateway's, made or not.
pub(super) fn spared_tables(config: &VethConfig, gateways: Option<&GatewayConfig>) -> BTreeSet<u32> {
    let of_gateways = gateways.into_iter().flat_map(|gateways| {
        let first = gateways.first_table;
        first..first.saturating_add(PoolConfig::NIC_LIMIT)
    });
    of_gateways.chain([config.pods.number()]).collect()
}

pub(super) fn free_table(first: NicTable, taken: &BTreeSet<u32>, state: &State) -> Option<NicTable> {
    let leased: BTreeSet<u32> = leased_tables(state).collect();
    let free = |number: &u32| !taken.contains(number) && !leased.contains(number);
    (first.number()..=NicTable::MAX).filter(free).find_map(|number| NicTable::new(number).ok())
}

/// What a plan says of the MTU, where the node's settings say this and the request may name one: exactly, and at most.
pub(super) fn mtu(config: PodMtu, asked: Option<u32>) -> (Option<u32>, Option<u32>) {
    match (asked, config) {
        (Some(mtu), _) | (None, PodMtu::Exactly(mtu)) => (Some(mtu), None),
        (None, PodMtu::AtMost(mtu)) => (None, Some(mtu)),
        (None, PodMtu::Nics) => (None, None),
    }
}

/// The name of the veth's end in the node: the pod's, so that a newer sandbox of the pod takes it over. Another interface
/// of the same sandbox has one of its own.
fn host_ifname(prefix: &VethPrefix, state: &State, record: &LeaseRecord) -> Result<IfName> {
    if let Some(pod) = &record.pod {
        let name = of_pod(prefix, pod)?;
        let has_it = |other: &LeaseRecord| host_end(&other.plan) == Some(&name);
        if !state.leases.values().any(|other| is_beside(other, record) && has_it(other)) {
            return Ok(name);
        }
    }
    hashed(prefix, record.mark.as_str())
}

fn of_pod(prefix: &VethPrefix, pod: &PodRef) -> Result<IfName> {
    hashed(prefix, &format!("{}.{}", pod.namespace, pod.name))
}

fn hashed(prefix: &VethPrefix, text: &str) -> Result<IfName> {
    let hash = data_encoding::HEXLOWER.encode(&Sha1::digest(text.as_bytes()));
    Ok(IfName::new(format!("{prefix}{}", hash.get(..HASHED).unwrap_or(&hash)))?)
}

/// Whether both are interfaces of one sandbox.
fn is_beside(other: &LeaseRecord, record: &LeaseRecord) -> bool {
    let container = |lease: &LeaseRecord| lease.key.as_ref().map(|key| key.container.clone());
    other.mark != record.mark && container(other).is_some() && container(other) == container(record)
}

/// Whether a newer sandbox of the same pod has taken the name of the lease's veth. What is left of such a pod waits for
/// its own DEL: to repair it would take the name back.
pub(super) fn is_superseded(state: &State, lease: &LeaseRecord) -> bool {
    let Some(name) = host_end(&lease.plan) else { return false };
    let age = |lease: &LeaseRecord| (lease.started, lease.since, lease.mark.clone());
    state.leases.values().any(|other| {
        other.mark != lease.mark
            && other.state != crate::ledger::LeaseState::Releasing
            && host_end(&other.plan) == Some(name)
            && age(other) > age(lease)
    })
}
