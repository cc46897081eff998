//! Decisions: from what a NIC has and what it should have to what is to be done. Nothing here asks the kernel.

use hostnic_core::route::Drift;

use super::super::alias::own_mtu;
use super::super::pair::of_routes;
use super::{Nic, PROXY_DELAY, State};
use crate::address::Address;
use crate::link::Ipv4Setting;
use crate::route::KernelRoute;
use crate::rule::Rule;

/// One thing that a NIC should have and does not, or has too much. In the order in which they are to be put right: an
/// address has to be there when its link is set up, as the kernel announces it then; a link that loses its last address loses
/// its routes and its answers to ARP with it, so that one that takes the place of another comes first; setting a link up brings
/// the local route of its address; routes need a link that is up; a packet finds its way at each moment where a rule goes after the one
/// in its place has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::programmer) enum Difference {
    Unmarked,
    Name(String),
    Mtu(u32),
    Setting(Ipv4Setting),
    Address(Address),
    StrayAddress(Address),
    Down,
    /// The node takes packets to the NIC's address for its own.
    LocalRoute(KernelRoute),
    ProxyDelay,
    StrayRoute(KernelRoute),
    Route(KernelRoute),
    Rule(Rule),
    StrayRule(Rule),
}

/// How `state` differs from what should be. `routes` are the node's.
pub(in crate::programmer) fn differences(
    nic: &Nic<'_>,
    state: &State,
    routes: &[KernelRoute],
) -> Vec<Difference> {
    let link = &state.link;
    let index = link.index;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    note(!nic.is_marked(link), Difference::Unmarked);
    note(link.name != nic.name, Difference::Name(link.name.clone()));
    note(link.mtu != own_mtu(link), Difference::Mtu(link.mtu));
    for (setting, value) in nic.settings {
        note(link.ipv4.get(*setting) != *value, Difference::Setting(*setting));
    }
    let wanted = nic.address(index);
    let of_ipv4 = |address: &&Address| address.address.addr().is_ipv4();
    let has_address = wanted.is_none_or(|wanted| state.addresses.contains(&wanted));
    if let Some(wanted) = wanted {
        note(!has_address, Difference::Address(wanted));
    }
    let of_plan = |address: &&Address| Some(**address) == wanted || nic.may_have(address);
    for stray in state.addresses.iter().filter(of_ipv4).filter(|address| !of_plan(address)) {
        note(true, Difference::StrayAddress(*stray));
    }
    note(!link.up, Difference::Down);
    if let Some(sender) = nic.sender {
        let local = KernelRoute::local(sender.into(), index);
        let taken = state.local.iter().any(|route| route.destination == local.destination);
        note(taken || !has_address || !link.up, Difference::LocalRoute(local));
    }
    note(state.proxy_delay != Some(PROXY_DELAY), Difference::ProxyDelay);
    let (stray, missing) = of_routes(routes, &nic.kernel_routes(index), |route| nic.has_route(route, index));
    found.extend(stray.into_iter().map(Difference::StrayRoute));
    found.extend(missing.into_iter().map(Difference::Route));
    found.extend(of_rules(nic, state));
    found
}

fn of_rules(nic: &Nic<'_>, state: &State) -> Vec<Difference> {
    let ours = state.rules.iter().filter(|listed| listed.is_ours()).map(|listed| &listed.rule);
    let stray = ours.filter(|rule| nic.concerns(rule) && !nic.rules.contains(rule));
    let missing = nic.rules.iter().filter(|rule| !state.rules.iter().any(|listed| listed.rule == **rule));
    missing.cloned().map(Difference::Rule).chain(stray.cloned().map(Difference::StrayRule)).collect()
}

impl Difference {
    /// This in words.
    pub(in crate::programmer) fn drift(&self, nic: &Nic<'_>) -> Drift {
        let itself = || format!("NIC {}", nic.name);
        let missing = |object: String| (object, "missing".to_owned());
        let (object, difference) = match self {
            Self::Unmarked => (itself(), "our mark is missing".to_owned()),
            Self::Name(name) => (itself(), format!("named {name}")),
            Self::Mtu(mtu) => (itself(), format!("MTU is {mtu}, and was another one before")),
            Self::Setting(setting) => (itself(), format!("{} was changed", setting.name())),
            Self::StrayAddress(address) => (itself(), format!("has the address {}", address.address)),
            Self::Address(address) => missing(format!("address {} of NIC {}", address.address, nic.name)),
            Self::Down => (itself(), "down".to_owned()),
            Self::LocalRoute(route) => {
                (format!("local route {}", route.destination), "keeps packets from the pod".to_owned())
            }
            Self::ProxyDelay => (itself(), "proxy_delay was changed".to_owned()),
            Self::StrayRoute(route) => {
                (format!("route {route} in table {}", route.table), "belongs to no plan".to_owned())
            }
            Self::Route(route) => missing(format!("route {route} in table {}", route.table)),
            Self::StrayRule(rule) => (format!("rule {rule}"), "belongs to no plan".to_owned()),
            Self::Rule(rule) => missing(format!("rule {rule}")),
        };
        Drift { object, difference }
    }
}
