//! What is done about a finding.

use std::sync::Arc;

use crate::attachment::AttachmentMark;
use crate::cloud::NicFilter;
use crate::error::{ErrorKind, Result};
use crate::id::NicId;
use crate::ledger::{AddressState, LeaseRecord, LeaseState, NicRecord, NicState, State, Write};
use crate::point::Point;

use super::super::compare::Finding;
use super::super::counts::Repair;
use super::super::datapath::is_superseded;
use super::super::{Inner, shared, step, undo};

/// Mends what can be mended; the rest is found again by the next comparison.
pub(super) async fn all(inner: &Arc<Inner>, findings: &[Finding]) {
    for finding in findings {
        tracing::info!(?finding, "records, cloud and kernel differ");
        let mended = mend(inner, finding).await;
        if let Some(repair) = Repair::of(finding) {
            inner.tally.repaired(repair, mended.is_ok());
        }
        if let Err(error) = mended {
            tracing::warn!(?finding, error = %error.chain(), "a difference could not be mended; it is tried again");
            inner.failures.tell(Arc::new(error));
        }
    }
}

async fn mend(inner: &Arc<Inner>, finding: &Finding) -> Result<()> {
    match finding {
        Finding::Forget(nic) => forget(inner, nic).await,
        Finding::Adopt(record) | Finding::Quarantine(record) => put_idle(inner, record).await,
        Finding::Expel(record) => put_new(inner, record).await,
        Finding::Rebuild(nic, lease) => {
            rebuild(inner, nic, lease).await?;
            // Nothing to finish for a pod that runs.
            finish(inner, &lease.mark).await
        }
        Finding::RebuildShared(lease) => {
            shared::rebuild(inner, lease).await?;
            finish(inner, &lease.mark).await
        }
        Finding::Unplugged(nic) => unplugged(inner, nic).await,
        Finding::Lose(nic) => {
            tracing::error!(%nic, "a NIC of ours is in another instance; it is never touched again");
            to_lost(inner, nic).await
        }
        Finding::Unfinished(mark) => finish(inner, mark).await,
        Finding::CameBack(mark) => came_back(inner, mark).await,
        Finding::BlindToSandboxes(count) => {
            tracing::error!(
                count,
                "many pods' namespaces look gone at once, so none is released; \
                see that the daemon sees the host's /run/netns (HostToContainer propagation)"
            );
            Ok(())
        }
    }
}

async fn put_new(inner: &Inner, record: &NicRecord) -> Result<()> {
    inner
        .ledger
        .transact(Point::RecordStray, |state| {
            let new = !state.nics.contains_key(&record.id);
            Ok((if new { vec![Write::PutNic(record.clone())] } else { Vec::new() }, ()))
        })
        .await
}

/// Records what became of a NIC of ours that nobody has.
async fn put_idle(inner: &Inner, record: &NicRecord) -> Result<()> {
    inner
        .ledger
        .transact(Point::RecordIdle, |state| {
            let idle = state.nics.get(&record.id).is_none_or(|nic| is_idle(state, nic));
            Ok((if idle { vec![Write::PutNic(record.clone())] } else { Vec::new() }, ()))
        })
        .await
}

/// Whether a NIC is recorded as nobody's, and as neither on its way in nor out.
fn is_idle(state: &State, nic: &NicRecord) -> bool {
    matches!(nic.state, NicState::Ready | NicState::Quarantined) && !state.is_leased(nic)
}

/// The lists said twice that it is gone; the last word has a question for just this NIC.
async fn forget(inner: &Inner, nic: &NicId) -> Result<()> {
    let exact = NicFilter { ids: Some(vec![nic.clone()]), ..NicFilter::default() };
    let listed = inner.provider.at(Point::ConfirmMissing, |cloud| cloud.list_nics(&exact)).await?;
    if !listed.is_empty() {
        tracing::error!(%nic, "a NIC of ours is neither attached here nor available; it is never touched again");
        return to_lost(inner, nic).await;
    }
    if inner.ledger.read(|state| state.nics.get(nic).is_some_and(|record| state.is_leased(record))) {
        tracing::error!(%nic, "the NIC that pods share is gone from the cloud; they get another one");
        return to_lost(inner, nic).await;
    }
    inner
        .ledger
        .transact(Point::ForgetMissing, |state| {
            let idle = state.nics.get(nic).is_some_and(|record| !state.is_leased(record));
            Ok((if idle { vec![Write::DropNic(nic.clone())] } else { Vec::new() }, ()))
        })
        .await
}

