//! Pods that run get what all pods of the node come to have in common.

use std::sync::Arc;

use crate::attachment::AttachmentMark;
use crate::error::Result;
use crate::ledger::{LeaseRecord, LeaseState, NicState, State};
use crate::point::Point;
use crate::route::PodPlan;

use super::datapath::is_superseded;
use super::veth::VethCommon;
use super::{Inner, step};

/// Brings all of them to it, one after the other. What fails is found again by the next comparison, since the records say
/// what the pod is to have.
pub(super) async fn pods(inner: &Inner, common: VethCommon) {
    let stale: Vec<AttachmentMark> = inner.ledger.read(|state| {
        let stale = state.leases.values().filter(|lease| adapted(lease, common).is_some());
        stale.map(|lease| lease.mark.clone()).collect()
    });
    for mark in stale {
        if let Err(error) = pod(inner, &mark, common).await {
            tracing::warn!(%mark, error = %error.chain(), "a pod could not be brought to what is set for all; it is tried again");
            inner.failures.tell(Arc::new(error));
        }
    }
}

/// The plan that the lease is to have, where it has another one. One that is being prepared or released has it soon, or
/// needs it no more.
fn adapted(lease: &LeaseRecord, common: VethCommon) -> Option<PodPlan> {
    if lease.state == LeaseState::Releasing {
        return None;
    }
    let next = common.of_pod(&lease.plan)?;
    (next != lease.plan.datapath).then(|| PodPlan { datapath: next, ..lease.plan.clone() })
}

async fn pod(inner: &Inner, mark: &AttachmentMark, common: VethCommon) -> Result<()> {
    // An ADD that is under way is waited for.
    let _pass = inner.gates.enter(mark).await;
    let change = |state: &State| {
        let lease = state.leases.get(mark).filter(|lease| lease.state == LeaseState::Active);
        let Some((lease, plan)) = lease.and_then(|lease| Some((lease, adapted(lease, common)?))) else {
            return Ok((Vec::new(), None));
        };
        let ready = state.nics.get(&lease.lease.nic).is_none_or(|nic| nic.state == NicState::Ready);
        let there = ready && !is_superseded(state, lease);
        Ok((step::replan(lease, plan.clone()), there.then_some(plan)))
    };
    let Some(plan) = inner.ledger.transact(Point::AdaptPlan, change).await? else { return Ok(()) };
    inner.kernel(Point::AdaptPod, |kernel| kernel.setup_pod(&plan)).await.map(drop)
}
