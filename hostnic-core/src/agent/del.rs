//! DEL: success whatever is gone already, and everything freed in the end.
//!
//! Moving a NIC out of its pod takes the kernel longer than all else together, and the runtime has no use for it. So a DEL
//! is answered once it is durable and its pod is silent; [`Ending`] does the rest.

use std::sync::Arc;

use crate::attachment::AttachmentMark;
use crate::error::Result;
use crate::ledger::{LeaseRecord, LeaseState};
use crate::point::Point;

use super::ending::Ending;
use super::gate::Pass;
use super::owned::Answer;
use super::request::DelRequest;
use super::{Inner, step, undo};

/// Serves the request. Not called off by the caller's hanging up: what was begun is finished.
pub(super) async fn del(inner: Arc<Inner>, request: DelRequest, answer: Answer<()>) {
    let (answered, ending) = match begin(&inner, &request).await {
        Ok(ending) => (Ok(()), ending),
        Err(error) => (Err(error), None),
    };
    drop(answer.send(answered));
    if let Some(ending) = ending {
        ending.run().await;
    }
}

/// All that comes before the answer, and what is left to do after it; `None` for nothing.
pub(super) async fn begin<'a>(inner: &'a Inner, request: &DelRequest) -> Result<Option<Ending<'a>>> {
    let mark = request.key.mark();
    let pass = inner.gates.enter_del(&mark, request.started).await;
    let held = inner.ledger.read(|state| state.leases.get(&mark).cloned());
    if held.as_ref().is_some_and(|record| record.started > request.started) {
        // The runtime has begun anew since: this DEL is about what was there before.
        return Ok(None);
    }
    let now = inner.now();
    let release = |state: &_| Ok((step::begin_release(state, &mark, request.started, now), ()));
    inner.ledger.transact(Point::BeginRelease, release).await?;
    match held {
        Some(record) => end(inner, record, pass).await,
        None => forgotten(inner, request, &mark).await.map(|()| None),
    }
}

async fn end<'a>(inner: &'a Inner, record: LeaseRecord, pass: Pass<'a>) -> Result<Option<Ending<'a>>> {
    if let Some(pod) = silence(inner, &record).await {
        return Ok(Some(Ending::new(inner, record, pod, pass)));
    }
    undo::undo(inner, &record).await?;
    inner.pool.look();
    Ok(None)
}

/// Silences a pod that runs. What an earlier operation left half-way is undone as a whole before the answer: an error that
/// repeats is then told to the runtime, which asks again.
async fn silence(inner: &Inner, record: &LeaseRecord) -> Option<Box<dyn crate::route::SilencedPod>> {
    if record.state != LeaseState::Active {
        return None;
    }
    let silenced = inner.kernel(Point::SilencePod, |kernel| kernel.silence_pod(&record.plan)).await;
    silenced.unwrap_or_else(|error| {
        tracing::warn!(mark = %record.mark, error = %error.chain(), "a pod could not be silenced; its DEL is answered when its NIC is back");
        None
    })
}

/// No record: the link may still be there, when the store was lost.
async fn forgotten(inner: &Inner, request: &DelRequest, mark: &AttachmentMark) -> Result<()> {
    inner.ipam.release(mark, false).await?;
    let Some(netns) = &request.netns else {
        release_shared(inner, mark);
        return Ok(());
    };
    let freed = inner.kernel(Point::TearDownMarked, |kernel| kernel.teardown_marked(mark, netns)).await?;
    if let Some(mac) = freed {
        tracing::info!(attachment = %request.key, %mac, "a DEL freed a NIC that no record named; it is looked at");
        inner.nudge();
    }
    release_shared(inner, mark);
    Ok(())
}

/// What the pod shared its NIC with, if it did, is known by its address alone: whoever gave that takes it back.
fn release_shared(inner: &Inner, mark: &AttachmentMark) {
    if inner.shared.has_source() {
        inner.shared.releases.order(mark);
    }
}
