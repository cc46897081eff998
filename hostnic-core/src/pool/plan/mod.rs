//! What to do next: a pure function of one moment of the pool.

mod create;
mod share;
mod supply;
mod wish;

use std::net::IpAddr;
use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::id::{CreateToken, NicId, SubnetId};
use crate::ledger::NicState;
use crate::policy::{PolicyState, PoolPolicy};

use super::config::PoolConfig;
use super::view::{Hold, NicView, PoolView, Purpose};

pub use supply::Supply;
pub(super) use supply::{capacity, supply_of};

/// One thing to do. What concerns the cloud is one call each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make NICs in one subnet.
    Create {
        /// Where.
        subnet: SubnetId,
        /// How many.
        count: u32,
    },
    /// Make a gateway in one subnet.
    CreateGateway(SubnetId),
    /// Make a NIC that pods of one subnet share.
    CreateShared(SubnetId),
    /// Make a NIC for one attachment.
    CreateOwn {
        /// The attachment.
        mark: AttachmentMark,
        /// Where.
        subnet: SubnetId,
    },
    /// Look whether an attachment may have a NIC that is there already, and take it in.
    Lend {
        /// The attachment.
        mark: AttachmentMark,
        /// The NIC.
        nic: NicId,
    },
    /// Leave to an attachment what another has left.
    Entrust {
        /// The attachment.
        mark: AttachmentMark,
        /// The NIC.
        nic: NicId,
    },
    /// Find out what became of a create whose answer was lost.
    LookUp(CreateToken),
    /// Plug NICs in.
    Attach(Vec<NicId>),
    /// Unplug NICs.
    Detach(Vec<NicId>),
    /// Delete NICs.
    Delete(Vec<NicId>),
    /// Let an address that has rested be leased again.
    Thaw(NicId, IpAddr),
}

/// What to do now, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What to do. The order does not matter.
    pub actions: Vec<Action>,
    /// Where the policy is after the choices of this plan.
    pub policy: PolicyState,
    /// When something becomes due though nothing happens; `None` when nothing does.
    pub wake: Option<BootTime>,
    /// Whether more addresses are needed than are there or on their way, those that this plan makes included.
    pub short: bool,
    /// How many of the attachments that wait for any NIC nothing is on its way for, and why.
    pub unserved: Option<Unserved>,
    /// Attachments that wait for a particular NIC, for which nothing can be done now; and why.
    pub refused: Vec<(AttachmentMark, Shortage)>,
    /// Subnets in which pods lack a NIC to share, and for which nothing can be done now; and why.
    pub unshared: Vec<(SubnetId, Shortage)>,
}

/// Why attachments wait in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// How many.
    pub count: u32,
    /// Why.
    pub reason: Shortage,
}

/// Why no NIC can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The node has as many NICs as it may.
    NodeFull {
        /// That number.
        limit: u32,
    },
    /// Every subnet is full or set aside.
    NoSubnet,
    /// The cloud refuses us, or has not been reached, and is left alone for a while.
    OnHold,
}

/// How often an attach is tried before the NIC is given up, unless a pod has it.
const ATTACH_TRIES: u32 = 5;

/// Plans the next actions of a pool.
///
/// The same view gives the same plan. Carrying it out makes a view whose plan does not repeat the actions, because what is
/// under way is part of the view.
pub fn plan(
    view: &PoolView,
    config: &PoolConfig,
    policy: &dyn PoolPolicy,
    create_batch: u32,
    batch: u32,
) -> Plan {
    let mut plan = Plan { policy: view.policy.clone(), ..Plan::default() };
    thaw(&mut plan, view, config);
    look_up(&mut plan, view, config);
    create::gateways(&mut plan, view, config);
    let unshared = share::share(&mut plan, view, config);
    let alone = wish::wishes(&mut plan, view, config, policy);
    let evict = wish::make_place(&mut plan, view, config, &unshared, &alone);
    let queued = create::create(&mut plan, view, config, policy, create_batch);
    attach(&mut plan, view, config, batch);
    detach(&mut plan, view, config, batch, evict, queued);
    delete(&mut plan, view, batch);
    plan
}

impl Plan {
    fn wake_at(&mut self, at: BootTime) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Whether `at` has come; looks again then if it has not.
    fn due(&mut self, at: BootTime, now: BootTime) -> bool {
        if at > now {
            self.wake_at(at);
        }
        at <= now
    }

