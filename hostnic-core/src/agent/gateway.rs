//! The node's gateways: which there can be, what the kernel has of them, and the wait for one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{Candidates, GatewayConfig, GatewayStatus, candidates, gateway_for, plans, statuses};
use crate::id::{NicId, SubnetId};
use crate::ledger::{NicRecord, NicState};
use crate::point::Point;
use crate::route::{GatewayPlan, KernelView, Masquerade, PodPlan, Route};

use super::compare::Evidence;
use super::request::AddRequest;
use super::{Inner, add};

/// The time after which gateways that could not be set up are tried again; doubled from then on.
const RETRY: Duration = Duration::from_secs(1);

/// The longest such time.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long the cloud may take to let a NIC forward.
const CLOUD_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Gateways {
    config: GatewayConfig,
    /// The operator's NICs that can serve; `None` before cloud and kernel were first compared.
    candidates: watch::Sender<Option<Candidates>>,
    programmed: watch::Sender<Programmed>,
    recheck: Notify,
}

/// What the kernel has.
#[derive(Debug, Clone, Default)]
struct Programmed {
    /// The gateways that it was last made to have; `None` before the first time.
    plans: Option<Vec<GatewayPlan>>,
    /// Why it does not have those that it should.
    trouble: Option<Arc<Error>>,
}

impl Gateways {
    /// # Errors
    /// `Invalid` for settings that make no sense.
    pub(super) fn new(config: GatewayConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            candidates: watch::channel(None).0,
            programmed: watch::channel(Programmed::default()).0,
            recheck: Notify::new(),
        })
    }
}

/// Learns which of the operator's NICs can serve, and takes out of the evidence the NICs that are to be left alone.
pub(super) fn look(inner: &Inner, kernel: &KernelView, cloud: &mut Evidence) {
    let Some(gateways) = &inner.gateways else { return };
    let found = inner.ledger.read(|state| {
        let found = candidates(state, kernel, cloud);
        let spared = |mac| kernel.host.iter().any(|l| l.mac == mac && gateways.config.spares(l));
        cloud.nics.retain(|nic| state.nics.contains_key(&nic.id) || !spared(nic.mac));
        found
    });
    gateways.candidates.send_if_modified(|known| {
        let news = known.as_ref() != Some(&found);
        if news {
            for (subnet, candidate) in &found {
                tracing::info!(%subnet, address = %candidate.address, mac = %candidate.mac, "a NIC of the host's serves as gateway");
            }
            *known = Some(found);
        }
        news
    });
}

/// Has the kernel compared with what it was made to have.
pub(super) fn recheck(inner: &Inner) {
    if let Some(gateways) = &inner.gateways {
        gateways.recheck.notify_one();
    }
}

/// Keeps the kernel's gateways as they are to be, until it is dropped.
pub(super) async fn run(inner: &Inner) {
    let Some(gateways) = &inner.gateways else { return };
    let (mut changes, mut known) = (inner.ledger.changes(), gateways.candidates.subscribe());
    let mut forwarding = BTreeSet::new();
    let mut failed: Option<Failed> = None;
    resume(inner, gateways).await;
    loop {
        changes.borrow_and_update();
        known.borrow_and_update();
        let now = Instant::now();
        let wanted = wanted(inner, gateways);
        let waits = |wanted: &Vec<_>| failed.as_ref().is_some_and(|failed| failed.waits(wanted, now));
        if let Some(wanted) = wanted.filter(|wanted| !waits(wanted)) {
            failed = match follow(inner, gateways, wanted.clone(), &mut forwarding).await {
                true => None,
                false => Some(Failed::again(failed, wanted)),
            };
        }
        let retry = failed.as_ref().map(|failed| failed.retry);
        tokio::select! {
            // In a fixed order, so that runs can be repeated. The senders live as long as the agent.
            biased;
            _ = changes.changed() => {}
            _ = known.changed() => {}
            () = gateways.recheck.notified() => compare(inner, gateways).await,
            () = sleep_until(retry.unwrap_or(now)), if retry.is_some() => {}
        }
    }
}

