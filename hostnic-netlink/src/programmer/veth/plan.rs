//! Decisions: from what is there of a pod and what should be to what is to be done. Nothing here asks the kernel.

use hostnic_core::route::{Drift, Hairpin};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Alias, Part, own_mtu};
use super::is_part;
use super::planned::{FROM_POD, PROXY_DELAY, Planned, TO_NOBODY, TO_POD};
use super::state::{PodSide, State};
use super::undo::DOOMED;
use crate::PROTOCOL;
use crate::address::Address;
use crate::link::{Ipv4Setting, Link, LinkIndex};
use crate::neighbour::{ListedNeighbour, Neighbour};
use crate::route::{KernelRoute, MAIN_TABLE};
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
    let conflict = |detail: String| {
        let subject = format!("{} in {}", plan.ifname, plan.netns);
        Err(Error::new(ErrorKind::Conflict, "set up", subject).detail(detail))
    };
    let of_nic = Alias::of(&nic).filter(|alias| alias.part == Part::Nic);
    if of_nic.as_ref().is_some_and(|alias| alias.mark != plan.mark) {
        return conflict(format!("NIC {} is another pod's; take that down first", plan.mac));
    }
    let pod_end = pod_end(planned, in_pod);
    let same_name = in_pod.iter().find(|link| link.name == plan.ifname.as_str());
    if same_name.is_some_and(|same| pod_end.is_none_or(|ours| ours.index != same.index)) {
        return conflict("the pod has an interface of that name which is not this attachment's".to_owned());
    }
    let taken = |name: &str| conflict(format!("another link of the node is named {name}; rename it"));
    if named.nic.is_some_and(|link| link.index != nic.index) {
        return taken(&planned.nic);
    }
    match named.host_end {
        Some(link) if is_host_end(planned, &link) => Ok(Beginning::Present),
        Some(link) if Alias::of(&link).is_some_and(|alias| alias.part == Part::HostEnd) => {
            Ok(Beginning::Supersede(link))
        }
        Some(link) => taken(&link.name),
        None if nic.up || of_nic.is_some() || pod_end.is_some() => Ok(Beginning::Present),
        None => Ok(Beginning::Fresh(nic, super::super::pod::loopback_up(in_pod))),
    }
}

/// The pod's end of its veth.
pub(super) fn pod_end<'a>(planned: &Planned<'_>, links: &'a [Link]) -> Option<&'a Link> {
    let unmarked = |link: &&Link| link.mac == Some(planned.pod_mac) && link.mark().is_none();
    let marked = |link: &&Link| is_part(link, &planned.plan.mark, Part::PodEnd);
    links.iter().find(marked).or_else(|| links.iter().find(unmarked))
}

/// Whether it is the node's end of the pod's veth. It is marked in the message after the one that makes it.
pub(super) fn is_host_end(planned: &Planned<'_>, link: &Link) -> bool {
    let unmarked = link.mac == Some(planned.host_mac) && link.mark().is_none();
    unmarked || is_part(link, &planned.plan.mark, Part::HostEnd)
}

/// One thing that a pod's plan asks for and the kernel does not have, or has too much. In the order in which they are to
/// be put right: an address has to be there when its link is set up, as the kernel announces it then; setting a link up
/// brings the local route of its address; routes need a link that is up; and a pod's link is set up last.
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
    StrayRule(Rule),
    Rule(Rule),
    Neighbour(Neighbour),
    /// What the pod sends to itself by a service is not known as such.
    Itself,
    /// The veth is missing, or what is left of it is to go first.
    Pair(Option<LinkIndex>),
    HostUnmarked,
    HostName(String),
    HostMac,
    HostMtu(u32),
    HostSetting(Ipv4Setting),
    HostDown,
    LoopbackDown,
    PodUnmarked,
    PodName(String),
    PodMac,
    PodMtu(u32),
    PodAddress(Address),
    PodDown,
    PodRoute(KernelRoute),
    PodNeighbour(Neighbour),
}

/// How `state` differs from the plan.
pub(super) fn differences(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let mut found = of_nic(planned, state);
    let doomed = |link: &Link| link.group == DOOMED || Alias::of(link).is_some_and(|alias| alias.silenced);
    match (&state.host_end, &state.pod_end) {
        (Some(host), Some(pod)) if !doomed(host) => {
            found.extend(of_host_end(planned, state, host));
            found.extend(of_pod(planned, state, pod));
        }
        (stale, _) => found.push(Difference::Pair(stale.as_ref().map(|link| link.index))),
    }
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
    found.extend(of_routes(state, &routes, |route| of_table(&route)));
    found.extend(of_rules(planned, state));
    found.extend(of_neighbours(&state.neighbours, planned.proxy(index)).map(Difference::Neighbour));
    let itself = planned.veth.hairpin == Hairpin::On && !state.itself;
    found.extend(itself.then_some(Difference::Itself));
    found
}

/// Routes that are missing, and those of ours among `concerned` that are not wanted.
fn of_routes(
    state: &State,
    wanted: &[KernelRoute],
    concerned: impl Fn(&KernelRoute) -> bool,
) -> Vec<Difference> {
    let same = |a: &KernelRoute, b: &KernelRoute| {
        (a.destination, a.next_hop, a.link, a.table, a.source)
            == (b.destination, b.next_hop, b.link, b.table, b.source)
    };
    let ours = state.routes.iter().filter(|route| route.protocol == PROTOCOL && concerned(route));
    let stray = ours.filter(|route| !wanted.iter().any(|wanted| same(wanted, route)));
    let missing = wanted.iter().filter(|wanted| !state.routes.iter().any(|route| same(wanted, route)));
    stray.copied().map(Difference::StrayRoute).chain(missing.copied().map(Difference::Route)).collect()
}

