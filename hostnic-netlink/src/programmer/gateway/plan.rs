//! Decisions: from what a node has and what its gateways need to what is to be done. Nothing here asks the kernel.

use hostnic_core::route::{Drift, GatewayPlan, OwnGateway};

use super::super::SERVED;
use super::super::order::{ANSWERS_BY_GATEWAY, FROM_GATEWAY, is_of_gateways};
use super::filter::Filter;
use crate::address::Address;
use crate::link::{Ipv4Setting, Link, LinkIndex};
use crate::route::KernelRoute;
use crate::rule::{ListedRule, Rule};

/// How a gateway NIC behaves: it forwards, speaks for its own address only, and tells pods of no shorter way. A packet
/// from a pod is held against the way back to it, which its mark leads to, where the whole node filters by it.
pub(super) const SETTINGS: [(Ipv4Setting, i32); 7] = [
    (Ipv4Setting::Forwarding, 1),
    (Ipv4Setting::SendRedirects, 0),
    (Ipv4Setting::RpFilter, 0),
    (Ipv4Setting::SrcValidMark, 1),
    (Ipv4Setting::ArpIgnore, 1),
    (Ipv4Setting::ArpAnnounce, 2),
    (Ipv4Setting::ArpNotify, 1),
];

/// What a node has of that which gateways need.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeState {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<KernelRoute>,
    pub(super) rules: Vec<ListedRule>,
    /// What our table of nftables holds.
    pub(super) filter: Filter,
    /// Whether the node forwards packets at all.
    pub(super) forwards: bool,
}

/// One thing that the plans ask for and the node does not have, or has too much. In the order in which they are to be
/// put right: a link is renamed while it is down, an address has to be there when its link is set up, as the kernel
/// announces it then, and routes need a link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference<'a> {
    /// The NIC is not in the node.
    Absent(&'a GatewayPlan),
    /// A link of ours is the gateway of no plan.
    Retired(LinkIndex, String),
    /// A rule of ours belongs to no plan.
    StrayRule(Rule),
    NotForwarding,
    Unmarked(&'a OwnGateway, LinkIndex),
    Name(&'a OwnGateway, LinkIndex, String),
    Setting(&'a OwnGateway, LinkIndex, Ipv4Setting),
    /// The address is there, and so is the route to its prefix, which is not to be.
    PrefixRoute(Address),
    Address(Address),
    Down(&'a OwnGateway, LinkIndex),
    Route(KernelRoute),
    Rule(Rule),
    /// Rules of nftables are missing, or are there for gateways that are gone.
    Filter,
}

/// How the node differs from the plans. `strays` says whether what belongs to no plan counts.
pub(super) fn differences<'a>(
    plans: &'a [GatewayPlan],
    state: &NodeState,
    strays: bool,
) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    if strays {
        found.extend(too_much(plans, state));
    }
    found.extend((!plans.is_empty() && !state.forwards).then_some(Difference::NotForwarding));
    for plan in plans {
        let link = state.links.iter().find(|link| link.mac == Some(plan.mac) && link.can_be_nic());
        match (link, &plan.own) {
            (None, _) => found.push(Difference::Absent(plan)),
            (Some(link), Some(own)) => found.extend(of_own(plan, own, link, state)),
            (Some(_), None) => {}
        }
    }
    let wanted = filter(plans, state);
    let differs = if strays { !state.filter.is_same(&wanted) } else { !wanted.is_within(&state.filter) };
    found.extend(differs.then_some(Difference::Filter));
    found
}

/// The rules of nftables for those plans whose NICs are there.
pub(super) fn filter(plans: &[GatewayPlan], state: &NodeState) -> Filter {
    let named = plans.iter().filter_map(|plan| {
        let link = state.links.iter().find(|link| link.mac == Some(plan.mac) && link.can_be_nic())?;
        let name = plan.own.as_ref().map_or(link.name.as_str(), |own| own.ifname.as_str());
        Some((plan, name))
    });
    Filter::of(named)
}

fn too_much<'a>(plans: &'a [GatewayPlan], state: &NodeState) -> Vec<Difference<'a>> {
    let planned = |link: &&Link| plans.iter().any(|plan| plan.own.is_some() && link.mac == Some(plan.mac));
    let retired = state.links.iter().filter(|link| link.gateway().is_some() && !planned(link));
    let wanted: Vec<Rule> =
        plans.iter().filter_map(|plan| Some(rules(plan, plan.own.as_ref()?))).flatten().collect();
    let ours = state.rules.iter().filter(|listed| listed.is_ours() && is_of_gateways(listed.rule.preference));
    let stray = ours.map(|listed| listed.rule.clone()).filter(|rule| !wanted.contains(rule));
    let retired = retired.map(|link| Difference::Retired(link.index, link.name.clone()));
    retired.chain(stray.map(Difference::StrayRule)).collect()
}

