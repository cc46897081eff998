//! The way in: attach, and wait for the link.

use crate::clock::BootTime;
use crate::cloud::Submitted;
use crate::error::{Effect, ErrorKind, QuotaScope, Result};
use crate::id::{MacAddr, NicId};
use crate::ledger::{AddressState, NicRecord, NicRole, NicState};
use crate::point::Point;

use super::{Change, Hold, Shared, examine};

/// Plugs NICs in, with one call.
pub(super) async fn attach(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let result = submit(shared, nics).await;
    let mut inflight = shared.inflight();
    for nic in nics {
        inflight.busy.remove(nic);
    }
    result
}

async fn submit(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let provider = &shared.parts.provider;
    let error = match provider.at(Point::AttachNics, |cloud| cloud.attach_nics(nics)).await {
        Ok(Submitted::Job(job)) => {
            let now = shared.now();
            let waits = |nic: &NicRecord| match nic.state {
                NicState::Attaching { failures, .. } => {
                    let state = NicState::Attaching { job: Some(job.clone()), failures };
                    Some(Change::put(nic.clone().in_state(state, now)))
                }
                _ => None,
            };
            return shared.change(Point::RecordAttachJob, nics, waits).await;
        }
        Ok(Submitted::Complete) => {
            let now = shared.now();
            shared.inflight().plugged.extend(nics.iter().map(|nic| (nic.clone(), now)));
            return Ok(());
        }
        Err(error) => error,
    };
    tracing::warn!(error = %error.chain(), count = nics.len(), "NICs could not be attached; they are looked at");
    shared.inflight().attach_trouble = Some((error.kind(), error.chain().to_string()));
    if error.kind() == ErrorKind::Quota(QuotaScope::Instance) {
        let mut inflight = shared.inflight();
        inflight.reason = Some((error.kind(), error.chain().to_string()));
        inflight.hold = Hold::Until(shared.now().after(shared.config.set_aside));
    }
    match (error.effect(), error.kind()) {
        (Effect::Unknown, _) | (Effect::None, ErrorKind::Conflict | ErrorKind::NotFound) => {
            examine::examine(shared, nics).await
        }
        _ => {
            let now = shared.now();
            let failed = |nic: &NicRecord| match nic.state {
                NicState::Attaching { failures, .. } => {
                    let state = NicState::Attaching { job: None, failures: failures + 1 };
                    Some(Change::put(nic.clone().in_state(state, now)))
                }
                _ => None,
            };
            shared.change(Point::RecordAttachFailure, nics, failed).await
        }
    }
}

/// The NICs whose link is to appear, and its address.
///
/// A NIC that is ready by now, or gone, is taken off those that are plugged in: what noted it may have come after its
/// link, and what awaited its link may have been stopped as soon as the record was changed.
pub(super) fn expected(shared: &Shared) -> Vec<(NicId, MacAddr)> {
    let plugged = &mut shared.inflight().plugged;
    shared.parts.ledger.read(|state| {
        let attaching = |nic: &NicId| {
            state.nics.get(nic).is_some_and(|record| matches!(record.state, NicState::Attaching { .. }))
        };
        plugged.retain(|nic, _| attaching(nic));
        let expected = state.nics.values().filter(|nic| match nic.state {
            NicState::Attaching { job: Some(_), .. } => true,
            NicState::Attaching { .. } => plugged.contains_key(&nic.id),
            _ => false,
        });
        expected.map(|nic| (nic.id.clone(), nic.mac)).collect()
    })
}

/// Waits for the link and makes the NIC ready. The link itself is the proof: its appearance is not awaited by asking
/// the cloud again and again.
pub(super) async fn await_link(shared: &Shared, nic: &NicId, mac: MacAddr) {
    let programmer = &shared.parts.programmer;
    let arrived = match programmer.at(Point::AwaitLink, |kernel| kernel.wait_for_nic(mac)).await {
        Ok(_) => make_ready(shared, nic).await,
        Err(error) => Err(error),
    };
    match arrived {
        Ok(()) => {
            tracing::debug!(%nic, %mac, "a NIC is ready");
            let mut inflight = shared.inflight();
            inflight.plugged.remove(nic);
            inflight.attach_trouble = None;
            inflight.went_well(std::slice::from_ref(nic));
        }
        Err(error) => {
            tracing::warn!(%nic, error = %error.chain(), "the link of a NIC could not be awaited; it is awaited again");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
    shared.tell();
}

async fn make_ready(shared: &Shared, nic: &NicId) -> Result<()> {
    let now = shared.now();
    let ready = shared.change(Point::RecordReady, std::slice::from_ref(nic), |record| {
        if !matches!(record.state, NicState::Attaching { .. }) {
            return None;
        }
        let mut record = record.clone().in_state(NicState::Ready, now);
        for address in &mut record.addresses {
            if address.state == AddressState::Claimed && record.role == NicRole::Pods {
                address.state = AddressState::Free { since: now };
            }
        }
        Some(Change::put(record))
    });
    ready.await
}

/// NICs that the cloud says are in, and whose link is overdue; and when the next one will be.
pub(super) fn overdue(shared: &Shared) -> (Vec<NicId>, Option<BootTime>) {
    let now = shared.now();
    let deadline = |since: &BootTime| since.after(shared.config.link_deadline);
    let inflight = shared.inflight();
    let late = inflight.plugged.iter().filter(|(_, since)| deadline(since) <= now);
    let next = inflight.plugged.values().map(deadline).filter(|at| *at > now).min();
    (late.map(|(nic, _)| nic.clone()).collect(), next)
}

/// Sends NICs away again whose link never came.
pub(super) async fn give_up(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let now = shared.now();
    for nic in nics {
        tracing::error!(%nic, "the cloud says that the NIC is attached, but no link with its address has appeared; \
            it is detached and deleted. Look at the node's kernel log for hot-plug errors");
    }
    let leased = shared.leased(nics);
    let away = |nic: &NicRecord| match nic.state {
        // Its pods get another one; then it goes, too.
        NicState::Attaching { .. } if leased.contains(&nic.id) && nic.role.is_shared() => {
            Some(Change::put(nic.clone().in_state(NicState::Quarantined, now)))
        }
        NicState::Attaching { .. } => {
            Some(Change::put(nic.clone().in_state(NicState::Detaching { job: None }, now)))
        }
        _ => None,
    };
    shared.change(Point::RecordGivenUp, nics, away).await?;
    let mut inflight = shared.inflight();
    for nic in nics {
        inflight.plugged.remove(nic);
    }
    Ok(())
}