async fn to_lost(inner: &Inner, nic: &NicId) -> Result<()> {
    let now = inner.now();
    inner
        .ledger
        .transact(Point::RecordLost, |state| {
            let lost = state.nics.get(nic).map(|r| Write::PutNic(r.clone().in_state(NicState::Lost, now)));
            Ok((lost.into_iter().collect(), ()))
        })
        .await
}

/// A pod's NIC and lease, as the kernel has them. A pod whose DEL was answered since then, or when nobody knew of it, is
/// to be rid of it.
async fn rebuild(inner: &Inner, nic: &NicRecord, lease: &LeaseRecord) -> Result<()> {
    let _pass = inner.gates.enter(&lease.mark).await;
    inner
        .ledger
        .transact(Point::RebuildLease, |state| {
            // A NIC that was given back since it was seen is no longer in the pod.
            let still = |known: &NicRecord| is_idle(state, known) && !known.freed_since(nic.since);
            if state.leases.contains_key(&lease.mark) || !state.nics.get(&nic.id).is_none_or(still) {
                return Ok((Vec::new(), ()));
            }
            let mut lease = lease.clone();
            if state.tombstones.contains_key(&lease.mark) {
                lease.state = LeaseState::Releasing;
            }
            Ok((vec![Write::PutNic(nic.clone()), Write::PutLease(Box::new(lease))], ()))
        })
        .await
}

/// A NIC that a pod has is plugged in again; its addresses stay leased. An idle one goes.
async fn unplugged(inner: &Inner, nic: &NicId) -> Result<()> {
    let now = inner.now();
    inner
        .ledger
        .transact(Point::RecordUnplugged, |state| {
            // The pool may have begun to move it since.
            let still = |record: &&NicRecord| matches!(record.state, NicState::Ready | NicState::Quarantined);
            let still = state.nics.get(nic).filter(still);
            let Some(record) = still else { return Ok((Vec::new(), ())) };
            let mut next = record.clone();
            if record.state == NicState::Quarantined && state.is_leased(record) {
                // Its pods get another one first.
                return Ok((Vec::new(), ()));
            }
            if record.role.is_gateway() {
                tracing::error!(%nic, "a gateway of the node was detached behind our back; it is attached again");
                next = next.in_state(NicState::Attaching { job: None, failures: 0 }, now);
            } else if state.is_leased(record) {
                tracing::error!(%nic, "a pod's NIC was detached behind our back; it is attached again");
                next = next.in_state(NicState::Attaching { job: None, failures: 0 }, now);
            } else {
                next = next.in_state(NicState::Detaching { job: None }, now);
                next.addresses.iter_mut().for_each(|address| address.state = AddressState::Claimed);
            }
            Ok((vec![Write::PutNic(next)], ()))
        })
        .await
}

/// Finishes what an operation left.
async fn finish(inner: &Inner, mark: &AttachmentMark) -> Result<()> {
    let _pass = inner.gates.enter(mark).await;
    match inner.ledger.read(|state| state.leases.get(mark).cloned()) {
        Some(record) if record.state != LeaseState::Active => undo::undo(inner, &record).await,
        _ => Ok(()),
    }
}

/// The interface of a pod is not in its namespace: put it back when the sandbox lives, release it when not.
async fn came_back(inner: &Inner, mark: &AttachmentMark) -> Result<()> {
    let _pass = inner.gates.enter(mark).await;
    let Some(record) = inner.ledger.read(|state| state.leases.get(mark).cloned()) else { return Ok(()) };
    if record.state != LeaseState::Active {
        return Ok(());
    }
    let superseded = inner.ledger.read(|state| is_superseded(state, &record));
    let lives = match inner.kernel(Point::FindSandboxOfNic, |kernel| kernel.sandbox(&record.plan.netns)).await
    {
        Ok(sandbox) => sandbox == record.plan.sandbox,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => false,
        Err(error) => return Err(error),
    };
    if lives && superseded {
        return Ok(());
    }
    if lives {
        tracing::warn!(%mark, "a pod's interface was taken out of its namespace; it is put back");
        inner.kernel(Point::PutNicBack, |kernel| kernel.setup_pod(&record.plan)).await?;
        return Ok(());
    }
    tracing::info!(%mark, "a pod's namespace is gone; its address is released");
    let (now, started) = (inner.now(), record.started);
    let release = |state: &_| Ok((step::begin_release(state, mark, started, now), ()));
    inner.ledger.transact(Point::BeginReleaseOfGone, release).await?;
    undo::undo(inner, &record).await
}
