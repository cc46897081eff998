//! ADD: from a request to an interface, undone at whatever step it fails or is called off.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::attachment::{AttachmentMark, Sandbox};
use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, Result};
use crate::id::NicId;
use crate::ipam::{Lease, LeaseRequest};
use crate::ledger::{LeaseRecord, LeaseState};
use crate::pods::NicWish;
use crate::point::Point;
use crate::route::{Datapath, PodDatapath, PodLink, PodPlan};

use super::datapath::is_superseded;
use super::node::VethSide;
use super::request::{AddAnswer, AddRequest};
use super::{Inner, datapath, gateway, node, policy, shared, step, undo};

/// Serves the request. `cancel` is heeded at each step that lasts.
pub(super) async fn add(
    inner: Arc<Inner>,
    mut request: AddRequest,
    cancel: CancellationToken,
) -> Result<AddAnswer> {
    let mark = request.key.mark();
    let begun = tokio::time::Instant::now();
    let announced = inner.gates.announce_add(&mark, request.started, &cancel);
    let datapath = way(&inner, &request)?;
    // Not in its turn: the comparison that is waited for takes its own, where the pod has something already. So does
    // what brings pods to other settings.
    inner.until_recovered(&cancel, &request).await?;
    if datapath != Datapath::Passthrough {
        let left = request.patience.saturating_sub(begun.elapsed());
        node::until_set_up(&inner, &request, left, &cancel).await?;
    }
    let _pass = announced.wait().await;
    refuse_overtaken(&inner, &request, &mark)?;
    let patience = request.patience;
    request.patience = patience.saturating_sub(begun.elapsed());
    let sandbox = sandbox(&inner, &request).await?;
    if let Some(record) = inner.ledger.read(|state| state.leases.get(&mark).cloned()) {
        match record.state {
            LeaseState::Active => return again(&inner, &request, record, sandbox, &cancel).await,
            // Left by an operation that failed half-way: nobody was answered, or its DEL is owed.
            LeaseState::Preparing | LeaseState::Releasing => undo::undo(&inner, &record).await?,
        }
    }
    shared::until_released(&inner, &request, &mark, &cancel).await?;
    // The seat on a shared NIC is kept until the lease is recorded.
    let (lease, _seat) = match datapath {
        Datapath::Shared => {
            let pod = shared::offered(&inner, &request)?;
            let (lease, seat) = shared::allocate(&inner, &request, pod, &cancel).await?;
            (lease, Some(seat))
        }
        Datapath::Passthrough | Datapath::Veth => (allocate(&inner, &request, &cancel).await?, None),
    };
    request.patience = patience.saturating_sub(begun.elapsed());
    let done = async {
        let mut plan = plan(&request, &mark, sandbox, &lease);
        if datapath == Datapath::Passthrough {
            gateway::resolve(&inner, &request, &mut plan, &lease.subnet, &cancel).await?;
        }
        let (plan, link) = give(&inner, &request, datapath, plan, &lease, &cancel).await?;
        Ok(AddAnswer { lease: lease.clone(), link, gateway: plan.gateway, routes: plan.routes })
    };
    match done.await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            take_back(&inner, &mark, datapath, &error).await;
            Err(error)
        }
    }
}

/// How the pod is to be joined. One that asks for a NIC of its own where pods share them is behind a veth, as where they do not.
///
/// # Errors
/// For what cannot be had in that way.
fn way(inner: &Inner, request: &AddRequest) -> Result<Datapath> {
    let usual = match inner.config.datapath {
        Datapath::Shared if request.wishes.nic != NicWish::Any => Datapath::Veth,
        usual => usual,
    };
    let datapath = request.wishes.datapath.unwrap_or(usual);
    match datapath {
        Datapath::Shared => drop(shared::offered(inner, request)?),
        _ if !request.wishes.addresses.is_empty() => {
            return Err(Error::new(ErrorKind::Invalid, "add", &request.key).detail(
                "it asks for one of some addresses, which only a pod that shares its NIC can; ask for a NIC with that address",
            ));
        }
        Datapath::Passthrough => gateway::offered(inner, request)?,
        Datapath::Veth => {}
    }
    Ok(datapath)
}

/// A path that leads to something else leads to no namespace: whoever asked has one mistake to look for.
async fn sandbox(inner: &Inner, request: &AddRequest) -> Result<Sandbox> {
    let found = inner.kernel(Point::FindSandbox, |kernel| kernel.sandbox(&request.netns)).await;
    found.map_err(|error| match error.kind() {
        ErrorKind::Invalid => Error::new(ErrorKind::NotFound, "add", &request.key).detail(error.chain()),
        _ => error,
    })
}

/// An ADD that arrives after the DEL which its runtime started later must not bring the attachment back.
fn refuse_overtaken(inner: &Inner, request: &AddRequest, mark: &AttachmentMark) -> Result<()> {
    let overtaken =
        inner.ledger.read(|state| state.tombstones.get(mark).is_some_and(|del| request.started <= *del));
    if overtaken { Err(called_off(request)) } else { Ok(()) }
}

