//! The comparison, from time to time and on request, and what is done about its findings.

mod gather;
mod mend;
mod pace;
mod pods;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::attachment::AttachmentMark;
use crate::error::Result;
use crate::id::NicId;
use crate::point::Point;

use super::compare::{Finding, Observation, Patience, Suspicions, compare};
use super::{Inner, datapath, gateway, node, shared};
use gather::{Scope, gather};
use pace::Pace;

/// How long a change of the node's addresses is given to come to its end.
const SETTLE: Duration = Duration::from_millis(200);

/// Who asks for a comparison now, to be told what was found.
pub(super) type Request = oneshot::Sender<Result<Vec<Finding>>>;

/// Runs until it is dropped.
pub(super) async fn run(inner: Arc<Inner>, mut requests: mpsc::Receiver<Request>) {
    let mut suspicions = Suspicions::default();
    let mut pace = Pace::new(&inner);
    let mut asked: Option<Request> = None;
    loop {
        let with_cloud = asked.is_some() || Instant::now() >= pace.next || !*inner.recovered.borrow();
        let scope = if asked.is_some() { Scope::All } else { pace.scope };
        let result = compare_once(&inner, &mut suspicions, with_cloud.then_some(scope)).await;
        let quiet = result.as_ref().is_ok_and(Vec::is_empty) && suspicions.is_empty();
        let described = inner.pool.surveyed(Duration::ZERO).await.is_some();
        let wait = pace.after(&inner, with_cloud, &result, described, quiet);
        if let Some(asked) = asked.take() {
            // Who asked may have gone.
            drop(asked.send(result));
        } else if let Err(error) = result {
            tracing::warn!(error = %error.chain(), "records, cloud and kernel could not be compared; trying again");
        }
        tokio::select! {
            // In a fixed order, so that runs can be repeated.
            biased;
            () = inner.nudge.notified() => pace.next = Instant::now(),
            () = addresses_changed(&inner) => {}
            () = sleep_until(wait) => {}
            Some(request) = requests.recv() => asked = Some(request),
            // What was missing for a comparison is there.
            _ = inner.pool.surveyed(Duration::MAX), if !described => {}
        }
    }
}

/// Waits until the node's own addresses have changed, which pods behind veths are served from. Where one takes the place of
/// another, both have come by then.
async fn addresses_changed(inner: &Inner) {
    if inner.veth.is_none() {
        std::future::pending::<()>().await;
    }
    inner.programmer.at(Point::AwaitAddresses, |kernel| kernel.addresses_changed()).await;
    sleep(SETTLE).await;
}

/// One comparison, and what follows from it.
async fn compare_once(
    inner: &Arc<Inner>,
    suspicions: &mut Suspicions,
    with_cloud: Option<Scope>,
) -> Result<Vec<Finding>> {
    let (known_before, tables): (BTreeSet<NicId>, BTreeSet<u32>) = inner
        .ledger
        .read(|state| (state.nics.keys().cloned().collect(), datapath::leased_tables(state).collect()));
    let evidence = match with_cloud {
        // What was suspicious once is looked at again, whatever the turn.
        Some(scope) => gather(inner, scope, !suspicions.is_empty()).await.map(Some),
        None => Ok(None),
    };
    let looked = inner.now();
    let kernel = inner.kernel(Point::ObserveKernel, |kernel| kernel.observe()).await?;
    let mut busy_nics: BTreeSet<NicId> = inner.pool.busy().into_iter().collect();
    let (mut cloud, failed) = match evidence {
        Ok(cloud) => (cloud, None),
        Err(error) => (None, Some(error)),
    };
    if let Some(cloud) = &mut cloud {
        gateway::look(inner, &kernel, cloud);
    }
    let side = inner.veth.as_ref();
    let (findings, own, strange) = inner.ledger.read(|state| {
        // What has changed since we looked at the kernel is not what we saw.
        let moved = state.leases.values().filter(|lease| lease.since >= looked).map(|lease| &lease.mark);
        let under_way = state.leases.keys().filter(|mark| !inner.gates.is_open(mark));
        let mut busy_leases: BTreeSet<AttachmentMark> = moved.chain(under_way).cloned().collect();
        busy_leases.extend(inner.shared.releases.since(looked));
        let freed = state.nics.values().filter(|nic| nic.freed_since(looked));
        busy_nics.extend(freed.map(|nic| nic.id.clone()));
        // What was given back since we began to look may be in the lists still: it is no stray.
        busy_nics.extend(known_before.into_iter().filter(|nic| !state.nics.contains_key(nic)));
        let own = side.map(|side| side.look(&kernel, state));
        let explained = tables.into_iter().chain(datapath::leased_tables(state)).collect();
        let seen = Observation {
            veth: side.zip(own.as_ref()).and_then(|(side, own)| side.common(own)),
            now: inner.now(),
            state,
            kernel: &kernel,
            cloud: cloud.as_ref(),
            busy_nics: &busy_nics,
            busy_leases: &busy_leases,
        };
        let patience = Patience { list_lag: inner.config.pool.visibility, grace: inner.config.grace };
        (compare(&seen, suspicions, patience), own, node::strange_tables(&kernel, &explained))
    });
    mend::all(inner, &findings).await;
    shared::compare(inner).await;
    pods::repair(inner).await;
    let all_told = shared::tell_held(inner, &kernel, looked).await;
    if let Some((side, own)) = side.zip(own) {
        // Not before: pods that are found again are to be among those that ADDs find.
        side.learn(own, strange);
        side.recheck();
    }
    gateway::recheck(inner);
    inner.pool.look();
    // Without the cloud, records that survived are enough to serve from; without both, whose the NICs are is not known.
    let known = inner.ledger.read(|state| !state.nics.is_empty());
    if cloud.is_some() {
        inner.pool.settle();
        if all_told {
            inner.shared.all_is_known();
        }
    }
    if cloud.is_some() || known {
        inner.recovered.send_replace(true);
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(findings),
    }
}
