//! Decisions: from what is there of a pod and what should be to what is to be done. Nothing here asks the kernel.

use hostnic_core::route::{Drift, Hairpin};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Alias, Part, own_mtu};
use super::super::pair::{self, is_part, of_neighbours, of_routes};
use super::planned::{FROM_POD, PROXY_DELAY, Planned, TO_NOBODY, TO_POD};
use super::state::State;
use crate::address::Address;
use crate::link::{Ipv4Setting, Link};
use crate::neighbour::Neighbour;
use crate::route::KernelRoute;
use crate::rule::Rule;

/// How a set-up begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Nothing of the pod is there but the NIC, which is bare; whether the pod's loopback is up.
    Fresh(Link, bool),
    /// Something is there.
    Present,
    /// The veth's name in the node is that of an older attachment of ours.
    Supersede(Link),
}

/// The links of the node that have the names of a plan.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) nic: Option<Link>,
    pub(super) host_end: Option<Link>,
}

/// Judges what is there before anything is done: the NIC, the links that have its name and the veth's, and the pod's
/// links.
pub(super) fn beginning(
    planned: &Planned<'_>,
    nic: Link,
    named: Named,
    in_pod: &[Link],
) -> Result<Beginning> {
    let plan = planned.plan;
    let conflict =
        |detail: String| Err(Error::new(ErrorKind::Conflict, "set up", planned.subject()).detail(detail));
    let of_nic = Alias::of(&nic).filter(|alias| alias.part == Part::Nic);
    if of_nic.as_ref().is_some_and(|alias| alias.mark != plan.mark) {
        return conflict(format!("NIC {} is another pod's; take that down first", plan.mac));
    }
    if named.nic.is_some_and(|link| link.index != nic.index) {
        return conflict(format!("another link of the node is named {}; rename it", planned.nic));
    }
    match pair::beginning(&planned.pair, &planned.subject(), named.host_end, in_pod)? {
        pair::Beginning::Fresh if nic.up || of_nic.is_some() => Ok(Beginning::Present),
        pair::Beginning::Fresh => Ok(Beginning::Fresh(nic, super::super::pod::loopback_up(in_pod))),
        pair::Beginning::Present => Ok(Beginning::Present),
        pair::Beginning::Supersede(older) => Ok(Beginning::Supersede(older)),
    }
}

/// One thing that a pod's plan asks for and the kernel does not have, or has too much. In the order in which they are to
/// be put right: an address has to be there when its link is set up, as the kernel announces it then; setting a link up
/// brings the local route of its address; routes need a link that is up; a packet finds its way at each moment where a rule
/// goes after the one in its place has come; and a pod's link is set up last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    NicUnmarked,
    NicName(String),
    NicMtu(u32),
    NicSetting(Ipv4Setting),
    StrayAddress(Address),
    Address(Address),
    NicDown,
    /// The node takes the pod's packets for its own.
    LocalRoute(KernelRoute),
    ProxyDelay,
    StrayRoute(KernelRoute),
    Route(KernelRoute),
    Rule(Rule),
    StrayRule(Rule),
    Neighbour(Neighbour),
    /// What the pod sends to itself by a service is not known as such.
    Itself,
    /// Something of the veth.
    Pair(pair::Difference),
}

/// How `state` differs from the plan.
pub(super) fn differences(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let mut found = of_nic(planned, state);
    let of_pair = pair::differences(&planned.pair, planned.mtu(&state.nic), &state.pair);
    found.extend(of_pair.into_iter().map(Difference::Pair));
    found
}