fn of_rules(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let wanted = planned.rules();
    let ours = state.rules.iter().filter(|listed| listed.is_ours()).map(|listed| &listed.rule);
    let stray = ours.filter(|rule| concerns(planned, rule) && !wanted.contains(rule));
    let missing = wanted.iter().filter(|rule| !state.rules.iter().any(|listed| listed.rule == **rule));
    stray.cloned().map(Difference::StrayRule).chain(missing.cloned().map(Difference::Rule)).collect()
}

/// Whether a rule of ours is about the pod.
fn concerns(planned: &Planned<'_>, rule: &Rule) -> bool {
    let address = Some(planned.pod_address(LinkIndex::LOOPBACK).address);
    let link = rule.came_in_by.as_deref();
    [TO_POD, TO_NOBODY, FROM_POD].contains(&rule.preference)
        && (link == Some(&planned.nic)
            || link == Some(planned.veth.host_ifname.as_str())
            || rule.source == address
            || rule.destination == address
            || rule.action.table() == Some(planned.veth.table.number()))
}

fn of_neighbours(there: &[ListedNeighbour], wanted: Neighbour) -> Option<Neighbour> {
    (!there.iter().any(|listed| listed.neighbour == wanted)).then_some(wanted)
}

/// What concerns the node's end of the veth.
pub(super) fn of_host_end(planned: &Planned<'_>, state: &State, link: &Link) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    note(!is_part(link, &planned.plan.mark, Part::HostEnd), Difference::HostUnmarked);
    note(link.name != planned.veth.host_ifname.as_str(), Difference::HostName(link.name.clone()));
    note(link.mac != Some(planned.host_mac), Difference::HostMac);
    note(link.mtu != planned.mtu(&state.nic), Difference::HostMtu(link.mtu));
    for (setting, value) in planned.host_settings() {
        note(link.ipv4.get(*setting) != *value, Difference::HostSetting(*setting));
    }
    note(!link.up, Difference::HostDown);
    found.extend(
        of_neighbours(&state.neighbours, planned.pod_neighbour(link.index)).map(Difference::Neighbour),
    );
    let by_it = |route: &KernelRoute| route.link == link.index;
    found.extend(of_routes(state, &[planned.route_to_pod(link.index)], by_it));
    found
}

/// What concerns the pod's namespace.
pub(super) fn of_pod(planned: &Planned<'_>, state: &State, pod: &PodSide) -> Vec<Difference> {
    let link = &pod.link;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    note(!pod.loopback_up, Difference::LoopbackDown);
    note(!is_part(link, &planned.plan.mark, Part::PodEnd), Difference::PodUnmarked);
    note(link.name != planned.plan.ifname.as_str(), Difference::PodName(link.name.clone()));
    note(link.mac != Some(planned.pod_mac), Difference::PodMac);
    note(link.mtu != planned.mtu(&state.nic), Difference::PodMtu(link.mtu));
    let address = planned.pod_address(link.index);
    note(
        !pod.addresses.iter().any(|there| there.address == address.address),
        Difference::PodAddress(address),
    );
    note(!link.up, Difference::PodDown);
    for route in planned.pod_routes(link.index) {
        let same = |there: &&KernelRoute| {
            (there.destination, there.next_hop, there.link, there.table)
                == (route.destination, route.next_hop, route.link, MAIN_TABLE)
        };
        note(!pod.routes.iter().any(|there| same(&there)), Difference::PodRoute(route));
    }
    let neighbour = of_neighbours(&pod.neighbours, planned.node_neighbour(link.index));
    found.extend(neighbour.map(Difference::PodNeighbour));
    found
}

impl Difference {
    /// This in words.
    pub(super) fn drift(&self, planned: &Planned<'_>) -> Drift {
        let nic = || format!("NIC {}", planned.nic);
        let host = || format!("interface {} of the node", planned.veth.host_ifname);
        let pod = || format!("interface {}", planned.plan.ifname);
        let missing = |object: String| (object, "missing".to_owned());
        let unmarked = || "our mark is missing".to_owned();
        let (object, difference) = match self {
            Self::NicUnmarked => (nic(), unmarked()),
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
            Self::Pair(_) => missing(pod()),
            Self::HostUnmarked => (host(), unmarked()),
            Self::HostName(name) => (host(), format!("renamed to {name}")),
            Self::HostMac => (host(), format!("MAC address is not {}", planned.host_mac)),
            Self::HostMtu(mtu) => (host(), format!("MTU is {mtu}")),
            Self::HostSetting(setting) => (host(), format!("{} was changed", setting.name())),
            Self::HostDown => (host(), "down".to_owned()),
            Self::LoopbackDown => ("interface lo".to_owned(), "down".to_owned()),
            Self::PodUnmarked => (pod(), unmarked()),
            Self::PodName(name) => (pod(), format!("renamed to {name}")),
            Self::PodMac => (pod(), format!("MAC address is not {}", planned.pod_mac)),
            Self::PodMtu(mtu) => (pod(), format!("MTU is {mtu}")),
            Self::PodAddress(address) => missing(format!("address {}", address.address)),
            Self::PodDown => (pod(), "down".to_owned()),
            Self::PodRoute(route) => missing(format!("route {route} in the pod")),
            Self::PodNeighbour(neighbour) => missing(format!("neighbour {neighbour} in the pod")),
        };
        Drift { object, difference }
    }
}
