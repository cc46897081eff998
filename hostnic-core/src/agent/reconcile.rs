//! The comparison, from time to time and on request, and what is done about its findings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::attachment::AttachmentMark;
use crate::cloud::{Nic, NicFilter, NicName, Subnet};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InstanceId, NicId, SubnetId};
use crate::ledger::{AddressState, LeaseRecord, LeaseState, NicRecord, NicState, State, SubnetRange, Write};
use crate::point::Point;
use crate::random::split_mix;

use super::compare::{Evidence, Finding, Observation, Patience, Suspicions, compare};
use super::counts::Repair;
use super::datapath::is_superseded;
use super::node::VethSide;
use super::{Inner, datapath, gateway, node, shared, step, undo};

/// The time after which a comparison that failed is tried again; doubled from then on, unless ADDs wait for it.
const RETRY: Duration = Duration::from_secs(5);

/// How long a change of the node's addresses is given to come to its end.
const SETTLE: Duration = Duration::from_millis(200);

/// Who asks for a comparison now, to be told what was found.
pub(super) type Request = oneshot::Sender<Result<Vec<Finding>>>;

/// When the cloud is asked next, and for what: rarely while nothing differs.
struct Pace {
    pause: Duration,
    next: Instant,
    retry: Duration,
    draw: u64,
    scope: Scope,
}

/// What a comparison asks the cloud for besides the NICs of this instance.
///
/// One of the two each time, by turns: both are there to learn what others did, which is rarely urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// NICs that are attached nowhere: strays of ours, and what was unplugged.
    Strays,
    /// The subnets, for the room that is left in them.
    Subnets,
    /// Both, as somebody asked for a comparison.
    All,
}

impl Pace {
    fn new(inner: &Inner) -> Self {
        // The subnets are described at the start anyway.
        let scope = Scope::Strays;
        Self { pause: inner.config.cloud_sync, next: Instant::now(), retry: RETRY, draw: inner.seed, scope }
    }

    /// Takes note of a comparison with the cloud that came to its end.
    fn compared(&mut self, inner: &Inner, quiet: bool, now: Instant) {
        self.pause =
            if quiet { (self.pause * 2).min(inner.config.cloud_sync) } else { inner.config.node_sync };
        self.next = now + self.jittered();
        self.scope = match self.scope {
            Scope::Strays => Scope::Subnets,
            Scope::Subnets | Scope::All => Scope::Strays,
        };
    }

    /// The pause and up to a tenth more, so that the nodes of an account come apart that began together.
    fn jittered(&mut self) -> Duration {
        let (value, draw) = split_mix(self.draw);
        self.draw = draw;
        self.pause.mul_f64(1.0 + 0.1 * (value % 1000) as f64 / 1000.0)
    }
}

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
        let wait = next(&inner, &mut pace, with_cloud, &result, described, quiet);
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

/// When to compare next: with the cloud less and less often while all is quiet.
fn next(
    inner: &Inner,
    pace: &mut Pace,
    with_cloud: bool,
    result: &Result<Vec<Finding>>,
    described: bool,
    quiet: bool,
) -> Instant {
    let now = Instant::now();
    if let Err(error) = result {
        // Who waits is served soon where that may help: not where the cloud refuses us, nor where it is not reached yet.
        let awaited = !*inner.recovered.borrow() && described && error.kind() == ErrorKind::Transient;
        let retry = if awaited { RETRY } else { pace.retry };
        pace.retry = (retry * 2).min(inner.config.node_sync);
        return now + retry;
    }
    pace.retry = RETRY;
    if with_cloud {
        pace.compared(inner, quiet, now);
    }
    let lacks_address = inner.veth.as_ref().is_some_and(VethSide::lacks_address);
    let sync = if lacks_address { node::RETRY } else { inner.config.node_sync };
    (now + sync).min(pace.next)
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
    for finding in &findings {
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
    shared::compare(inner).await;
    repair_pods(inner).await;
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

/// Asks the cloud, once it has described this node.
///
/// NICs that are attached nowhere are asked for also where they were not meant to be, when there is something that they
/// may explain: so no NIC seems to be gone that was not asked for.
async fn gather(inner: &Inner, scope: Scope, suspicious: bool) -> Result<Evidence> {
    let Some((instance, subnets)) = inner.pool.surveyed(inner.config.survey_patience).await else {
        let why = inner.pool.trouble().unwrap_or_else(|| "it has not answered yet".to_owned());
        return Err(Error::new(ErrorKind::Transient, "describe", "this instance").detail(why));
    };
    let attached = match inner.pool.take_attached() {
        Some(attached) => attached,
        None => {
            let here = NicFilter { instance: Some(instance.id.clone()), ..NicFilter::default() };
            inner.provider.at(Point::ListAttached, |cloud| cloud.list_nics(&here)).await?
        }
    };
    if matches!(scope, Scope::Subnets | Scope::All) {
        inner.pool.describe_subnets().await?;
    }
    let available = if scope != Scope::Subnets || suspicious || !all_explained(inner, &attached) {
        // Of all subnets: pods may have had NICs in others than the pool's.
        let available = NicFilter { available: true, ..NicFilter::default() };
        inner.provider.at(Point::ListAvailable, |cloud| cloud.list_nics(&available)).await?
    } else {
        Vec::new()
    };
    let strange = strange_subnets(inner, &instance.id, attached.iter().chain(&available), &subnets).await?;
    let ranges = subnets.into_iter().chain(strange).map(|s| {
        let range = SubnetRange::from(&s);
        (s.id, range)
    });
    // A NIC that was unplugged between the two answers is in both.
    let mut nics: BTreeMap<NicId, _> = available.into_iter().map(|nic| (nic.id.clone(), nic)).collect();
    nics.extend(attached.into_iter().map(|nic| (nic.id.clone(), nic)));
    Ok(Evidence { instance: instance.id, nics: nics.into_values().collect(), subnets: ranges.collect() })
}

/// Whether every NIC is attached here that should be, by our records.
fn all_explained(inner: &Inner, attached: &[Nic]) -> bool {
    let told: BTreeSet<&NicId> = attached.iter().map(|nic| &nic.id).collect();
    let settled = |nic: &&NicRecord| matches!(nic.state, NicState::Ready | NicState::Quarantined);
    inner.ledger.read(|state| state.nics.values().filter(settled).all(|nic| told.contains(&nic.id)))
}

/// The subnets of unrecorded NICs of ours that the pool does not draw from, or no more.
async fn strange_subnets(
    inner: &Inner,
    instance: &InstanceId,
    nics: impl Iterator<Item = &Nic>,
    known: &[Subnet],
) -> Result<Vec<Subnet>> {
    let ours = |nic: &&Nic| NicName::parse(&nic.name).is_some_and(|name| name.instance == *instance);
    let strange: BTreeSet<SubnetId> = inner.ledger.read(|state| {
        let unrecorded = nics.filter(|nic| !state.nics.contains_key(&nic.id)).filter(ours);
        unrecorded.map(|nic| nic.subnet.clone()).filter(|id| !known.iter().any(|s| s.id == *id)).collect()
    });
    if strange.is_empty() {
        return Ok(Vec::new());
    }
    let strange: Vec<SubnetId> = strange.into_iter().collect();
    inner.provider.at(Point::DescribeStrangeSubnets, |cloud| cloud.subnets(&strange)).await
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

/// Every active pod is compared with its plan, and set up again where it differs.
async fn repair_pods(inner: &Inner) {
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
