//! NICs that pods share: which to make, and which to give back.

use crate::id::{NicId, SubnetId};
use crate::ledger::NicState;

use super::super::config::PoolConfig;
use super::super::view::{Hold, NicView, PoolView, Purpose};
use super::create::room;
use super::{Action, Plan, Shortage, is_idle};

/// Decides for each subnet in which pods lack a NIC to share. Answers those for which the node has no place.
pub(super) fn share(plan: &mut Plan, view: &PoolView, config: &PoolConfig) -> Vec<SubnetId> {
    let mut without_place = Vec::new();
    for subnet in &view.unshared {
        match room(plan, view, config) {
            Ok(_) => plan.actions.push(Action::CreateShared(subnet.clone())),
            Err(Shortage::NodeFull { .. }) => without_place.push(subnet.clone()),
            Err(why) => plan.unshared.push((subnet.clone(), why)),
        }
    }
    without_place
}

/// Whether pods could share the NIC, and none does.
pub(super) fn is_unused(nic: &NicView) -> bool {
    nic.purpose == Purpose::Shared && is_idle(nic)
}

/// Whether the NIC is of no use to pods, and none has it any more.
pub(super) fn is_useless(nic: &NicView, view: &PoolView) -> bool {
    nic.purpose == Purpose::Shared
        && nic.state == NicState::Quarantined
        && nic.held == 0
        && view.hold != Hold::Unsettled
}

/// The NICs without pods that are to go: those whose time is over, those beside another one in their subnet, and as many
/// as are to make place, the one first that has been without pods for longest.
pub(super) fn surplus(plan: &mut Plan, view: &PoolView, config: &PoolConfig, evict: u32) -> Vec<NicId> {
    if view.hold == Hold::Unsettled {
        return Vec::new();
    }
    let mut unused: Vec<&NicView> = view.nics.iter().filter(|nic| is_unused(nic)).collect();
    unused.sort_by_key(|nic| (nic.since, &nic.id));
    let mut surplus = Vec::new();
    for (place, nic) in (0u32..).zip(unused) {
        let evicted = place < evict || view.draining || has_twin(nic, view);
        if evicted || plan.due(nic.since.after(config.free_period), view.now) {
            surplus.push(nic.id.clone());
        }
    }
    surplus
}

/// Whether another NIC does for the same pods.
fn has_twin(nic: &NicView, view: &PoolView) -> bool {
    let twin = |other: &&NicView| {
        other.purpose == Purpose::Shared
            && other.state == NicState::Ready
            && !other.busy
            && other.subnet == nic.subnet
            && (other.held > 0 || other.id < nic.id)
    };
    view.nics.iter().filter(|other| other.id != nic.id).any(|other| twin(&other))
}