/// What concerns the NIC, its table and the rules.
pub(super) fn of_nic(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let nic = &state.nic;
    let index = nic.index;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    let silenced = Alias::of(nic).is_some_and(|alias| alias.silenced);
    note(!is_part(nic, &planned.plan.mark, Part::Nic) || silenced, Difference::NicUnmarked);
    note(nic.name != planned.nic, Difference::NicName(nic.name.clone()));
    note(nic.mtu != own_mtu(nic), Difference::NicMtu(nic.mtu));
    for (setting, value) in planned.nic_settings() {
        note(nic.ipv4.get(*setting) != *value, Difference::NicSetting(*setting));
    }
    let wanted = planned.nic_address(index);
    let of_ipv4 = |address: &&Address| address.address.addr().is_ipv4();
    for stray in state.addresses.iter().filter(of_ipv4).filter(|address| **address != wanted) {
        note(true, Difference::StrayAddress(*stray));
    }
    let has_address = state.addresses.contains(&wanted);
    note(!has_address, Difference::Address(wanted));
    note(!nic.up, Difference::NicDown);
    let local = KernelRoute::local(planned.address.into(), index);
    let taken = state.local.iter().any(|route| route.destination == local.destination);
    note(taken || !has_address || !nic.up, Difference::LocalRoute(local));
    note(state.proxy_delay != Some(PROXY_DELAY), Difference::ProxyDelay);
    let routes = planned.nic_routes(index);
    let of_table = |route: &&KernelRoute| route.table == planned.veth.table.number();
    let (stray, missing) = of_routes(&state.pair.routes, &routes, |route| of_table(&route));
    found.extend(stray.into_iter().map(Difference::StrayRoute));
    found.extend(missing.into_iter().map(Difference::Route));
    found.extend(of_rules(planned, state));
    found.extend(of_neighbours(&state.pair.neighbours, planned.proxy(index)).map(Difference::Neighbour));
    let itself = planned.veth.hairpin == Hairpin::On && !state.itself;
    found.extend(itself.then_some(Difference::Itself));
    found
}

fn of_rules(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let wanted = planned.rules();
    let ours = state.rules.iter().filter(|listed| listed.is_ours()).map(|listed| &listed.rule);
    let stray = ours.filter(|rule| concerns(planned, rule) && !wanted.contains(rule));
    let missing = wanted.iter().filter(|rule| !state.rules.iter().any(|listed| listed.rule == **rule));
    missing.cloned().map(Difference::Rule).chain(stray.cloned().map(Difference::StrayRule)).collect()
}

/// Whether a rule of ours is about the pod.
fn concerns(planned: &Planned<'_>, rule: &Rule) -> bool {
    let address = Some(planned.destination());
    let link = rule.came_in_by.as_deref();
    [TO_POD, TO_NOBODY, FROM_POD].contains(&rule.preference)
        && (link == Some(&planned.nic)
            || link == Some(planned.veth.host_ifname.as_str())
            || rule.source == address
            || rule.destination == address
            || rule.action.table() == Some(planned.veth.table.number()))
}

impl Difference {
    /// This in words.
    pub(super) fn drift(&self, planned: &Planned<'_>) -> Drift {
        let nic = || format!("NIC {}", planned.nic);
        let missing = |object: String| (object, "missing".to_owned());
        let (object, difference) = match self {
            Self::NicUnmarked => (nic(), "our mark is missing".to_owned()),
            Self::NicName(name) => (nic(), format!("named {name}")),
            Self::NicMtu(mtu) => (nic(), format!("MTU is {mtu}, and was another one before")),
            Self::NicSetting(setting) => (nic(), format!("{} was changed", setting.name())),
            Self::StrayAddress(address) => (nic(), format!("has the address {}", address.address)),
            Self::Address(address) => missing(format!("address {} of NIC {}", address.address, planned.nic)),
            Self::NicDown => (nic(), "down".to_owned()),
            Self::LocalRoute(route) => {
                (format!("local route {}", route.destination), "keeps packets from the pod".to_owned())
            }
            Self::ProxyDelay => (nic(), "proxy_delay was changed".to_owned()),
            Self::StrayRoute(route) => {
                (format!("route {route} in table {}", route.table), "belongs to no plan".to_owned())
            }
            Self::Route(route) => missing(format!("route {route} in table {}", route.table)),
            Self::StrayRule(rule) => (format!("rule {rule}"), "belongs to no plan".to_owned()),
            Self::Rule(rule) => missing(format!("rule {rule}")),
            Self::Neighbour(neighbour) => missing(format!("neighbour {neighbour}")),
            Self::Itself => missing(format!("{} in the nftables set of pods", planned.address)),
            Self::Pair(difference) => return difference.drift(&planned.pair),
        };
        Drift { object, difference }
    }
}