/// What could not be set up, and when it is tried again. That other records change is no reason to try.
#[derive(Debug)]
struct Failed {
    wanted: Vec<GatewayPlan>,
    pause: Duration,
    retry: Instant,
}

impl Failed {
    /// The next failure, after that one.
    fn again(before: Option<Self>, wanted: Vec<GatewayPlan>) -> Self {
        let pause = before.map_or(RETRY, |before| (before.pause * 2).min(LONGEST_RETRY));
        Self { wanted, pause, retry: Instant::now() + pause }
    }

    /// Whether these have failed, and are not to be tried yet.
    fn waits(&self, wanted: &[GatewayPlan], now: Instant) -> bool {
        self.wanted == wanted && now < self.retry
    }
}

/// What the kernel is to have; `None` before that is known. To program a part would take the rest down.
fn wanted(inner: &Inner, gateways: &Gateways) -> Option<Vec<GatewayPlan>> {
    let candidates = gateways.candidates.borrow();
    let candidates = candidates.as_ref()?;
    Some(inner.ledger.read(|state| plans(&gateways.config, state, candidates)))
}

/// After a restart the kernel has what it had: pods can go on without the cloud.
async fn resume(inner: &Inner, gateways: &Gateways) {
    let own = inner.ledger.read(|state| plans(&gateways.config, state, &Candidates::new()));
    if own.is_empty() {
        return;
    }
    let drifts = inner.kernel(Point::ResumeGateways, |kernel| kernel.check_gateways(&own)).await;
    if drifts.is_ok_and(|drifts| drifts.is_empty()) {
        gateways.programmed.send_modify(|programmed| programmed.plans = Some(own));
    }
}

/// Has cloud and kernel follow, and answers whether they have. `forwarding` holds the NICs that the cloud was told of.
async fn follow(
    inner: &Inner,
    gateways: &Gateways,
    wanted: Vec<GatewayPlan>,
    forwarding: &mut BTreeSet<NicId>,
) -> bool {
    let told = let_forward(inner, forwarding).await;
    if told.is_ok() && gateways.programmed.borrow().plans.as_ref() == Some(&wanted) {
        return true;
    }
    let done = match told {
        Ok(()) => inner.kernel(Point::SetUpGateways, |kernel| kernel.setup_gateways(&wanted)).await,
        Err(error) => Err(error),
    };
    let trouble = done.err().map(Arc::new);
    if let Some(error) = &trouble {
        tracing::warn!(error = %error.chain(), "the gateways of the node could not be set up; it is tried again");
        inner.failures.tell(error.clone());
    }
    let set_up = trouble.is_none();
    gateways.programmed.send_modify(|programmed| {
        // What failed midway is neither the one nor the other.
        programmed.plans = set_up.then_some(wanted);
        programmed.trouble = trouble;
    });
    set_up
}

/// Tells the cloud of gateways that it does not know yet. What it refuses for good may not matter: not every cloud looks
/// at senders.
async fn let_forward(inner: &Inner, told: &mut BTreeSet<NicId>) -> Result<()> {
    let Some(cloud) = &inner.forwarding else { return Ok(()) };
    let new: Vec<NicId> = inner.ledger.read(|state| {
        let serves = |nic: &&NicRecord| nic.role.is_gateway() && nic.state == NicState::Ready;
        let ids = state.nics.values().filter(serves).map(|nic| nic.id.clone());
        ids.filter(|id| !told.contains(id)).collect()
    });
    if new.is_empty() {
        return Ok(());
    }
    let late = |_| {
        Err(Error::new(ErrorKind::Transient, "let forward", "the gateways of the node")
            .detail(format!("the cloud did not answer within {CLOUD_DEADLINE:?}")))
    };
    let asked = cloud.at(Point::AllowForwarding, |cloud| cloud.allow_forwarding(&new));
    let answer = tokio::time::timeout(CLOUD_DEADLINE, asked).await;
    match answer.unwrap_or_else(late) {
        Err(error) if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Throttled { .. }) => {
            return Err(error);
        }
        Err(error) => {
            tracing::warn!(
                error = %error.chain(),
                "the cloud does not let the gateways of the node forward; if pods get no answers from services, switch off its \
                look at senders (anti-spoofing) for these NICs"
            );
            inner.failures.tell(Arc::new(error));
        }
        Ok(()) => {}
    }
    told.extend(new);
    Ok(())
}

