//! How many NICs to make, and where.

use std::collections::BTreeMap;

use crate::ledger::NicState;
use crate::policy::{PoolPolicy, SubnetView};

use super::super::config::PoolConfig;
use super::super::view::{Hold, NicView, PoolView, Purpose};
use super::{Action, Plan, Shortage, Unserved, given_up};

/// Gateways come first: pods wait for them that have an address already.
pub(super) fn gateways(plan: &mut Plan, view: &PoolView, config: &PoolConfig) {
    for subnet in &view.gateways {
        // The subnet that one pod asked for need not be the pool's; the pod has found room in it.
        let takes = view.subnets.iter().find(|s| s.id == *subnet).is_none_or(SubnetView::usable);
        if takes && room(plan, view, config).is_ok() {
            plan.actions.push(Action::CreateGateway(subnet.clone()));
        }
    }
}

/// Answers for how many NICs that pods wait for the node has no place.
pub(super) fn create(
    plan: &mut Plan,
    view: &PoolView,
    config: &PoolConfig,
    policy: &dyn PoolPolicy,
    create_batch: u32,
) -> u32 {
    let per_nic = config.addresses_per_nic.max(1);
    let supply = supply(view, per_nic);
    let wanted = (view.waiting + config.low).saturating_sub(supply).div_ceil(per_nic);
    plan.short = wanted > 0;
    if !plan.short || !gathered(plan, view, config) {
        return 0;
    }
    let (made, why) = match room(plan, view, config) {
        Err(shortage) => (0, shortage),
        Ok(room) => {
            let made = choose(plan, view, policy, wanted.min(room), create_batch);
            plan.short = made < wanted;
            (
                made,
                if made < room {
                    Shortage::NoSubnet
                } else {
                    Shortage::NodeFull { limit: limit(view, config) }
                },
            )
        }
    };
    let count = view.waiting.saturating_sub(supply + made * per_nic);
    if count > 0 {
        plan.unserved = Some(Unserved { count, reason: why });
    }
    if matches!(why, Shortage::NodeFull { .. }) { count.div_ceil(per_nic) } else { 0 }
}

/// Addresses that can be leased now or soon. Those that rest are not counted: else a burst of DELs would leave the
/// pool short for the time of their cooling.
pub(super) fn supply(view: &PoolView, per_nic: u32) -> u32 {
    let there: u32 = view
        .nics
        .iter()
        .filter(|nic| nic.purpose == Purpose::Pods && view.subnets.iter().any(|s| s.id == nic.subnet))
        .map(|nic| match nic.state {
            NicState::Ready if !nic.busy => nic.free,
            // One that is plugged in again brings with it who holds its addresses.
            NicState::Attaching { .. } if !given_up(nic) => {
                let resting = u32::try_from(nic.cooling.len()).unwrap_or(u32::MAX);
                nic.addresses.saturating_sub(nic.held).saturating_sub(resting)
            }
            _ => 0,
        })
        .sum();
    there + view.creates.iter().filter(|c| c.purpose == Purpose::Pods).map(|c| c.count).sum::<u32>() * per_nic
}

/// Whether requests had time to come together, so that one call serves many.
fn gathered(plan: &mut Plan, view: &PoolView, config: &PoolConfig) -> bool {
    let arrives = |nic: &NicView| matches!(nic.state, NicState::Attaching { failures: 0, .. });
    let more_come = view.creates.iter().any(|create| create.running) || view.nics.iter().any(arrives);
    let time = if more_come { config.gather_more } else { config.gather };
    plan.due(view.unmet_since.unwrap_or(view.now).after(time), view.now)
}

pub(super) fn limit(view: &PoolView, config: &PoolConfig) -> u32 {
    config.max_nics.min(view.nic_limit.unwrap_or(config.max_nics))
}

/// How many NICs may be made now; never 0.
pub(super) fn room(plan: &mut Plan, view: &PoolView, config: &PoolConfig) -> Result<u32, Shortage> {
    let held = match view.hold {
        Hold::Until(at) => !plan.due(at, view.now),
        Hold::No | Hold::Unsettled => false,
    };
    if held { Err(Shortage::OnHold) } else { places(plan, view, config) }
}

/// How many more NICs the node may have, whether they are made or there already; never 0.
pub(super) fn places(plan: &Plan, view: &PoolView, config: &PoolConfig) -> Result<u32, Shortage> {
    if view.draining || view.hold == Hold::Unsettled || view.nic_limit.is_none() {
        return Err(Shortage::OnHold);
    }
    match limit(view, config).saturating_sub(taken(view) + planned(plan)) {
        0 => Err(Shortage::NodeFull { limit: limit(view, config) }),
        room => Ok(room),
    }
}

/// NICs that there are, and that are being made or lent.
pub(super) fn taken(view: &PoolView) -> u32 {
    let there = u32::try_from(view.nics.len()).unwrap_or(u32::MAX);
    there.saturating_add(view.creates.iter().map(|c| c.count).sum::<u32>()).saturating_add(view.lending)
}

/// NICs for which this plan has decided before it comes to those for any pod.
fn planned(plan: &Plan) -> u32 {
    let one = |action: &&Action| {
        matches!(
            action,
            Action::CreateGateway(_)
                | Action::CreateOwn { .. }
                | Action::CreateShared(_)
                | Action::Lend { .. }
        )
    };
    u32::try_from(plan.actions.iter().filter(one).count()).unwrap_or(u32::MAX)
}

/// The subnets of the pool, less what this plan takes of their room.
pub(super) fn subnets_left(plan: &Plan, view: &PoolView) -> Vec<SubnetView> {
    let mut subnets = view.subnets.clone();
    for action in &plan.actions {
        if let Action::CreateGateway(id) | Action::CreateShared(id) | Action::CreateOwn { subnet: id, .. } =
            action
            && let Some(room) = subnets.iter_mut().find(|s| s.id == *id).and_then(|s| s.room.as_mut())
        {
            *room = room.saturating_sub(1);
        }
    }
    subnets
}

/// Asks the policy once per NIC and groups its choices: one create per subnet.
fn choose(plan: &mut Plan, view: &PoolView, policy: &dyn PoolPolicy, wanted: u32, create_batch: u32) -> u32 {
    let mut subnets = subnets_left(plan, view);
    let mut chosen: BTreeMap<usize, u32> = BTreeMap::new();
    let mut made = 0;
    while made < wanted {
        let Some((subnet, next)) = policy.choose(&plan.policy, &subnets) else { break };
        let Some(position) = subnets.iter().position(|s| s.id == subnet) else { break };
        if let Some(room) = &mut subnets[position].room {
            *room = room.saturating_sub(1);
        }
        *chosen.entry(position).or_default() += 1;
        plan.policy = next;
        made += 1;
    }
    for (position, mut count) in chosen {
        while count > 0 {
            let part = count.min(create_batch.max(1));
            plan.actions.push(Action::Create { subnet: subnets[position].id.clone(), count: part });
            count -= part;
        }
    }
    made
}
