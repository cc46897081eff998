//! Who gets which subnet.

use hostnic_core::id::SubnetId;
use k8s_openapi::jiff::Timestamp;

use super::claims::{Claim, Claimed, Claims};
use super::{ChoiceRules, NoSubnet};

/// After how many seconds a node that waited and has not said so since does not come before others any more.
const WAITS_FOR: u64 = 300;

/// What the node's annotation means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    Use(SubnetId),
    Choose,
    None(NoSubnet),
}

pub(super) fn read(annotation: Option<&str>, rules: &ChoiceRules) -> Reading {
    let value = annotation.map(str::trim).filter(|value| !value.is_empty());
    let named = value.map(|value| (value, SubnetId::new(value)));
    match named {
        Some((_, Ok(id))) if rules.subnets.is_empty() || rules.subnets.contains(&id) => Reading::Use(id),
        _ if !rules.subnets.is_empty() => Reading::Choose,
        Some((value, _)) => Reading::None(NoSubnet::Invalid { value: value.chars().take(64).collect() }),
        None => Reading::None(NoSubnet::Unset),
    }
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) created: Option<Timestamp>,
    pub(super) annotation: Option<String>,
    pub(super) version: Option<String>,
}

impl Member {
    /// The subnet whose room it takes by its annotation.
    fn takes<'a>(&self, rules: &'a ChoiceRules) -> Option<&'a SubnetId> {
        let value = self.annotation.as_deref()?.trim();
        rules.subnets.iter().find(|id| id.as_str() == value)
    }

    fn age(&self) -> (Option<Timestamp>, &str) {
        (self.created, &self.name)
    }
}

/// What is to be claimed, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) claims: Claims,
    /// The subnet for this node; `None` where it has to wait.
    pub(super) subnet: Option<SubnetId>,
}

/// Settles what `me` gets. `claims` must have been read before `nodes`: then whoever is not in the one is in the other.
pub(super) fn settle(
    claims: &Claims,
    nodes: &[Member],
    me: &Member,
    rules: &ChoiceRules,
    now: u64,
) -> Settled {
    let still = |name: &str, claim: &Claim| {
        nodes.iter().any(|node| node.name == name && node.uid == claim.uid && node.takes(rules).is_none())
    };
    let mut claims = claims.clone();
    claims.retain(|name, claim| still(name, claim));
    let mine = claims.remove(&me.name);

    let limit = usize::try_from(rules.nodes_per_subnet()).unwrap_or(usize::MAX);
    let used = |id: &SubnetId| {
        let annotated =
            nodes.iter().filter(|node| node.name != me.name && node.takes(rules) == Some(id)).count();
        annotated + claims.values().filter(|claim| claim.what == Claimed::Subnet(id.clone())).count()
    };
    let fills: Vec<(&SubnetId, usize)> = rules.subnets.iter().map(|id| (id, used(id))).collect();
    let room = |id: &SubnetId| fills.iter().any(|(other, used)| *other == id && *used < limit);
    let free: usize = fills.iter().map(|(_, used)| limit.saturating_sub(*used)).sum();
    let before_me = claims.iter().filter(|(name, claim)| {
        let waits = matches!(claim.what, Claimed::Waits(since) if now.saturating_sub(since) < WAITS_FOR);
        waits && nodes.iter().any(|node| node.name == **name && node.age() < me.age())
    });

    let kept = mine.and_then(|claim| match claim.what {
        Claimed::Subnet(id) if room(&id) => Some(id),
        _ => None,
    });
    let subnet = kept.or_else(|| {
        let emptiest = fills.iter().filter(|(_, used)| *used < limit).min_by_key(|(_, used)| *used);
        emptiest.filter(|_| free > before_me.count()).map(|(id, _)| (*id).clone())
    });
    let what = subnet.clone().map_or(Claimed::Waits(now), Claimed::Subnet);
    claims.insert(me.name.clone(), Claim { uid: me.uid.clone(), what });
    Settled { claims, subnet }
}

#[cfg(test)]
mod tests;
