//! Decisions: from what a pod has and what it should have to what is to be done. Nothing here asks the kernel.

use std::net::IpAddr;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::id::MacAddr;
use hostnic_core::route::{Drift, PodPlan};
use hostnic_core::{Error, ErrorKind, Result};

use super::alias::{Alias, Part, is_silenced};
use crate::address::Address;
use crate::link::{Link, LinkChange, LinkIndex};
use crate::route::{KernelRoute, MAIN_TABLE};

/// How a set-up begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The NIC has to be moved into the pod.
    Move,
    /// The NIC is in the pod already; the rest may be missing.
    Complete(Link),
}

/// Judges the links of a pod before anything is done to it.
pub(super) fn beginning(plan: &PodPlan, links: &[Link]) -> Result<Beginning> {
    let conflict = |detail: String| {
        let subject = format!("{} in {}", plan.ifname, plan.netns);
        Err(Error::new(ErrorKind::Conflict, "set up", subject).detail(detail))
    };
    let ours = find(&plan.mark, Some(plan.mac), links);
    if let Some(link) = ours
        && link.mac != Some(plan.mac)
    {
        return conflict(format!(
            "{} there is another NIC of this attachment; take it down first",
            link.name
        ));
    }
    let same_name = links.iter().find(|link| link.name == plan.ifname.as_str());
    match (ours, same_name) {
        (None, None) => Ok(Beginning::Move),
        (Some(ours), None) => Ok(Beginning::Complete(ours.clone())),
        (Some(ours), Some(same)) if ours.index == same.index => Ok(Beginning::Complete(ours.clone())),
        (_, Some(_)) => {
            conflict("the pod has an interface of that name which is not this attachment's".to_owned())
        }
    }
}

/// The link of an attachment: by its mark, or else, unless it carries the mark of another one, by its NIC.
pub(super) fn find<'a>(mark: &AttachmentMark, mac: Option<MacAddr>, links: &'a [Link]) -> Option<&'a Link> {
    let marked =
        |link: &&Link| Alias::of(link).is_some_and(|alias| alias.mark == *mark && alias.part == Part::Moved);
    let is_the_nic =
        |link: &&Link| mac.is_some() && link.mac == mac && link.can_be_nic() && link.mark().is_none();
    links.iter().find(marked).or_else(|| links.iter().find(is_the_nic))
}

/// What a pod has.
#[derive(Debug, Clone)]
pub(super) struct PodState {
    pub(super) link: Link,
    pub(super) loopback_up: bool,
    /// The addresses of the link.
    pub(super) addresses: Vec<Address>,
    /// The routes by the link.
    pub(super) routes: Vec<KernelRoute>,
}

/// One thing that a pod's plan asks for and its kernel does not have. In the order in which they are to be put right:
/// an address has to be there when the link is set up, as the kernel announces it then, and routes need a link that
/// is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    Mac,
    LoopbackDown,
    Unmarked,
    Name,
    Mtu(u32),
    Address(Address),
    Down,
    Route(KernelRoute),
}

/// How `state` falls short of `plan`.
pub(super) fn differences(plan: &PodPlan, state: &PodState) -> Vec<Difference> {
    let link = &state.link;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference: Difference| {
        if differs {
            found.push(difference);
        }
    };
    note(link.mac != Some(plan.mac), Difference::Mac);
    note(!state.loopback_up, Difference::LoopbackDown);
    note(link.mark().as_ref() != Some(&plan.mark) || is_silenced(link), Difference::Unmarked);
    note(link.name != plan.ifname.as_str(), Difference::Name);
    note(plan.mtu.is_some_and(|mtu| mtu != link.mtu), Difference::Mtu(link.mtu));
    let address = Address::new(link.index, plan.address);
    note(!state.addresses.iter().any(|a| a.address == plan.address), Difference::Address(address));
    note(!link.up, Difference::Down);
    for route in routes(plan, link.index) {
        let there = state
            .routes
            .iter()
            .any(|r| (r.destination, r.next_hop, r.table) == (route.destination, route.next_hop, MAIN_TABLE));
        note(!there, Difference::Route(route));
    }
    found
}

/// The routes of a plan, the default one first, none twice.
fn routes(plan: &PodPlan, link: LinkIndex) -> Vec<KernelRoute> {
    let by = |destination, next_hop: Option<IpAddr>| {
        let route = KernelRoute::new(destination, link);
        match next_hop {
            None => route,
            Some(hop) if plan.address.contains(&hop) => route.via(hop),
            Some(hop) => route.via(hop).onlink(),
        }
    };
    let mut routes = vec![by(KernelRoute::everywhere(plan.gateway), Some(plan.gateway))];
    for route in &plan.routes {
        let route = by(route.destination, route.next_hop);
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    routes
}

impl Difference {
    /// The change of the link that puts this right; `None` where it takes another request.
    pub(super) fn change<'a>(&self, plan: &'a PodPlan, alias: &'a str) -> Option<LinkChange<'a>> {
        let change = LinkChange::new();
        match self {
            Self::Unmarked => Some(change.alias(alias)),
            Self::Name => Some(change.rename(plan.ifname.as_str())),
            Self::Mtu(_) => plan.mtu.map(|mtu| change.mtu(mtu)),
            Self::Down => Some(change.up()),
            Self::Mac | Self::LoopbackDown | Self::Address(_) | Self::Route(_) => None,
        }
    }

    /// This in words.
    pub(super) fn drift(&self, plan: &PodPlan, link: &Link) -> Drift {
        let name = &plan.ifname;
        let missing = || "missing".to_owned();
        let (object, difference) = match self {
            Self::Mac => {
                let mac = link.mac.map_or("none".to_owned(), |mac| mac.to_string());
                (format!("interface {name}"), format!("MAC address is {mac}, not {}", plan.mac))
            }
            Self::LoopbackDown => ("interface lo".to_owned(), "down".to_owned()),
            Self::Unmarked => (format!("interface {name}"), "our mark is missing".to_owned()),
            Self::Name => (format!("interface {name}"), format!("renamed to {}", link.name)),
            Self::Mtu(mtu) => {
                (format!("interface {name}"), format!("MTU is {mtu}, not {}", plan.mtu.unwrap_or_default()))
            }
            Self::Address(address) => (format!("address {}", address.address), missing()),
            Self::Down => (format!("interface {name}"), "down".to_owned()),
            Self::Route(route) if route.destination.prefix_len() == 0 => {
                (format!("default route via {}", plan.gateway), missing())
            }
            Self::Route(route) => {
                let via = route.next_hop.map(|hop| format!(" via {hop}")).unwrap_or_default();
                (format!("route {}{via}", route.destination), missing())
            }
        };
        Drift { object, difference }
    }
}