    /// One call for each `batch` NICs.
    fn calls(&mut self, nics: Vec<NicId>, batch: u32, call: fn(Vec<NicId>) -> Action) {
        for chunk in nics.chunks(usize::try_from(batch.max(1)).unwrap_or(usize::MAX)) {
            self.actions.push(call(chunk.to_vec()));
        }
    }
}

fn thaw(plan: &mut Plan, view: &PoolView, config: &PoolConfig) {
    for nic in view.nics.iter().filter(|n| n.state == NicState::Ready) {
        for (address, since) in &nic.cooling {
            // Who waits may have it sooner, and looks when told. It counts as left for pods to come from then on.
            plan.due(since.after(config.least_cooling), view.now);
            let rest = if wish::lacks_place(view, config) { config.least_cooling } else { config.cooling };
            // What is given back to the cloud needs no rest here.
            if view.draining || plan.due(since.after(rest), view.now) {
                plan.actions.push(Action::Thaw(nic.id.clone(), *address));
            }
        }
    }
}

fn look_up(plan: &mut Plan, view: &PoolView, config: &PoolConfig) {
    for create in view.creates.iter().filter(|c| !c.running) {
        if plan.due(create.since.after(config.visibility), view.now) {
            plan.actions.push(Action::LookUp(create.token.clone()));
        }
    }
}

/// Whether the NIC cannot be plugged in and is to go. One that a pod holds is tried again for as long as it is held.
fn given_up(nic: &NicView) -> bool {
    nic.held == 0
        && matches!(nic.state, NicState::Attaching { job: None, failures } if failures >= ATTACH_TRIES)
}

/// How long after so many failures an attach is tried again: up to about a quarter of an hour.
fn attach_pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 1).min(10)),
    }
}

fn attach(plan: &mut Plan, view: &PoolView, config: &PoolConfig, batch: u32) {
    let (mut ready, mut lent) = (Vec::new(), Vec::new());
    let mut oldest = None::<BootTime>;
    for nic in view.nics.iter().filter(|n| !n.busy) {
        let NicState::Attaching { job: None, failures } = nic.state else { continue };
        if given_up(nic) || is_left(nic) {
            continue;
        }
        let from = nic.since.after(attach_pause(failures)).max(nic.not_before.unwrap_or_default());
        if !plan.due(from, view.now) {
            continue;
        }
        if nic.purpose == Purpose::Lent {
            lent.push(nic.id.clone());
        } else {
            oldest = Some(oldest.map_or(nic.since, |o| o.min(nic.since)));
            ready.push(nic.id.clone());
        }
    }
    // Others may do with them what they like, and a call that is refused for one is refused for all.
    plan.calls(lent, 1, Action::Attach);
    let Some(oldest) = oldest else { return };
    let others_come = view.creates.iter().any(|c| c.running)
        || plan.actions.iter().any(|a| {
            matches!(
                a,
                Action::Create { .. }
                    | Action::CreateGateway(_)
                    | Action::CreateOwn { .. }
                    | Action::CreateShared(_)
            )
        });
    if others_come && !plan.due(oldest.after(config.attach_gather), view.now) {
        return;
    }
    plan.calls(ready, batch, Action::Attach);
}

/// `evict` NICs that nobody has must make place for particular ones, and `queued` of those that pods could share for pods that
/// take any.
fn detach(plan: &mut Plan, view: &PoolView, config: &PoolConfig, batch: u32, evict: u32, queued: u32) {
    let (mut out, mut lent) = (share::surplus(plan, view, config, evict.saturating_add(queued)), Vec::new());
    let evict = evict.saturating_sub(u32::try_from(out.len()).unwrap_or(u32::MAX));
    for nic in view.nics.iter().filter(|n| !n.busy) {
        if entrusted(plan, &nic.id) {
            continue;
        }
        let leaves = nic.state == NicState::Detaching { job: None }
            || given_up(nic)
            || share::is_useless(nic, view)
            || is_in_the_way(nic, view)
            || nobody_comes(plan, nic, view, config);
        if leaves && plan.due(nic.not_before.unwrap_or_default(), view.now) {
            let whose = if nic.purpose == Purpose::Lent { &mut lent } else { &mut out };
            whose.push(nic.id.clone());
        }
    }
    for nic in surplus(view, config, evict) {
        if !out.contains(&nic.id) {
            out.push(nic.id.clone());
        }
    }
    plan.calls(lent, 1, Action::Detach);
    plan.calls(out, batch, Action::Detach);
}