/// What differs is set up again by the next round.
async fn compare(inner: &Inner, gateways: &Gateways) {
    let Some(plans) = gateways.programmed.borrow().plans.clone() else { return };
    match inner.kernel(Point::CompareGateways, |kernel| kernel.check_gateways(&plans)).await {
        Ok(drifts) => {
            let Some(drift) = drifts.first() else { return };
            tracing::warn!(%drift, count = drifts.len(), "a gateway was changed by somebody else; it is set up again");
            gateways.programmed.send_modify(|programmed| programmed.plans = None);
        }
        Err(error) => {
            tracing::debug!(error = %error.chain(), "the gateways could not be compared with their plans");
        }
    }
}

/// The gateways that there are and that are on their way, ours first.
pub(super) fn shown(inner: &Inner) -> Vec<GatewayStatus> {
    let Some(gateways) = &inner.gateways else { return Vec::new() };
    let candidates = gateways.candidates.borrow().clone().unwrap_or_default();
    let programmed = gateways.programmed.borrow().clone();
    let plans = programmed.plans.unwrap_or_default();
    let trouble = programmed.trouble.map(|error| error.chain().to_string());
    inner.ledger.read(|state| statuses(&gateways.config, state, &candidates, &plans, trouble.as_deref()))
}

/// Waits, no longer than `patience`, until the kernel has what it should have now, or refuses it.
pub(super) async fn settled(inner: &Inner, patience: Duration) {
    let Some(gateways) = &inner.gateways else { return };
    let mut programmed = gateways.programmed.subscribe();
    let there = programmed.wait_for(|programmed| {
        let Some(wanted) = wanted(inner, gateways) else { return true };
        programmed.plans.as_ref() == Some(&wanted) || programmed.trouble.is_some()
    });
    // What is not settled by then is told when it is next compared.
    drop(tokio::time::timeout(patience, there).await);
}

/// Refuses routes by the node where it keeps no NICs for that.
pub(super) fn offered(inner: &Inner, request: &AddRequest) -> Result<()> {
    match request.by_host.destinations.first() {
        Some(destination) if inner.gateways.is_none() => {
            Err(Error::new(ErrorKind::Unsupported, "add", &request.key).detail(format!(
                "route {destination} goes by the node itself, and this node keeps no NICs in the subnets of its pods \
                for that; name an address as gw"
            )))
        }
        _ => Ok(()),
    }
}

/// Puts the node's own address in the pod's subnet in where the request asks for it; waits for a gateway, and has one
/// made where there is none.
pub(super) async fn resolve(
    inner: &Inner,
    request: &AddRequest,
    plan: &mut PodPlan,
    subnet: &SubnetId,
    cancel: &CancellationToken,
) -> Result<()> {
    let asked = &request.by_host;
    let Some(gateways) = &inner.gateways else { return Ok(()) };
    if asked.destinations.is_empty() && !asked.default_route {
        return Ok(());
    }
    let next_hop = tokio::select! {
        found = find(inner, gateways, plan, subnet) => found?,
        () = cancel.cancelled() => return Err(add::called_off(request)),
        () = tokio::time::sleep(request.patience) => return Err(in_vain(inner, gateways, request, subnet)),
    };
    let by_host = asked.destinations.iter().map(|to| Route { destination: *to, next_hop: Some(next_hop) });
    plan.routes.extend(by_host);
    if asked.default_route {
        plan.gateway = next_hop;
    }
    Ok(())
}

