//! NICs that stay in the node's namespace and that pods behind veths send by: one pod, or many that share it.
//!
//! What these pods send is routed by the NIC's own table, so that it leaves by the NIC that their addresses belong to. To ask
//! by ARP, the NIC has an address that is its own in the cloud, as that lets no other sender pass; the route by which the
//! kernel would then take packets to it for the node's own is deleted.

mod plan;
mod program;
mod state;
mod undo;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::route::{NicTable, PodsTable, Route};
use ipnet::IpNet;

use super::alias::{Alias, Part, SharedAlias, own_mtu};
use super::order::{FROM_POD, FROM_SUBNET, FROM_VLAN, TO_NOBODY, TO_POD};
use super::pair::is_part;
use crate::address::{Address, Scope};
use crate::link::{Ipv4Setting, Link, LinkIndex};
use crate::neighbour::{Neighbour, NeighbourEntry};
use crate::route::KernelRoute;
use crate::rule::Rule;
pub(super) use plan::{Difference, differences};
pub(super) use program::requests;
pub(super) use state::State;
pub(super) use undo::{addresses, bare, end};

/// The places of NICs' rules.
pub(super) const PREFERENCES: [u32; 5] = [TO_POD, TO_NOBODY, FROM_POD, FROM_SUBNET, FROM_VLAN];
/// The longest prefix of a route that is none to a single address.
pub(super) const NO_HOST_ROUTE: u8 = 31;

/// The table of the ways to VLANs. Not the main one: there the node's own routes come first, which lead to the same subnet where
/// the node's own NIC is in it, and what the node itself sends would leave in a pod's name while it has no address of its own.
pub(super) const VLANS: u32 = PodsTable::TAKEN[1];
/// The metric of the route of an address that the node has by DHCP on a NIC that pods share: after any route of the operator's to
/// the same subnet.
pub(super) const LEASED: u32 = 10_400;

/// How long a NIC waits before it answers ARP for pods.
pub(super) const PROXY_DELAY: Duration = Duration::ZERO;

pub(super) type Settings = [(Ipv4Setting, i32)];

/// A NIC forwards, speaks for its own address only, and tells of no shorter way. What comes in by it may come from
/// anybody; it announces its address when it is set up.
pub(super) const ALONE: [(Ipv4Setting, i32); 7] = settings(0);
/// The same for a NIC that brings what pods of the same node send.
pub(super) const HAIRPIN: [(Ipv4Setting, i32); 7] = settings(1);

const fn settings(accept_local: i32) -> [(Ipv4Setting, i32); 7] {
    [
        (Ipv4Setting::Forwarding, 1),
        (Ipv4Setting::SendRedirects, 0),
        (Ipv4Setting::RpFilter, 0),
        (Ipv4Setting::AcceptLocal, accept_local),
        (Ipv4Setting::ArpIgnore, 1),
        (Ipv4Setting::ArpAnnounce, 2),
        (Ipv4Setting::ArpNotify, 1),
    ]
}

/// Whose a NIC is, as is written on it.
#[derive(Debug, Clone)]
pub(super) enum Owner<'a> {
    /// One pod's.
    Pod(&'a AttachmentMark),
    /// That of pods which share it.
    Shared,
}

/// A NIC as it is to be.
#[derive(Debug, Clone)]
pub(super) struct Nic<'a> {
    pub(super) owner: Owner<'a>,
    /// The name of its link.
    pub(super) name: String,
    pub(super) settings: &'static Settings,
    /// The address that it asks by ARP from; none where nobody needs it to ask.
    pub(super) sender: Option<Ipv4Addr>,
    pub(super) table: NicTable,
    /// The routes of ours in its table.
    pub(super) routes: Vec<Route>,
    /// The subnet, where it is a VLAN: the way there is in a table of its own, and the node may have an address on the NIC.
    pub(super) vlan: Option<IpNet>,
    pub(super) rules: Vec<Rule>,
    /// From where what leaves by it comes: such rules of ours are about this NIC,
    pub(super) from: IpNet,
    /// and so are those about this link besides.
    pub(super) veth: Option<&'a str>,
}

