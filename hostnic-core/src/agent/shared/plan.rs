//! What NICs that pods share are to be, as the records are. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::cloud::Carrier;
use crate::error::Result;
use crate::id::NicId;
use crate::ipam::Lease;
use crate::ledger::{LeaseRecord, LeaseState, NicRecord, NicRole, NicState, State, Write};
use crate::route::{NicTable, PodDatapath, PodPlan, SharedNicPlan, SharedPlan, SharedRoutes};

use super::super::datapath;

/// Whether the kernel is to have the NIC for pods: it is in, and a pod has been given it.
pub(super) fn is_in_use(nic: &NicRecord) -> bool {
    nic.state == NicState::Ready && nic.role.shared_table().is_some()
}

/// The plans of all NICs that the kernel is to have for pods. `asks` tells in whose name each asks by ARP at this moment.
pub(super) fn nic_plans(
    state: &State,
    asks: impl Fn(&NicId) -> Option<IpAddr>,
) -> BTreeMap<NicId, SharedNicPlan> {
    let in_use = state.nics.values().filter(|nic| is_in_use(nic));
    in_use.filter_map(|nic| Some((nic.id.clone(), nic_plan(state, nic, asks(&nic.id))?))).collect()
}

fn nic_plan(state: &State, nic: &NicRecord, asks: Option<IpAddr>) -> Option<SharedNicPlan> {
    Some(SharedNicPlan {
        mac: nic.mac,
        subnet: nic.subnet.prefix,
        sender: sender(state, nic, asks),
        ifname: SharedNicPlan::link_of(&nic.subnet.id).ok()?,
        table: nic.role.shared_table()?,
        routes: routes(nic),
    })
}

/// The routes of the NIC's table. A VLAN's leads to networks of which the cloud tells nothing; its operator knows the way there.
fn routes(nic: &NicRecord) -> SharedRoutes {
    match nic.subnet.carrier {
        Carrier::Vxlan => SharedRoutes::Ours { gateway: nic.subnet.gateway, others: Vec::new() },
        Carrier::Vlan => SharedRoutes::Vlan,
    }
}

/// The pod in whose name the NIC asks by ARP: the one that it asks for now, as long as that stays, or the one that has run
/// for longest. A pod that is being set up will do where none runs: its address is nobody else's by then.
fn sender(state: &State, nic: &NicRecord, asks: Option<IpAddr>) -> Option<IpAddr> {
    let address = |lease: &LeaseRecord| lease.lease.address.addr();
    let stays = |lease: &&LeaseRecord| {
        lease.state != LeaseState::Releasing && nic.subnet.prefix.contains(&lease.lease.address.addr())
    };
    let mut stay: Vec<&LeaseRecord> = state.leases_on(&nic.id).filter(stays).collect();
    if let Some(asks) = asks.filter(|asks| stay.iter().any(|lease| address(lease) == *asks)) {
        return Some(asks);
    }
    stay.sort_by_key(|lease| (lease.state != LeaseState::Active, lease.since, &lease.mark));
    stay.first().map(|lease| address(lease))
}

/// Gives leases whose NIC is lost the one that took its place, where there is one by now. `table` chooses one for a NIC that
/// has none.
pub(super) fn moved(state: &State, table: impl Fn(&State) -> Option<NicTable>) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut chosen: BTreeMap<NicId, NicTable> = BTreeMap::new();
    for lease in state.leases.values() {
        let Some(shared) = datapath::shared(&lease.plan) else { continue };
        let serves = |nic: &NicRecord| {
            nic.role.is_shared() && matches!(nic.state, NicState::Attaching { .. } | NicState::Ready)
        };
        if state.nics.get(&lease.lease.nic).is_some_and(serves) {
            continue;
        }
        let takes = |nic: &&NicRecord| {
            nic.role.is_shared() && nic.state == NicState::Ready && nic.subnet.id == lease.lease.subnet
        };
        let Some(nic) = state.nics.values().find(takes) else { continue };
        let known = nic.role.shared_table().or_else(|| chosen.get(&nic.id).copied());
        // One subnet at a time chooses a table: the next transaction sees it.
        let Some(table) = known.or_else(|| if chosen.is_empty() { table(state) } else { None }) else {
            continue;
        };
        if nic.role.shared_table().is_none() && chosen.insert(nic.id.clone(), table).is_none() {
            writes.push(with_table(nic, table));
        }
        writes.push(Write::PutLease(Box::new(on_nic(lease, shared, nic, table))));
    }
    writes
}

pub(super) fn with_table(nic: &NicRecord, table: NicTable) -> Write {
    Write::PutNic(NicRecord { role: NicRole::Shared(Some(table)), ..nic.clone() })
}

fn on_nic(lease: &LeaseRecord, shared: &SharedPlan, nic: &NicRecord, table: NicTable) -> LeaseRecord {
    let datapath = PodDatapath::Shared(SharedPlan { table, ..shared.clone() });
    LeaseRecord {
        lease: Lease { nic: nic.id.clone(), mac: nic.mac, ..lease.lease.clone() },
        plan: PodPlan { mac: nic.mac, datapath, ..lease.plan.clone() },
        ..lease.clone()
    }
}

/// An ADD in vain: its address is to be given back, which may take long.
pub(super) fn undone(state: &State, mark: &AttachmentMark, now: BootTime) -> Vec<Write> {
    let lease = state.leases.get(mark).filter(|lease| lease.state == LeaseState::Preparing);
    let releasing =
        |lease: &LeaseRecord| LeaseRecord { state: LeaseState::Releasing, since: now, ..lease.clone() };
    lease.map(|lease| Write::PutLease(Box::new(releasing(lease)))).into_iter().collect()
}

/// The address was given back. A NIC that has no pod any more is without pods from now on.
pub(super) fn ended(state: &State, mark: &AttachmentMark, now: BootTime) -> Vec<Write> {
    let Some(lease) = state.leases.get(mark).filter(|lease| lease.state == LeaseState::Releasing) else {
        return Vec::new();
    };
    let mut writes = vec![Write::DropLease(mark.clone())];
    let last = state.leases_on(&lease.lease.nic).all(|other| other.mark == *mark);
    let nic = state.nics.get(&lease.lease.nic).filter(|nic| last && is_in_use(nic));
    writes.extend(nic.map(|nic| Write::PutNic(nic.clone().in_state(NicState::Ready, now))));
    writes
}

/// Where a lease is to be recorded: the NIC that it names has a table, or is given this one.
///
/// # Errors
/// Those of `table`, where one has to be chosen.
pub(in crate::agent) fn table_of(
    nic: &NicRecord,
    table: impl FnOnce() -> Result<NicTable>,
) -> Result<(NicTable, Option<Write>)> {
    match nic.role.shared_table() {
        Some(table) => Ok((table, None)),
        None => {
            let table = table()?;
            Ok((table, Some(with_table(nic, table))))
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