async fn find(
    inner: &Inner,
    gateways: &Gateways,
    plan: &PodPlan,
    subnet: &SubnetId,
) -> Result<std::net::IpAddr> {
    let (mut programmed, mut known) = (gateways.programmed.subscribe(), gateways.candidates.subscribe());
    loop {
        let plans = programmed.borrow_and_update().plans.clone().unwrap_or_default();
        if let Some(gateway) = gateway_for(&plans, plan.address) {
            return Ok(gateway.address.addr());
        }
        // Before the first comparison it is not known whether one has to be made.
        let lacks = known.borrow_and_update().as_ref().is_some_and(|known| !known.contains_key(subnet));
        if lacks {
            inner.pool.want_gateway(subnet);
        }
        let ended = |_| {
            Error::new(ErrorKind::Cancelled, "wait for", "a gateway").detail("the node agent is stopping")
        };
        tokio::select! {
            changed = programmed.changed() => changed.map_err(ended)?,
            changed = known.changed() => changed.map_err(ended)?,
        }
    }
}

/// Waits until the kernel sends everything of the pod's on in the node's name, where its default route goes by the node.
pub(super) async fn masquerading(
    inner: &Inner,
    request: &AddRequest,
    plan: &PodPlan,
    cancel: &CancellationToken,
) -> Result<()> {
    let Some(gateways) = inner.gateways.as_ref().filter(|_| request.by_host.default_route) else {
        return Ok(());
    };
    let mut programmed = gateways.programmed.subscribe();
    let there = programmed.wait_for(|programmed| {
        let plans = programmed.plans.iter().flatten();
        plans
            .filter(|gateway| gateway.address.addr() == plan.gateway)
            .any(|gateway| gateway.masquerade == Masquerade::Everything)
    });
    tokio::select! {
        // The sender lives as long as the agent.
        _ = there => Ok(()),
        () = cancel.cancelled() => Err(add::called_off(request)),
        () = tokio::time::sleep(request.patience) => {
            Err(Error::new(ErrorKind::Transient, "add", &request.key).detail(told(gateways, "its gateway was not set up in time")))
        }
    }
}

fn told(gateways: &Gateways, what: &str) -> String {
    match &gateways.programmed.borrow().trouble {
        Some(error) => format!("{what}: {}", error.chain()),
        None => what.to_owned(),
    }
}

fn in_vain(inner: &Inner, gateways: &Gateways, request: &AddRequest, subnet: &SubnetId) -> Error {
    let limit = inner.config.pool.max_nics;
    let (there, full) = inner.ledger.read(|state| {
        let there = state.nics.values().any(|nic| nic.role.is_gateway() && nic.subnet.id == *subnet);
        (there, state.nics.len() >= usize::try_from(limit).unwrap_or(usize::MAX))
    });
    let known = gateways.candidates.borrow().is_some();
    let cloud =
        inner.pool.trouble().map(|said| format!("; the cloud's last word: {said}")).unwrap_or_default();
    let (kind, why) = match (known, there, full) {
        (false, ..) => (
            ErrorKind::Transient,
            format!(
                "whether the node has a NIC of its own in {subnet} is not known before the cloud tells{cloud}"
            ),
        ),
        (true, true, _) => {
            (ErrorKind::Transient, told(gateways, &format!("the gateway in {subnet} was not ready in time")))
        }
        (true, false, true) => (
            ErrorKind::Exhausted,
            format!("this node has all the {limit} NICs that it may have, and none of its own in {subnet}"),
        ),
        (true, false, false) => {
            (ErrorKind::Transient, format!("no gateway could be made in {subnet} in time{cloud}"))
        }
    };
    Error::new(kind, "add", &request.key).detail(why)
}