impl Nic<'_> {
    pub(super) fn is_marked(&self, link: &Link) -> bool {
        match &self.owner {
            Owner::Pod(mark) => {
                let silenced = Alias::of(link).is_some_and(|alias| alias.silenced);
                is_part(link, mark, Part::Nic) && !silenced
            }
            Owner::Shared => SharedAlias::of(link).is_some_and(|shared| shared.table == self.table),
        }
    }

    /// What is to be written on the link.
    pub(super) fn alias(&self, link: &Link) -> String {
        match &self.owner {
            Owner::Pod(mark) => Alias::of_part(mark, Part::Nic, Some(own_mtu(link))).to_string(),
            Owner::Shared => SharedAlias { table: self.table }.to_string(),
        }
    }

    pub(super) fn address(&self, link: LinkIndex) -> Option<Address> {
        let of = |sender| Address::new(link, IpAddr::V4(sender).into());
        self.sender.map(|sender| of(sender).without_prefix_route().scope(Scope::Link))
    }

    /// All routes of ours that lead to it.
    pub(super) fn kernel_routes(&self, link: LinkIndex) -> Vec<KernelRoute> {
        let by = |route: &Route| {
            let by_link = KernelRoute::new(route.destination, link).table(self.table.number());
            route.next_hop.map_or(by_link, |hop| by_link.via(hop).onlink())
        };
        let vlan = self.vlan.map(|subnet| KernelRoute::new(subnet, link).table(VLANS));
        self.routes.iter().map(by).chain(vlan).collect()
    }

    /// Whether a route of ours is about this NIC.
    fn has_route(&self, route: &KernelRoute, link: LinkIndex) -> bool {
        let to_vlan = route.link == link || Some(route.destination) == self.vlan;
        route.table == self.table.number() || route.table == VLANS && to_vlan
    }

    /// Whether the NIC may have this address beside that which it asks from: the node has it for a while.
    fn may_have(&self, address: &Address) -> bool {
        self.vlan.is_some() && is_leased(address)
    }

    /// Whether a rule of ours is about this NIC.
    fn concerns(&self, rule: &Rule) -> bool {
        let from = Some(self.from);
        let link = rule.came_in_by.as_deref();
        PREFERENCES.contains(&rule.preference)
            && (link == Some(&self.name)
                || (self.veth.is_some() && link == self.veth)
                || rule.source == from
                || rule.destination == from
                || rule.action.table() == Some(self.table.number()))
    }
}

/// The routes of a NIC's table: to its subnet, by its router, and those others that lead to anywhere else.
pub(super) fn routes(subnet: IpNet, gateway: IpAddr, others: &[Route]) -> Vec<Route> {
    let default = Route { destination: KernelRoute::everywhere(gateway), next_hop: Some(gateway) };
    let mut routes = vec![Route { destination: subnet.trunc(), next_hop: None }, default];
    for route in others {
        let destination = route.destination.trunc();
        if !routes.iter().any(|known| known.destination == destination) {
            routes.push(Route { destination, next_hop: route.next_hop });
        }
    }
    routes
}

/// Whether it is an address of the node's own on a NIC that pods share: no other that we give has a time.
pub(super) fn is_leased(address: &Address) -> bool {
    address.valid_for.is_some()
}

/// What drops that which comes by the NIC of that name for nobody.
pub(super) fn drops_strays(name: &str) -> Rule {
    Rule::any(true, TO_NOBODY, 0).came_in_by(name).blackhole()
}

/// The NIC's answer to ARP for a pod.
pub(super) fn answer_for(pod: Ipv4Addr, link: LinkIndex) -> Neighbour {
    Neighbour { link, address: pod.into(), entry: NeighbourEntry::Proxy }
}
