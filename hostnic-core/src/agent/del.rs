//! DEL: success whatever is gone already, and everything freed in the end.

use std::sync::Arc;

use crate::attachment::AttachmentMark;
use crate::error::Result;
use crate::ledger::LeaseRecord;

use super::request::DelRequest;
use super::{Inner, step, undo};

/// Serves the request. Not called off by the caller's hanging up: what was begun is finished.
pub(super) async fn del(inner: Arc<Inner>, request: DelRequest) -> Result<()> {
    let mark = request.key.mark();
    let _pass = inner.gates.enter_del(&mark, request.started).await;
    let held = inner.ledger.read(|state| state.leases.get(&mark).cloned());
    if held.as_ref().is_some_and(|record| record.started > request.started) {
        // The runtime has begun anew since: this DEL is about what was there before.
        return Ok(());
    }
    let now = inner.now();
    inner.ledger.transact(|state| Ok((step::begin_release(state, &mark, request.started, now), ()))).await?;
    match held {
        Some(record) => release(&inner, &record).await,
        None => forgotten(&inner, &request, &mark).await,
    }
}

async fn release(inner: &Inner, record: &LeaseRecord) -> Result<()> {
    undo::undo(inner, record).await?;
    inner.pool.look();
    Ok(())
}

/// No record: the link may still be there, when the store was lost.
async fn forgotten(inner: &Inner, request: &DelRequest, mark: &AttachmentMark) -> Result<()> {
    inner.ipam.release(mark, false).await?;
    let Some(netns) = &request.netns else { return Ok(()) };
    let freed = inner.kernel(inner.programmer.teardown_marked(mark, netns)).await?;
    if let Some(mac) = freed {
        tracing::info!(attachment = %request.key, %mac, "a DEL freed a NIC that no record named; it is looked at");
        inner.nudge();
    }
    Ok(())
}