pub(super) fn called_off(request: &AddRequest) -> Error {
    Error::new(ErrorKind::Cancelled, "add", &request.key)
        .detail("a later DEL of the same attachment, or the caller's hanging up, called it off")
}

/// The runtime did not hear the answer, or asks for something else under the same name.
async fn again(
    inner: &Inner,
    request: &AddRequest,
    mut record: LeaseRecord,
    sandbox: Sandbox,
    cancel: &CancellationToken,
) -> Result<AddAnswer> {
    if record.plan.sandbox != sandbox {
        return Err(Error::new(ErrorKind::Conflict, "add", &request.key)
            .detail("the attachment is active in another network namespace; DEL it first"));
    }
    if inner.ledger.read(|state| is_superseded(state, &record)) {
        return Err(Error::new(ErrorKind::Conflict, "add", &request.key)
            .detail("a newer sandbox of the same pod has taken its place; DEL it"));
    }
    let rebuilt = record.key.is_none();
    if rebuilt {
        record.key = Some(request.key.clone());
        record.pod = request.pod.clone();
        record.started = request.started;
        if datapath::shared(&record.plan).is_none() {
            record.plan.routes.clone_from(&request.routes);
        }
        ask_anew(inner, request, &mut record, cancel).await?;
    }
    if datapath::shared(&record.plan).is_some() {
        shared::in_place(inner, request, &record.lease.nic, cancel).await?;
    }
    let kernel = inner.kernel(Point::SetUpPodAnew, |kernel| kernel.setup_pod(&record.plan));
    let link = policy::meanwhile_told(inner, request, &record.lease, cancel, kernel).await?;
    let answer = AddAnswer {
        lease: record.lease.clone(),
        link: link.clone(),
        gateway: record.plan.gateway,
        routes: record.plan.routes.clone(),
    };
    if rebuilt {
        record.link = Some(link);
        let complete = |state: &_| Ok((step::complete(state, record), ()));
        inner.ledger.transact(Point::CompleteLease, complete).await?;
    }
    Ok(answer)
}

/// Puts into a rebuilt plan what only the request tells.
async fn ask_anew(
    inner: &Inner,
    request: &AddRequest,
    record: &mut LeaseRecord,
    cancel: &CancellationToken,
) -> Result<()> {
    match (&mut record.plan.datapath, &inner.veth) {
        (PodDatapath::Veth(veth), Some(side)) => {
            (record.plan.mtu, veth.mtu_at_most) = datapath::mtu(side.draft(inner)?.config.mtu, request.mtu);
            Ok(())
        }
        (PodDatapath::Shared(shared), Some(side)) => {
            (record.plan.mtu, shared.mtu_at_most) = datapath::mtu(side.draft(inner)?.config.mtu, request.mtu);
            Ok(())
        }
        (PodDatapath::Veth(_) | PodDatapath::Shared(_), None) => Ok(()),
        (PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_), _) => {
            record.plan.mtu = request.mtu;
            gateway::resolve(inner, request, &mut record.plan, &record.lease.subnet, cancel).await
        }
    }
}

async fn allocate(inner: &Inner, request: &AddRequest, cancel: &CancellationToken) -> Result<Lease> {
    let wanted = LeaseRequest {
        key: request.key.clone(),
        pod: request.pod.clone(),
        nic: request.wishes.nic.clone(),
        patience: request.patience,
    };
    let allocated = tokio::select! {
        allocated = inner.ipam.allocate(&wanted) => allocated,
        () = cancel.cancelled() => Err(called_off(request)),
    };
    if allocated.is_err() {
        // The future may have been dropped just as it was served.
        inner.ipam.release(&request.key.mark(), false).await?;
    }
    allocated
}

fn plan(request: &AddRequest, mark: &AttachmentMark, sandbox: Sandbox, lease: &Lease) -> PodPlan {
    PodPlan {
        datapath: PodDatapath::Passthrough,
        mark: mark.clone(),
        netns: request.netns.clone(),
        sandbox,
        ifname: request.key.ifname.clone(),
        mac: lease.mac,
        address: lease.address,
        gateway: lease.gateway,
        routes: request.routes.clone(),
        mtu: request.mtu,
    }
}

/// The order that makes every crash recoverable: the lease is durable before the kernel hears of it, and active before
/// the runtime does.
async fn give(
    inner: &Inner,
    request: &AddRequest,
    datapath: Datapath,
    plan: PodPlan,
    lease: &Lease,
    cancel: &CancellationToken,
) -> Result<(PodPlan, PodLink)> {
    let record = LeaseRecord {
        mark: plan.mark.clone(),
        key: Some(request.key.clone()),
        pod: request.pod.clone(),
        started: request.started,
        state: LeaseState::Preparing,
        lease: lease.clone(),
        plan,
        link: None,
        since: inner.now(),
        by_wish: request.wishes.datapath.is_some(),
    };
    let plan = prepare(inner, datapath, record).await?;
    let kernel = async {
        if datapath == Datapath::Passthrough {
            gateway::masquerading(inner, request, &plan, cancel).await?;
        }
        if datapath == Datapath::Shared {
            shared::in_place(inner, request, &lease.nic, cancel).await?;
        }
        stop_if(cancel, request)?;
        set_up(inner, request, &plan, &lease.nic, cancel).await
    };
    let link = policy::meanwhile_told(inner, request, lease, cancel, kernel).await?;
    stop_if(cancel, request)?;
    let (now, answered): (BootTime, PodLink) = (inner.now(), link.clone());
    let activate = |state: &_| Ok((step::activate(state, &plan.mark, answered, now)?, ()));
    inner.ledger.transact(Point::ActivateLease, activate).await?;
    inner.announcer.later(&plan);
    Ok((plan, link))
}

