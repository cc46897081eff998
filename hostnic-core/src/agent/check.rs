//! CHECK and GC: what is asked about attachments, not for them.

use std::sync::Arc;

use futures::future::join_all;

use crate::attachment::AttachmentKey;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{LeaseRecord, LeaseState};
use crate::point::Point;

use super::datapath::is_superseded;
use super::ending::Ending;
use super::owned::Answer;
use super::request::{CheckRequest, DelRequest, GcReport, GcRequest};
use super::{Inner, del};

/// Compares an attachment with what it was given.
pub(super) async fn check(inner: Arc<Inner>, request: CheckRequest) -> Result<LeaseRecord> {
    let mark = request.key.mark();
    let _pass = inner.gates.enter(&mark).await;
    let wrong = |why: String| Error::new(ErrorKind::Conflict, "check", &request.key).detail(why);
    let record = inner.ledger.read(|state| state.leases.get(&mark).cloned());
    let known = record.is_some() || *inner.recovered.borrow();
    let Some(record) = record.filter(|record| record.state == LeaseState::Active) else {
        if !known {
            // Its record may have been lost, and the pod is not to be deleted for that.
            return Err(Error::new(ErrorKind::Transient, "check", &request.key)
                .detail("the agent is still looking for the pods of this node; try again"));
        }
        return Err(Error::new(ErrorKind::NotFound, "check", &request.key)
            .detail("it holds no address here; delete the pod and make it again"));
    };
    if inner.ledger.read(|state| is_superseded(state, &record)) {
        return Err(wrong("a newer sandbox of the same pod has taken its place; DEL it".to_owned()));
    }
    let sandbox = inner.kernel(Point::CheckSandbox, |kernel| kernel.sandbox(&request.netns)).await?;
    if sandbox != record.plan.sandbox {
        return Err(wrong(format!("it was attached in another network namespace than {}", request.netns)));
    }
    let drifts = inner.kernel(Point::CheckPod, |kernel| kernel.check_pod(&record.plan)).await?;
    if drifts.is_empty() {
        return Ok(record);
    }
    let list: Vec<String> = drifts.iter().map(ToString::to_string).collect();
    Err(wrong(format!("the kernel differs from what was set up ({})", list.join("; "))))
}

/// Releases all attachments of a network that are not listed, each as its DEL would. Those of other networks, and those
/// attached after the request was started, stay.
pub(super) async fn gc(inner: Arc<Inner>, request: GcRequest, answer: Answer<GcReport>) {
    let stale: Vec<AttachmentKey> = inner.ledger.read(|state| {
        let ended_before = |r: &&LeaseRecord| r.state != LeaseState::Preparing && r.since <= request.started;
        let keys = state.leases.values().filter(ended_before).filter_map(|record| record.key.clone());
        keys.filter(|key| {
            key.network == request.network
                && !request.valid.contains(&(key.container.clone(), key.ifname.clone()))
        })
        .collect()
    });
    let mut report = GcReport::default();
    // Each keeps its attachment's pass until it has run. They come in the order of the marks, in every collection: two at the
    // same time wait for each other in one direction only.
    let mut endings = Vec::new();
    for key in stale {
        let request = DelRequest { key: key.clone(), netns: None, started: request.started };
        match del::begin(&inner, &request).await {
            Ok(ending) => {
                report.freed += 1;
                endings.extend(ending);
            }
            Err(error) => report.failures.push((key, error)),
        }
    }
    drop(answer.send(Ok(report)));
    join_all(endings.into_iter().map(Ending::run)).await;
}
