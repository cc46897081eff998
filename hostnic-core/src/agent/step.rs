//! The steps of a lease, as pure functions of the state: what to write, all or nothing.

use std::net::IpAddr;
use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{AddressState, LeaseRecord, LeaseState, NicRecord, NicState, State, Write};
use crate::route::{PodLink, PodPlan};

/// How long a DEL is remembered, so that an ADD that was started before it is refused though it arrives after it.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(600);

/// The lease is about to be given: it holds its address from here on.
pub(super) fn prepare(state: &State, record: LeaseRecord) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let Some(nic) = state.nics.get(&record.lease.nic) {
        let address = record.lease.address.addr();
        let has_it = |other: &LeaseRecord| other.mark != record.mark && other.lease.address.addr() == address;
        if nic.role.is_shared() && state.leases_on(&nic.id).any(has_it) {
            return Err(Error::new(ErrorKind::Conflict, "lease address", address)
                .detail("another attachment holds it, and yet it was given once more; try again"));
        }
        if nic.state != NicState::Ready {
            return Err(Error::new(ErrorKind::Transient, "lease address on NIC", &nic.id)
                .detail(format!("it is {} since a moment ago; try again", nic.state.word())));
        }
        let holder = nic.addresses.iter().find(|a| a.address == address).map(|a| &a.state);
        if let Some(AddressState::Leased { mark }) = holder
            && *mark != record.mark
        {
            return Err(Error::new(ErrorKind::Conflict, "lease address", address)
                .detail("another attachment holds it; try again"));
        }
        let leased = AddressState::Leased { mark: record.mark.clone() };
        // A NIC that pods share knows nothing of their addresses.
        writes.extend(holder.is_some().then(|| Write::PutNic(nic.clone().with_address(address, leased))));
    }
    writes.push(Write::PutLease(Box::new(record)));
    Ok(writes)
}

/// The runtime is about to be answered.
pub(super) fn activate(
    state: &State,
    mark: &AttachmentMark,
    link: PodLink,
    now: BootTime,
) -> Result<Vec<Write>> {
    let Some(record) = state.leases.get(mark) else {
        return Err(Error::new(ErrorKind::Internal, "activate lease", mark).detail("there is no such lease"));
    };
    let active = LeaseRecord { state: LeaseState::Active, link: Some(link), since: now, ..record.clone() };
    Ok(vec![Write::PutLease(Box::new(active))])
}

/// A DEL has begun. What is left of older DELs is forgotten on the way.
pub(super) fn begin_release(
    state: &State,
    mark: &AttachmentMark,
    started: BootTime,
    now: BootTime,
) -> Vec<Write> {
    let expired = state.tombstones.iter().filter(|(_, at)| now.since(**at) > TOMBSTONE_LIFE);
    let mut writes: Vec<Write> = expired.map(|(mark, _)| Write::DropTombstone(mark.clone())).collect();
    // DELs may arrive in another order than they were started in: the latest counts.
    let latest = state.tombstones.get(mark).map_or(started, |at| started.max(*at));
    writes.push(Write::PutTombstone(mark.clone(), latest));
    if let Some(record) = state.leases.get(mark) {
        let releasing = LeaseRecord { state: LeaseState::Releasing, since: now, ..record.clone() };
        writes.push(Write::PutLease(Box::new(releasing)));
    }
    writes
}

/// The kernel is to have something else of a pod that runs.
pub(super) fn replan(lease: &LeaseRecord, plan: PodPlan) -> Vec<Write> {
    vec![Write::PutLease(Box::new(LeaseRecord { plan, ..lease.clone() }))]
}

/// A lease that was rebuilt from the kernel, with what only its runtime knows.
pub(super) fn complete(state: &State, record: LeaseRecord) -> Vec<Write> {
    let same = state.leases.get(&record.mark).is_some_and(|now| now.state == LeaseState::Active);
    if same { vec![Write::PutLease(Box::new(record))] } else { Vec::new() }
}

/// The NIC without its holder. One that is for that attachment alone goes at once when it was in use, so that its address
/// can be had elsewhere; the attachment's next try may have it otherwise.
fn given_back(nic: &NicRecord, address: IpAddr, used: bool, now: BootTime) -> NicRecord {
    if nic.role.pod().is_none() {
        let next =
            if used { AddressState::Cooling { since: now } } else { AddressState::Free { since: now } };
        return nic.clone().with_address(address, next);
    }
    let claimed = nic.clone().with_address(address, AddressState::Claimed);
    match &nic.state {
        NicState::Lost => claimed,
        _ if used => claimed.in_state(NicState::Detaching { job: None }, now),
        NicState::Ready => claimed.in_state(NicState::Ready, now),
        _ => claimed,
    }
}

/// The lease is over. An address that anybody may have seen in use rests before the next pod has it.
pub(super) fn end(state: &State, mark: &AttachmentMark, used: bool, now: BootTime) -> Vec<Write> {
    let Some(record) = state.leases.get(mark) else { return Vec::new() };
    let mut writes = vec![Write::DropLease(mark.clone())];
    let address = record.lease.address.addr();
    let holds = |nic: &&NicRecord| {
        let held = AddressState::Leased { mark: mark.clone() };
        nic.addresses.iter().any(|a| a.address == address && a.state == held)
    };
    if let Some(nic) = state.nics.get(&record.lease.nic).filter(holds) {
        writes.push(Write::PutNic(given_back(nic, address, used, now)));
    }
    writes
}
