//! Pods that share a NIC and that a comparison has found: they are recorded, and whoever gives addresses is told.

use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, Result};
use crate::ipam::ClaimedAddress;
use crate::ledger::{LeaseRecord, LeaseState, NicRecord, Write};
use crate::point::Point;
use crate::route::{KernelView, PodDatapath};

use super::super::{Inner, found_shared};
use super::{SharedSide, plan};

/// What a pod holds that shares a NIC. Whoever gives addresses hears of it first: by then nobody else can have the address.
pub(in crate::agent) async fn rebuild(inner: &Inner, lease: &LeaseRecord) -> Result<()> {
    let _pass = inner.gates.enter(&lease.mark).await;
    let own = &lease.lease;
    let claimed = ClaimedAddress { address: own.address, subnet: own.subnet.clone(), gateway: own.gateway };
    inner.shared.restore_found(inner, &[(lease.mark.clone(), None, claimed)]).await?;
    inner
        .ledger
        .transact(Point::RebuildShared, |state| {
            let ended = inner.shared.releases.since(lease.since).contains(&lease.mark);
            let nic = state.nics.get(&own.nic).filter(|nic| nic.role.is_shared());
            let Some(nic) = nic.filter(|_| !ended && !state.leases.contains_key(&lease.mark)) else {
                return Ok((Vec::new(), ()));
            };
            let mut lease = lease.clone();
            let mut writes = Vec::new();
            if let PodDatapath::Shared(plan) = &mut lease.plan.datapath {
                let (table, chosen) = plan::table_of(nic, || {
                    SharedSide::free_table(inner, state).ok_or_else(|| no_table(nic))
                })?;
                plan.table = table;
                writes.extend(chosen);
            }
            if state.tombstones.contains_key(&lease.mark) {
                lease.state = LeaseState::Releasing;
            }
            writes.push(Write::PutLease(Box::new(lease)));
            Ok((writes, ()))
        })
        .await
}

fn no_table(nic: &NicRecord) -> Error {
    Error::new(ErrorKind::Exhausted, "find a routing table for", &nic.id).detail("all are taken")
}

/// Tells whoever gives addresses what pods hold that are not in sight, and have no lease for that. Whether nothing is held of
/// which nobody was told.
pub(in crate::agent) async fn tell_held(inner: &Inner, kernel: &KernelView, looked: BootTime) -> bool {
    if !inner.shared.has_source() {
        return true;
    }
    let ended = inner.shared.releases.since(looked);
    let held = inner.ledger.read(|state| found_shared::held(kernel, state));
    let known = held.iter().flatten().filter(|(mark, _)| !ended.contains(mark));
    let known: Vec<_> = known.map(|(mark, claimed)| (mark.clone(), None, claimed.clone())).collect();
    let all = held.iter().all(Option::is_some);
    if !all {
        tracing::warn!(
            "the node has pods that share a NIC, and which subnet they are in cannot be told; addresses that nobody holds are not given back while that is so"
        );
    }
    match inner.shared.tell_unseen(inner, &known).await {
        Ok(()) => all,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "what pods hold that are not in sight could not be told; it is tried again");
            false
        }
    }
}
