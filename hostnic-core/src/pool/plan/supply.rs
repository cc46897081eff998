//! What is left for the pods to come: for whoever places pods on nodes.

use crate::ledger::NicState;
use crate::policy::SubnetView;

use super::super::config::PoolConfig;
use super::super::view::{PoolView, Purpose};
use super::create::{limit, supply, taken};
use super::share::is_unused;

/// What a node has left for pods to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Supply {
    /// How many more pods could have a NIC, of those that are free, on their way in, or could be made; beyond those pods
    /// that wait by now.
    pub free: u32,
    /// Whether these are all: the node has all NICs that it may then, its subnets have no room, or the account's quota is used
    /// up. What keeps NICs from being made for a moment only does not count. Before anything is known it is false.
    pub firm: bool,
}

impl Supply {
    /// Whether nothing is free and nothing can be made.
    pub fn is_scarce(self) -> bool {
        self.firm && self.free == 0
    }

    /// What is left when so many pods more have theirs, which do not wait yet.
    pub fn after(self, pods: u32) -> Self {
        Self { free: self.free.saturating_sub(pods), ..self }
    }
}

/// What is left at this moment. `may_pass` says whether what keeps NICs from being made may end by itself soon.
pub(in super::super) fn supply_of(view: &PoolView, config: &PoolConfig, may_pass: bool) -> Supply {
    let per_nic = config.addresses_per_nic.max(1);
    let rested = view.now.since_boot().saturating_sub(config.least_cooling);
    let resting = view.nics.iter().filter(|nic| {
        let drawn = view.subnets.iter().any(|subnet| subnet.id == nic.subnet);
        nic.purpose == Purpose::Pods && nic.state == NicState::Ready && !nic.busy && drawn
    });
    let usable = resting.flat_map(|nic| &nic.cooling).filter(|(_, since)| since.since_boot() <= rested);
    let usable = u32::try_from(usable.count()).unwrap_or(u32::MAX);
    let wishes = u32::try_from(view.wishes.len()).unwrap_or(u32::MAX);
    // What pods could share, and none does, makes place.
    let unused = view.nics.iter().filter(|nic| is_unused(nic)).count();
    let taken = taken(view).saturating_sub(u32::try_from(unused).unwrap_or(u32::MAX));
    let places = limit(view, config).saturating_sub(taken).saturating_sub(wishes);
    let held = !may_pass && view.hold != super::Hold::No;
    let made = if held { 0 } else { places.min(space(&view.subnets)) };
    let free = (supply(view, per_nic) + usable)
        .saturating_add(made.saturating_mul(per_nic))
        .saturating_sub(view.waiting);
    let all = made == places || !may_pass;
    // A node without subnets of its own has what its pods ask for; how much that is, nobody knows.
    Supply { free, firm: all && !view.subnets.is_empty() && view.nic_limit.is_some() }
}

/// How many NICs the subnets can take at present.
fn space(subnets: &[SubnetView]) -> u32 {
    let usable = subnets.iter().filter(|subnet| subnet.usable());
    usable.fold(0, |sum, subnet| sum.saturating_add(subnet.room.unwrap_or(u32::MAX)))
}

/// The most NICs that pods can ever have here: `there` NICs of ours, what the subnets have room for, and no more than the
/// node and the account may have.
pub(in super::super) fn capacity(
    config: &PoolConfig,
    nic_limit: Option<u32>,
    quota: Option<u32>,
    there: u32,
    rooms: impl Iterator<Item = Option<u32>>,
) -> u32 {
    let limit = config.max_nics.min(nic_limit.unwrap_or(u32::MAX)).min(quota.unwrap_or(u32::MAX));
    let (mut room, mut known) = (0u32, false);
    for subnet in rooms {
        known = true;
        room = room.saturating_add(subnet.unwrap_or(u32::MAX));
    }
    if known { limit.min(there.saturating_add(room)) } else { limit }
}
