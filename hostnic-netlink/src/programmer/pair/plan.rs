//! Decisions: from what is there of a veth and what should be to what is to be done. Nothing here asks the kernel.

use hostnic_core::route::Drift;
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::Alias;
use super::{Pair, PodSide, State, is_doomed, is_part};
use crate::PROTOCOL;
use crate::address::Address;
use crate::link::{Ipv4Setting, Link, LinkIndex};
use crate::neighbour::{ListedNeighbour, Neighbour};
use crate::route::{KernelRoute, MAIN_TABLE};

/// How a set-up begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::programmer) enum Beginning {
    /// Nothing of the veth is there.
    Fresh,
    /// Something is there.
    Present,
    /// Its name in the node is that of an older attachment of ours.
    Supersede(Link),
}

/// Judges what is there before anything is done: the node's link that has the veth's name, and the pod's links.
/// `subject` is what is set up, for people.
pub(in crate::programmer) fn beginning(
    pair: &Pair<'_>,
    subject: &str,
    named: Option<Link>,
    in_pod: &[Link],
) -> Result<Beginning> {
    let conflict =
        |detail: String| Err(Error::new(ErrorKind::Conflict, "set up", subject.to_owned()).detail(detail));
    let pod_end = pair.pod_end(in_pod);
    let same_name = in_pod.iter().find(|link| link.name == pair.pod.name);
    if same_name.is_some_and(|same| pod_end.is_none_or(|ours| ours.index != same.index)) {
        return conflict(format!(
            "the pod has an interface {} which is not this attachment's",
            pair.pod.name
        ));
    }
    match named {
        Some(link) if pair.is_host_end(&link) => Ok(Beginning::Present),
        Some(link) if Alias::of(&link).is_some_and(|alias| alias.part.is_host_end()) => {
            Ok(Beginning::Supersede(link))
        }
        Some(link) => conflict(format!("another link of the node is named {}; rename it", link.name)),
        None if pod_end.is_some() => Ok(Beginning::Present),
        None => Ok(Beginning::Fresh),
    }
}

/// One thing that a veth should have and does not, or has too much. In the order in which they are to be put right:
/// routes need a link that is up, and a pod's link is set up last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::programmer) enum Difference {
    /// The veth is missing, or what is left of it is to go first.
    Absent(Option<LinkIndex>),
    HostUnmarked,
    HostName(String),
    HostMac,
    HostMtu(u32),
    HostGroup,
    HostSetting(Ipv4Setting),
    HostDown,
    HostNeighbour(Neighbour),
    StrayRoute(KernelRoute),
    Route(KernelRoute),
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

/// How `state` differs from what should be.
pub(in crate::programmer) fn differences(pair: &Pair<'_>, mtu: u32, state: &State) -> Vec<Difference> {
    match (&state.host_end, &state.pod_end) {
        (Some(host), Some(pod)) if !is_doomed(host) => {
            let mut found = of_host_end(pair, mtu, state, host);
            found.extend(of_pod(pair, mtu, pod));
            found
        }
        (stale, _) => vec![Difference::Absent(stale.as_ref().map(|link| link.index))],
    }
}

fn of_host_end(pair: &Pair<'_>, mtu: u32, state: &State, link: &Link) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    note(Alias::of(link) != Some(pair.host_alias()), Difference::HostUnmarked);
    note(link.name != pair.host.name, Difference::HostName(link.name.clone()));
    note(link.mac != Some(pair.host.mac), Difference::HostMac);
    note(link.mtu != mtu, Difference::HostMtu(link.mtu));
    note(pair.group.is_some_and(|group| group != link.group), Difference::HostGroup);
    for (setting, value) in pair.host_settings() {
        note(link.ipv4.get(*setting) != *value, Difference::HostSetting(*setting));
    }
    note(!link.up, Difference::HostDown);
    let neighbour = of_neighbours(&state.neighbours, pair.pod_neighbour(link.index));
    found.extend(neighbour.map(Difference::HostNeighbour));
    let by_it = |route: &KernelRoute| route.link == link.index;
    let (stray, missing) = of_routes(&state.routes, &[pair.route_to_pod(link.index)], by_it);
    found.extend(stray.into_iter().map(Difference::StrayRoute));
    found.extend(missing.into_iter().map(Difference::Route));
    found
}

