//! A plan, and all that follows from it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hostnic_core::route::{Hairpin, PodPlan, VethPlan};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Part, own_mtu};
use super::super::pair::{End, Pair, macs};
use crate::address::{Address, Scope};
use crate::link::{Ipv4Setting, Link, LinkIndex};
use crate::neighbour::{Neighbour, NeighbourEntry};
use crate::route::KernelRoute;
use crate::rule::Rule;

/// What comes by the pod's NIC for the pod goes to the pod, where pods reach each other by their NICs.
pub(super) const TO_POD: u32 = 1529;
/// What comes by the pod's NIC for nobody is dropped: it would go round for ever.
pub(super) const TO_NOBODY: u32 = 1535;
/// What the pod sends leaves by its NIC.
pub(super) const FROM_POD: u32 = 1536;
/// The longest prefix of a route that is none to a single address.
pub(super) const NO_HOST_ROUTE: u8 = 31;

/// How long a NIC waits before it answers ARP for its pod.
pub(super) const PROXY_DELAY: Duration = Duration::ZERO;

type Settings = [(Ipv4Setting, i32)];

/// A NIC forwards, speaks for its own address only, and tells of no shorter way. What comes in by it may come from
/// anybody; it announces the pod's address when it is set up.
const NIC: [(Ipv4Setting, i32); 7] = nic_settings(0);
/// The same for a NIC that brings what pods of the same node send.
const HAIRPIN_NIC: [(Ipv4Setting, i32); 7] = nic_settings(1);

const fn nic_settings(accept_local: i32) -> [(Ipv4Setting, i32); 7] {
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

/// The plan of a pod behind a veth, checked as far as the kernel's side can.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct Planned<'a> {
    pub(in crate::programmer) plan: &'a PodPlan,
    pub(super) veth: &'a VethPlan,
    /// The pod's address.
    pub(super) address: Ipv4Addr,
    /// The name of the NIC's link.
    pub(super) nic: String,
    pub(super) pair: Pair<'a>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// `Unsupported` for an address of IPv6, `Invalid` for one table that is the pods' and the NIC's.
    pub(in crate::programmer) fn new(plan: &'a PodPlan, veth: &'a VethPlan) -> Result<Self> {
        let refused = |kind| Error::new(kind, "program veth", format!("{} in {}", plan.ifname, plan.netns));
        let IpAddr::V4(address) = plan.address.addr() else {
            return Err(refused(ErrorKind::Unsupported)
                .detail(format!("{} is of IPv6; pods behind a veth have addresses of IPv4", plan.address)));
        };
        if veth.table.number() == veth.pods.number() {
            return Err(refused(ErrorKind::Invalid).detail(format!(
                "table {} cannot be the NIC's and that of all pods; choose another one",
                veth.pods.number()
            )));
        }
        let (host_mac, pod_mac) = macs(&plan.mark)?;
        let pair = Pair {
            mark: &plan.mark,
            host: End { part: Part::HostEnd, name: veth.host_ifname.as_str(), mac: host_mac },
            pod: End { part: Part::PodEnd, name: plan.ifname.as_str(), mac: pod_mac },
            group: None,
            address,
            has_address: true,
            table: veth.pods.number(),
            source: Some(veth.source),
            destinations: vec![KernelRoute::everywhere(IpAddr::V4(address))],
        };
        Ok(Self { plan, veth, address, nic: veth.table.link(), pair })
    }

    /// What is set up, for people.
    pub(super) fn subject(&self) -> String {
        format!("{} in {}", self.plan.ifname, self.plan.netns)
    }

    pub(super) fn absent(&self) -> Error {
        Error::new(ErrorKind::NotFound, "find NIC", self.plan.mac)
            .detail("no link of the node has this MAC address")
    }

    /// The MTU of the pod's interface.
    pub(super) fn mtu(&self, nic: &Link) -> u32 {
        let own = own_mtu(nic);
        self.plan.mtu.unwrap_or_else(|| self.veth.mtu_at_most.map_or(own, |most| own.min(most)))
    }

    pub(super) fn nic_settings(&self) -> &'static Settings {
        match self.veth.hairpin {
            Hairpin::Off => &NIC,
            Hairpin::On => &HAIRPIN_NIC,
        }
    }

    pub(super) fn nic_address(&self, nic: LinkIndex) -> Address {
        Address::new(nic, IpAddr::V4(self.address).into()).without_prefix_route().scope(Scope::Link)
    }

    pub(super) fn proxy(&self, nic: LinkIndex) -> Neighbour {
        Neighbour { link: nic, address: self.address.into(), entry: NeighbourEntry::Proxy }
    }

    /// The routes of the NIC's table.
    pub(super) fn nic_routes(&self, nic: LinkIndex) -> Vec<KernelRoute> {
        let table = self.veth.table.number();
        let by = |destination, next_hop: Option<IpAddr>| {
            let route = KernelRoute::new(destination, nic).table(table);
            next_hop.map_or(route, |hop| route.via(hop).onlink())
        };
        let everywhere = KernelRoute::everywhere(self.plan.gateway);
        let mut routes = vec![by(self.plan.address, None), by(everywhere, Some(self.plan.gateway))];
        for route in &self.plan.routes {
            let route = by(route.destination, route.next_hop);
            if !routes.iter().any(|known| known.destination == route.destination) {
                routes.push(route);
            }
        }
        routes
    }

    pub(super) fn rules(&self) -> Vec<Rule> {
        let table = self.veth.table.number();
        let mut rules = vec![Rule::any(true, TO_NOBODY, 0).came_in_by(&self.nic).blackhole()];
        let from = Rule::from(self.destination(), FROM_POD, table);
        match self.veth.hairpin {
            Hairpin::Off => rules.push(from),
            Hairpin::On => {
                let to = Rule::to(self.destination(), TO_POD, self.veth.pods.number());
                rules.push(to.came_in_by(&self.nic).longer_than(NO_HOST_ROUTE));
                rules.push(from.came_in_by(self.veth.host_ifname.as_str()));
            }
        }
        rules
    }

    pub(super) fn destination(&self) -> ipnet::IpNet {
        IpAddr::V4(self.address).into()
    }
}