fn entrusted(plan: &Plan, nic: &NicId) -> bool {
    plan.actions.iter().any(|action| matches!(action, Action::Entrust { nic: id, .. } if id == nic))
}

/// Whether the NIC is for one pod that neither has it nor waits for it.
fn is_left(nic: &NicView) -> bool {
    nic.purpose.is_one_pod() && nic.held == 0
}

/// Whether an idle NIC has the address that a pod asks for.
fn is_in_the_way(nic: &NicView, view: &PoolView) -> bool {
    let wanted = || view.wishes.iter().any(|wish| wish.in_the_way.as_ref() == Some(&nic.id));
    view.hold != Hold::Unsettled && nic.purpose == Purpose::Pods && is_idle(nic) && wanted()
}

/// Whether the next try of the pod for which the NIC was made has not come in time.
fn nobody_comes(plan: &mut Plan, nic: &NicView, view: &PoolView, config: &PoolConfig) -> bool {
    is_left(nic)
        && matches!(nic.state, NicState::Ready | NicState::Attaching { job: None, .. })
        && view.hold != Hold::Unsettled
        && (view.draining || plan.due(nic.since.after(config.left_grace), view.now))
}

/// Whether nobody has the NIC, nor had it until just now, and it could be any pod's, or the node's.
fn is_idle(nic: &NicView) -> bool {
    nic.state == NicState::Ready
        && !nic.busy
        && nic.held == 0
        && nic.cooling.is_empty()
        && match nic.purpose {
            Purpose::Pods => nic.free == nic.addresses,
            Purpose::Gateway | Purpose::Shared => true,
            Purpose::Own | Purpose::Lent => false,
        }
}

/// Idle NICs that nobody will need: those of subnets no longer configured, and those above the high watermark, the one
/// freed last first, so that what is kept has rested longest. `evict` of them must make place for others, whatever the
/// watermarks are. A gateway is kept while it may be of use.
fn surplus<'a>(view: &'a PoolView, config: &PoolConfig, evict: u32) -> Vec<&'a NicView> {
    let configured = |nic: &NicView| view.subnets.iter().any(|s| s.id == nic.subnet);
    let idle = |nic: &&NicView| is_idle(nic) && nic.purpose != Purpose::Shared;
    if view.hold == Hold::Unsettled {
        return Vec::new();
    }
    // One without an address is of no use to any pod of the pool's.
    let no_use = |nic: &&NicView| !configured(nic) || nic.addresses == 0 && nic.purpose == Purpose::Pods;
    let mut surplus: Vec<&NicView> = view.nics.iter().filter(idle).filter(no_use).collect();
    if view.waiting > 0 && !view.draining {
        return surplus;
    }
    // One call for all, when the last of them has been thawed.
    if view.draining && view.nics.iter().any(|nic| !nic.cooling.is_empty()) {
        return surplus;
    }
    let (low, high) = if view.draining { (0, 0) } else { (config.low, config.high) };
    // A ready NIC that a call is about is on its way out: it must not be counted among those that stay.
    let stays = |nic: &&NicView| {
        nic.state == NicState::Ready && !nic.busy && configured(nic) && nic.purpose == Purpose::Pods
    };
    let mut free: u32 = view.nics.iter().filter(stays).map(|n| n.free).sum();
    let (gateways, mut candidates): (Vec<_>, Vec<_>) = view
        .nics
        .iter()
        .filter(idle)
        .filter(|nic| !no_use(nic))
        .partition(|nic| nic.purpose == Purpose::Gateway);
    if view.draining {
        surplus.extend(gateways);
    }
    candidates.sort_by(|a, b| b.free_since.cmp(&a.free_since).then_with(|| b.id.cmp(&a.id)));
    for (place, nic) in (0u32..).zip(candidates) {
        if place >= evict && (free <= high || free - nic.free < low) {
            break;
        }
        free -= nic.free;
        surplus.push(nic);
    }
    surplus
}

fn delete(plan: &mut Plan, view: &PoolView, batch: u32) {
    let mut gone = Vec::new();
    for nic in view.nics.iter().filter(|n| !n.busy && n.state == NicState::Deleting) {
        if plan.due(nic.not_before.unwrap_or_default(), view.now) {
            gone.push(nic.id.clone());
        }
    }
    plan.calls(gone, batch, Action::Delete);
}