fn of_pod(pair: &Pair<'_>, mtu: u32, pod: &PodSide) -> Vec<Difference> {
    let link = &pod.link;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    note(!pod.loopback_up, Difference::LoopbackDown);
    note(!is_part(link, pair.mark, pair.pod.part), Difference::PodUnmarked);
    note(link.name != pair.pod.name, Difference::PodName(link.name.clone()));
    note(link.mac != Some(pair.pod.mac), Difference::PodMac);
    note(link.mtu != mtu, Difference::PodMtu(link.mtu));
    if let Some(address) = pair.pod_address(link.index) {
        let there = pod.addresses.iter().any(|there| there.address == address.address);
        note(!there, Difference::PodAddress(address));
    }
    note(!link.up, Difference::PodDown);
    for route in pair.pod_routes(link.index) {
        let same = |there: &&KernelRoute| {
            (there.destination, there.next_hop, there.link, there.table)
                == (route.destination, route.next_hop, route.link, MAIN_TABLE)
        };
        note(!pod.routes.iter().any(|there| same(&there)), Difference::PodRoute(route));
    }
    let neighbour = of_neighbours(&pod.neighbours, pair.node_neighbour(link.index));
    found.extend(neighbour.map(Difference::PodNeighbour));
    found
}

/// Routes of ours among `concerned` that are not wanted, and those that are missing.
pub(in crate::programmer) fn of_routes(
    there: &[KernelRoute],
    wanted: &[KernelRoute],
    concerned: impl Fn(&KernelRoute) -> bool,
) -> (Vec<KernelRoute>, Vec<KernelRoute>) {
    let same = |a: &KernelRoute, b: &KernelRoute| {
        (a.destination, a.next_hop, a.link, a.table, a.source)
            == (b.destination, b.next_hop, b.link, b.table, b.source)
    };
    let ours = there.iter().filter(|route| route.protocol == PROTOCOL && concerned(route));
    let stray = ours.filter(|route| !wanted.iter().any(|wanted| same(wanted, route)));
    let missing = wanted.iter().filter(|wanted| !there.iter().any(|route| same(wanted, route)));
    (stray.copied().collect(), missing.copied().collect())
}

/// An entry that is wanted, where it is missing.
pub(in crate::programmer) fn of_neighbours(
    there: &[ListedNeighbour],
    wanted: Neighbour,
) -> Option<Neighbour> {
    (!there.iter().any(|listed| listed.neighbour == wanted)).then_some(wanted)
}

impl Difference {
    /// This in words.
    pub(in crate::programmer) fn drift(&self, pair: &Pair<'_>) -> Drift {
        let host = || format!("interface {} of the node", pair.host.name);
        let pod = || format!("interface {}", pair.pod.name);
        let missing = |object: String| (object, "missing".to_owned());
        let unmarked = || "our mark is missing".to_owned();
        let (object, difference) = match self {
            Self::Absent(_) => missing(pod()),
            Self::HostUnmarked => (host(), unmarked()),
            Self::HostName(name) => (host(), format!("renamed to {name}")),
            Self::HostMac => (host(), format!("MAC address is not {}", pair.host.mac)),
            Self::HostMtu(mtu) => (host(), format!("MTU is {mtu}")),
            Self::HostGroup => (host(), format!("not in group {}", pair.group.unwrap_or_default())),
            Self::HostSetting(setting) => (host(), format!("{} was changed", setting.name())),
            Self::HostDown => (host(), "down".to_owned()),
            Self::HostNeighbour(neighbour) => missing(format!("neighbour {neighbour}")),
            Self::StrayRoute(route) => {
                (format!("route {route} in table {}", route.table), "belongs to no plan".to_owned())
            }
            Self::Route(route) => missing(format!("route {route} in table {}", route.table)),
            Self::LoopbackDown => ("interface lo".to_owned(), "down".to_owned()),
            Self::PodUnmarked => (pod(), unmarked()),
            Self::PodName(name) => (pod(), format!("renamed to {name}")),
            Self::PodMac => (pod(), format!("MAC address is not {}", pair.pod.mac)),
            Self::PodMtu(mtu) => (pod(), format!("MTU is {mtu}")),
            Self::PodAddress(address) => missing(format!("address {}", address.address)),
            Self::PodDown => (pod(), "down".to_owned()),
            Self::PodRoute(route) => missing(format!("route {route} in the pod")),
            Self::PodNeighbour(neighbour) => missing(format!("neighbour {neighbour} in the pod")),
        };
        Drift { object, difference }
    }
}
