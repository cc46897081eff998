//! How many NICs to make, and where.

use std::collections::BTreeMap;

use crate::ledger::NicState;
use crate::policy::{PoolPolicy, SubnetView};

use super::super::config::PoolConfig;
use super::super::view::{Hold, NicView, PoolView};
use super::{Action, Plan, Shortage, Unserved, given_up};

/// Gateways come first: pods wait for them that have an address already.
pub(super) fn gateways(plan: &mut Plan, view: &PoolView, config: &PoolConfig) {
    for subnet in &view.gateways {
        let takes = |s: &SubnetView| s.id == *subnet && !s.set_aside && s.room != Some(0);
        if view.subnets.iter().any(takes) && room(plan, view, config).is_ok() {
            plan.actions.push(Action::CreateGateway(subnet.clone()));
        }
    }
}

pub(super) fn create(
    plan: &mut Plan,
    view: &PoolView,
    config: &PoolConfig,
    policy: &dyn PoolPolicy,
    create_batch: u32,
) {
    let per_nic = config.addresses_per_nic.max(1);
    let supply = supply(view, per_nic);
    let wanted = (view.waiting + config.low).saturating_sub(supply).div_ceil(per_nic);
    plan.short = wanted > 0;
    if !plan.short || !gathered(plan, view, config) {
        return;
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
}

/// Addresses that can be leased now or soon. Those that rest are not counted: else a burst of DELs would leave the
/// pool short for the time of their cooling.
fn supply(view: &PoolView, per_nic: u32) -> u32 {
    let there: u32 = view
        .nics
        .iter()
        .filter(|nic| !nic.gateway && view.subnets.iter().any(|s| s.id == nic.subnet))
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
    there + view.creates.iter().filter(|c| !c.gateway).map(|c| c.count).sum::<u32>() * per_nic
}

/// Whether requests had time to come together, so that one call serves many.
fn gathered(plan: &mut Plan, view: &PoolView, config: &PoolConfig) -> bool {
    let arrives = |nic: &NicView| matches!(nic.state, NicState::Attaching { failures: 0, .. });
    let more_come = view.creates.iter().any(|create| create.running) || view.nics.iter().any(arrives);
    let time = if more_come { config.gather_more } else { config.gather };
    plan.due(view.unmet_since.unwrap_or(view.now).after(time), view.now)
}

fn limit(view: &PoolView, config: &PoolConfig) -> u32 {
    config.max_nics.min(view.nic_limit.unwrap_or(config.max_nics))
}

/// How many NICs may be made now; never 0.
fn room(plan: &mut Plan, view: &PoolView, config: &PoolConfig) -> Result<u32, Shortage> {
    let held = match view.hold {
        _ if view.draining => true,
        Hold::No => false,
        Hold::Until(at) => !plan.due(at, view.now),
        Hold::Unsettled => true,
    };
    if held || view.nic_limit.is_none() {
        return Err(Shortage::OnHold);
    }
    let there = u32::try_from(view.nics.len()).unwrap_or(u32::MAX);
    let planned = plan.actions.iter().filter(|action| matches!(action, Action::CreateGateway(_))).count();
    let being_made =
        view.creates.iter().map(|c| c.count).sum::<u32>() + u32::try_from(planned).unwrap_or(u32::MAX);
    match limit(view, config).saturating_sub(there.saturating_add(being_made)) {
        0 => Err(Shortage::NodeFull { limit: limit(view, config) }),
        room => Ok(room),
    }
}

/// Asks the policy once per NIC and groups its choices: one create per subnet.
fn choose(plan: &mut Plan, view: &PoolView, policy: &dyn PoolPolicy, wanted: u32, create_batch: u32) -> u32 {
    let mut subnets = view.subnets.clone();
    for action in &plan.actions {
        if let Action::CreateGateway(id) = action
            && let Some(room) = subnets.iter_mut().find(|s| s.id == *id).and_then(|s| s.room.as_mut())
        {
            *room = room.saturating_sub(1);
        }
    }
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
