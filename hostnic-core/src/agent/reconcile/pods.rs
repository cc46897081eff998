//! Pods that somebody else has changed.

use std::sync::Arc;

use crate::attachment::AttachmentMark;
use crate::error::Result;
use crate::ledger::{LeaseRecord, LeaseState, NicState};
use crate::point::Point;

use super::super::Inner;
use super::super::counts::Repair;
use super::super::datapath::is_superseded;

/// Every active pod is compared with its plan, and set up again where it differs.
pub(super) async fn repair(inner: &Inner) {
    let marks: Vec<AttachmentMark> = inner.ledger.read(|state| {
        let active = state.leases.values().filter(|l| l.state == LeaseState::Active);
        // A NIC on its way back in has no link to set up yet.
        let there =
            |l: &&LeaseRecord| state.nics.get(&l.lease.nic).is_none_or(|nic| nic.state == NicState::Ready);
        active.filter(there).filter(|l| !is_superseded(state, l)).map(|l| l.mark.clone()).collect()
    });
    for mark in marks {
        if inner.gates.is_open(&mark)
            && let Err(error) = repair_pod(inner, &mark).await
        {
            tracing::debug!(%mark, error = %error.chain(), "a pod could not be compared with its plan");
        }
    }
}

async fn repair_pod(inner: &Inner, mark: &AttachmentMark) -> Result<()> {
    let _pass = inner.gates.enter(mark).await;
    let record = inner.ledger.read(|state| state.leases.get(mark).cloned());
    let Some(record) = record.filter(|record| record.state == LeaseState::Active) else { return Ok(()) };
    let drifts = inner.kernel(Point::ComparePod, |kernel| kernel.check_pod(&record.plan)).await?;
    if inner.ledger.read(|state| is_superseded(state, &record)) {
        return Ok(());
    }
    if let Some(drift) = drifts.first() {
        tracing::warn!(%mark, %drift, count = drifts.len(), "a pod's network was changed by somebody else; it is set up again");
        let done = inner.kernel(Point::RepairPod, |kernel| kernel.setup_pod(&record.plan)).await;
        inner.tally.repaired(Repair::SetUpAgain, done.is_ok());
        if let Err(error) = done {
            tracing::warn!(%mark, error = %error.chain(), "a pod's network could not be set up again; it is tried again");
            inner.failures.tell(Arc::new(error));
        }
    }
    Ok(())
}