fn of_own<'a>(
    plan: &GatewayPlan,
    own: &'a OwnGateway,
    link: &Link,
    state: &NodeState,
) -> Vec<Difference<'a>> {
    let index = link.index;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference<'a>| {
        if differs {
            found.push(difference);
        }
    };
    note(link.gateway() != Some(own.number), Difference::Unmarked(own, index));
    note(link.name != own.ifname.as_str(), Difference::Name(own, index, link.name.clone()));
    for (setting, value) in SETTINGS {
        note(link.ipv4.get(setting) != value, Difference::Setting(own, index, setting));
    }
    let wanted = Address::new(index, plan.address).without_prefix_route();
    match state.addresses.iter().find(|a| a.link == index && a.address == plan.address) {
        None => note(true, Difference::Address(wanted)),
        Some(there) => note(there.prefix_route, Difference::PrefixRoute(*there)),
    }
    note(!link.up, Difference::Down(own, index));
    for route in routes(plan, own, index) {
        let same = |r: &&KernelRoute| {
            (r.destination, r.next_hop, r.link, r.table)
                == (route.destination, route.next_hop, route.link, route.table)
        };
        note(!state.routes.iter().any(|r| same(&r)), Difference::Route(route));
    }
    for rule in rules(plan, own) {
        note(!state.rules.iter().any(|listed| listed.rule == rule), Difference::Rule(rule));
    }
    found
}

/// The routes by a gateway: only what asks for its table goes by it.
fn routes(plan: &GatewayPlan, own: &OwnGateway, link: LinkIndex) -> [KernelRoute; 2] {
    let everywhere = KernelRoute::everywhere(own.router);
    [
        KernelRoute::new(plan.address.trunc(), link).table(own.table),
        KernelRoute::new(everywhere, link).via(own.router).onlink().table(own.table),
    ]
}

/// What the node sends from the gateway's address leaves by it, and so do answers to pods, whoever gave them; all else
/// goes as if the gateway were not there.
fn rules(plan: &GatewayPlan, own: &OwnGateway) -> [Rule; 2] {
    let address = plan.address.addr();
    [
        Rule::from(address.into(), FROM_GATEWAY, own.table),
        Rule::to(plan.address, ANSWERS_BY_GATEWAY, own.table).marked(SERVED),
    ]
}

impl Difference<'_> {
    /// This in words.
    pub(super) fn drift(&self) -> Drift {
        let of = |own: &OwnGateway| format!("gateway {}", own.ifname);
        let missing = |object: String| (object, "missing".to_owned());
        let (object, difference) = match self {
            Self::Absent(plan) => missing(format!("NIC {} of gateway {}", plan.mac, plan.address)),
            Self::Retired(_, name) => (format!("interface {name}"), "is no gateway any more".to_owned()),
            Self::StrayRule(rule) => (format!("rule {rule}"), "belongs to no gateway".to_owned()),
            Self::NotForwarding => ("net.ipv4.ip_forward".to_owned(), "is 0".to_owned()),
            Self::Unmarked(own, _) => (of(own), "our mark is missing".to_owned()),
            Self::Name(own, _, name) => (of(own), format!("named {name}")),
            Self::Setting(own, _, setting) => (of(own), format!("{} was changed", setting.name())),
            Self::PrefixRoute(address) => {
                (format!("address {}", address.address), "brings a route to its prefix".to_owned())
            }
            Self::Address(address) => missing(format!("address {}", address.address)),
            Self::Down(own, _) => (of(own), "down".to_owned()),
            Self::Route(route) => missing(format!("route {route} in table {}", route.table)),
            Self::Rule(rule) => missing(format!("rule {rule}")),
            Self::Filter => (format!("nftables table {}", Filter::table()), "was changed".to_owned()),
        };
        Drift { object, difference }
    }
}
