//! The way out: detach, and delete.

use std::time::Duration;

use crate::cloud::Submitted;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::id::{MacAddr, NicId};
use crate::ledger::{AddressState, NicRecord, NicState};
use crate::point::Point;

use super::{Change, Shared, examine, out};

fn no_longer_busy(shared: &Shared, nics: &[NicId]) {
    let mut inflight = shared.inflight();
    for nic in nics {
        inflight.busy.remove(nic);
    }
}

/// Unplugs NICs, with one call.
pub(super) async fn detach(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let result = begin_detach(shared, nics).await;
    no_longer_busy(shared, nics);
    result
}

async fn begin_detach(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let now = shared.now();
    let mut leaving = Vec::new();
    // What is busy gets no lease: this does not change any more.
    let leased = shared.leased(nics);
    let leaves = |nic: &NicRecord| {
        match nic.state {
            _ if leased.contains(&nic.id) => return None,
            NicState::Quarantined if nic.role.is_shared() => {}
            // Nobody can have got an address since the plan, as no address of a busy NIC is given.
            NicState::Ready if nic.is_idle() => {}
            NicState::Attaching { .. } if !nic.has_holder() => {}
            NicState::Detaching { .. } => {
                leaving.push(nic.id.clone());
                return None;
            }
            _ => return None,
        }
        leaving.push(nic.id.clone());
        let mut record = nic.clone().in_state(NicState::Detaching { job: None }, now);
        for address in &mut record.addresses {
            address.state = AddressState::Claimed;
        }
        Some(Change::put(record))
    };
    shared.change(Point::BeginDetach, nics, leaves).await?;
    if leaving.is_empty() {
        return Ok(());
    }
    unshare(shared, &leaving).await;
    let provider = &shared.parts.provider;
    match provider.at(Point::DetachNics, |cloud| cloud.detach_nics(&leaving)).await {
        Ok(Submitted::Job(job)) => {
            shared.inflight().went_well(&leaving);
            let now = shared.now();
            let waits = |nic: &NicRecord| {
                let state = NicState::Detaching { job: Some(job.clone()) };
                Some(Change::put(nic.clone().in_state(state, now)))
            };
            shared.change(Point::RecordDetachJob, &leaving, waits).await
        }
        Ok(Submitted::Complete) => {
            let now = shared.now();
            let gone = |nic: &NicRecord| Some(out(nic, now));
            shared.change(Point::RecordDetachedAlready, &leaving, gone).await
        }
        Err(error) => refused(shared, &leaving, &error).await,
    }
}

/// What the node has for NICs that pods shared goes before their links do: the kernel would keep the rules.
async fn unshare(shared: &Shared, nics: &[NicId]) {
    let macs: Vec<MacAddr> = shared.parts.ledger.read(|state| {
        let there = nics.iter().filter_map(|id| state.nics.get(id));
        there.filter(|nic| nic.role.is_shared()).map(|nic| nic.mac).collect()
    });
    for mac in macs {
        let programmer = &shared.parts.programmer;
        let down = programmer.at(Point::TearDownSharedNic, |kernel| kernel.teardown_shared_nic(mac));
        match tokio::time::timeout(KERNEL_DEADLINE, down).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(nic = %mac, error = %error.chain(), "what the node has for a shared NIC could not be taken down; the next set-up of the node does that");
            }
            Err(_) => tracing::warn!(nic = %mac, "the kernel took too long to take a shared NIC down"),
        }
    }
}

/// How long the kernel may take to make a shared NIC one like any other.
const KERNEL_DEADLINE: Duration = Duration::from_secs(10);

/// Deletes NICs, with one call.
pub(super) async fn delete(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let provider = &shared.parts.provider;
    let result = match provider.at(Point::DeleteNics, |cloud| cloud.delete_nics(nics)).await {
        Ok(()) => {
            let mut freed = Vec::new();
            let dropped = shared.change(Point::DropNics, nics, |nic| {
                (nic.state == NicState::Deleting).then(|| {
                    freed.push(nic.subnet.id.clone());
                    Change::Drop
                })
            });
            let dropped = dropped.await;
            let mut inflight = shared.inflight();
            inflight.went_well(nics);
            for subnet in freed {
                inflight.room_came(&subnet, 1);
            }
            dropped
        }
        Err(error) => refused(shared, nics, &error).await,
    };
    no_longer_busy(shared, nics);
    result
}

/// The pause after a refusal that passes by itself, as while the job that attached the NIC is still ending.
const TRANSITION: Duration = Duration::from_millis(500);

/// What the cloud refused, or may have done: look at the NICs, or leave them alone for a while.
async fn refused(shared: &Shared, nics: &[NicId], error: &Error) -> Result<()> {
    let now = shared.now();
    let young = shared.parts.ledger.read(|state| {
        let age = |id: &NicId| state.nics.get(id).map(|nic| now.since(nic.since));
        nics.iter().filter_map(age).all(|age| age < shared.config.visibility)
    });
    let pause = match (error.effect(), error.kind()) {
        // A NIC in transition is described as if nothing had begun, so looking at it too early would mislead.
        (Effect::None, ErrorKind::Conflict) if young => TRANSITION,
        (Effect::Unknown, _) | (Effect::None, ErrorKind::Conflict | ErrorKind::NotFound) => {
            tracing::warn!(error = %error.chain(), count = nics.len(), "NICs could not be given back; they are looked at");
            return examine::examine(shared, nics).await;
        }
        _ => {
            tracing::warn!(error = %error.chain(), count = nics.len(), "NICs could not be given back; it is tried again");
            shared.config.visibility
        }
    };
    shared.inflight().set_back(nics, now, pause);
    Ok(())
}
