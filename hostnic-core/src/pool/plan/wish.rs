//! NICs for single pods: which to make, to borrow, or to leave to the next one, and where a place for them is to come from.

use std::collections::BTreeSet;

use crate::id::SubnetId;
use crate::ledger::NicState;
use crate::policy::PoolPolicy;

use super::super::config::PoolConfig;
use super::super::view::{NicView, PoolView, Purpose, Want, WishView};
use super::create::{limit, places, room, subnets_left, taken};
use super::share::is_unused;
use super::{Action, Plan, Shortage, is_idle, is_left};

/// Whether attachments wait for NICs of their own on a node that has all it may.
pub(super) fn lacks_place(view: &PoolView, config: &PoolConfig) -> bool {
    (!view.wishes.is_empty() || !view.unshared.is_empty()) && taken(view) >= limit(view, config)
}

/// Decides for each attachment that waits for a particular NIC. Answers those for which the node has no place.
pub(super) fn wishes<'a>(
    plan: &mut Plan,
    view: &'a PoolView,
    config: &PoolConfig,
    policy: &dyn PoolPolicy,
) -> Vec<&'a WishView> {
    let mut without_place = Vec::new();
    let mut given = BTreeSet::new();
    for wish in &view.wishes {
        if !plan.due(wish.not_before.unwrap_or_default(), view.now) {
            continue;
        }
        let left = |nic: &&NicView| {
            wish.left.contains(&nic.id) && !nic.busy && is_left(nic) && !given.contains(&nic.id)
        };
        if let Some(nic) = view.nics.iter().find(left) {
            given.insert(nic.id.clone());
            plan.actions.push(Action::Entrust { mark: wish.mark.clone(), nic: nic.id.clone() });
            continue;
        }
        match decide(plan, view, config, policy, wish) {
            Ok(action) => plan.actions.push(action),
            Err(Shortage::NodeFull { .. }) => without_place.push(wish),
            Err(why) => plan.refused.push((wish.mark.clone(), why)),
        }
    }
    without_place
}

fn decide(
    plan: &mut Plan,
    view: &PoolView,
    config: &PoolConfig,
    policy: &dyn PoolPolicy,
    wish: &WishView,
) -> Result<Action, Shortage> {
    let mark = wish.mark.clone();
    let chosen = match &wish.want {
        Want::Existing(nic) => {
            places(plan, view, config)?;
            return Ok(Action::Lend { mark, nic: nic.clone() });
        }
        Want::Made(chosen) => chosen,
    };
    room(plan, view, config)?;
    if let Some(subnet) = chosen {
        return Ok(Action::CreateOwn { mark, subnet: subnet.clone() });
    }
    let (subnet, next) = policy.choose(&plan.policy, &subnets_left(plan, view)).ok_or(Shortage::NoSubnet)?;
    plan.policy = next;
    Ok(Action::CreateOwn { mark, subnet })
}

/// What is on its way out makes place, and what is idle can: for NICs that pods of these subnets are to share first, as each
/// serves many. Answers how many NICs that are nobody's must go for that.
pub(super) fn make_place(
    plan: &mut Plan,
    view: &PoolView,
    config: &PoolConfig,
    unshared: &[SubnetId],
    waiting: &[&WishView],
) -> u32 {
    let leaves = |nic: &&NicView| {
        matches!(nic.state, NicState::Detaching { .. } | NicState::Deleting)
            || nic.state == NicState::Ready && nic.busy && nic.held == 0
            || is_left(nic)
    };
    let spare = |nic: &&NicView| {
        // Soon, where an address rests.
        let rested = NicView { cooling: Vec::new(), free: nic.addresses, ..(*nic).clone() };
        is_unused(nic) || nic.purpose == Purpose::Pods && is_idle(&rested)
    };
    let leaving = view.nics.iter().filter(leaves).count();
    let idle = view.nics.iter().filter(spare).count();
    let full = Shortage::NodeFull { limit: limit(view, config) };
    plan.unshared.extend(unshared.iter().skip(leaving + idle).map(|subnet| (subnet.clone(), full)));
    let rest = (leaving + idle).saturating_sub(unshared.len());
    plan.refused.extend(waiting.iter().skip(rest).map(|wish| (wish.mark.clone(), full)));
    u32::try_from((unshared.len() + waiting.len()).saturating_sub(leaving)).unwrap_or(u32::MAX)
}