/// Records the lease, and answers its plan with what only the records can tell: which table is free.
async fn prepare(inner: &Inner, datapath: Datapath, mut record: LeaseRecord) -> Result<PodPlan> {
    let side = inner.veth.as_ref().filter(|_| datapath != Datapath::Passthrough);
    let draft = side.map(|side| side.draft(inner)).transpose()?;
    // It need not wait for the node: until that is set up only services are out of reach.
    let beside = inner.veth.as_ref().filter(|_| datapath == Datapath::Passthrough).map(VethSide::config);
    let prepare = |state: &_| {
        let mut chosen = None;
        if let Some(draft) = draft {
            match datapath {
                Datapath::Shared => chosen = draft.decide_shared(state, &mut record)?,
                Datapath::Passthrough | Datapath::Veth => draft.decide(state, &mut record)?,
            }
        }
        if let Some(config) = beside {
            datapath::lead_to_services(&config, state, &mut record)?;
        }
        let plan = record.plan.clone();
        let mut writes = step::prepare(state, record)?;
        writes.extend(chosen);
        Ok((writes, plan))
    };
    let plan = inner.ledger.transact(Point::PrepareLease, prepare).await?;
    if let Some(side) = side.filter(|side| !side.suits(&plan)) {
        // They were changed just before the lease could be seen.
        side.recheck();
    }
    Ok(plan)
}

/// Has the kernel programmed. The kernel takes a moment to bring a NIC back whose last pod's namespace has just ended, so
/// one that is missing is waited for.
async fn set_up(
    inner: &Inner,
    request: &AddRequest,
    plan: &PodPlan,
    nic: &NicId,
    cancel: &CancellationToken,
) -> Result<PodLink> {
    let shares = datapath::shared(plan).is_some();
    match inner.kernel(Point::SetUpPod, |kernel| kernel.setup_pod(plan)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            await_nic(inner, request, plan, error, cancel).await?
        }
        // Somebody may have undone what its NIC is.
        Err(error) if error.kind() == ErrorKind::Conflict && shares => {}
        done => return done,
    }
    if shares {
        inner.shared.nics.doubt(nic);
        shared::in_place(inner, request, nic, cancel).await?;
    }
    inner.kernel(Point::SetUpPodAgain, |kernel| kernel.setup_pod(plan)).await
}

/// Waits until the NIC of a pod is in the node, where it is not the pod's namespace that is `missing`.
async fn await_nic(
    inner: &Inner,
    request: &AddRequest,
    plan: &PodPlan,
    missing: Error,
    cancel: &CancellationToken,
) -> Result<()> {
    let sandbox = inner.kernel(Point::FindSandboxAgain, |kernel| kernel.sandbox(&plan.netns)).await?;
    if sandbox != plan.sandbox {
        return Err(missing);
    }
    tokio::select! {
        back = inner.kernel(Point::AwaitNicOfPod, |kernel| kernel.wait_for_nic(plan.mac)) => {
            drop(back.map_err(|_| absent(plan))?);
        }
        () = cancel.cancelled() => return Err(called_off(request)),
    }
    Ok(())
}

fn absent(plan: &PodPlan) -> Error {
    Error::new(ErrorKind::Transient, "find NIC", plan.mac)
        .detail("it is attached, and yet no link of the node has this MAC address; try again")
}

fn stop_if(cancel: &CancellationToken, request: &AddRequest) -> Result<()> {
    if cancel.is_cancelled() { Err(called_off(request)) } else { Ok(()) }
}

/// Undoes what was begun. What cannot be undone now is found by the next comparison, or by the DEL.
async fn take_back(inner: &Inner, mark: &AttachmentMark, datapath: Datapath, why: &Error) {
    if datapath == Datapath::Shared && why.kind() != ErrorKind::Cancelled {
        inner.tally.claimed_in_vain();
    }
    let record = inner.ledger.read(|state| state.leases.get(mark).cloned());
    let undone = match record {
        Some(record) => undo::undo(inner, &record).await,
        None if datapath == Datapath::Shared => {
            inner.shared.releases.order(mark);
            Ok(())
        }
        None => inner.ipam.release(mark, false).await,
    };
    if let Err(error) = undone {
        tracing::warn!(%mark, error = %error.chain(), after = %why.chain(), "an ADD that failed could not be undone wholly; its DEL will");
    }
}
