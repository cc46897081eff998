//! A plan, and all that follows from it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::id::{InvalidValue, MacAddr};
use hostnic_core::route::{Hairpin, PodPlan, VethPlan};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::own_mtu;
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

/// The address of the node as the pod sees it.
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

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

/// The node's end of a veth takes only what comes from the pod's address. A packet is held against the way back to its
/// source, and for flows by the node's own addresses it is their mark that leads there.
const HOST_END: [(Ipv4Setting, i32); 4] = [
    (Ipv4Setting::Forwarding, 1),
    (Ipv4Setting::SendRedirects, 0),
    (Ipv4Setting::RpFilter, 1),
    (Ipv4Setting::SrcValidMark, 1),
];

/// The plan of a pod behind a veth, checked as far as the kernel's side can.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct Planned<'a> {
    pub(in crate::programmer) plan: &'a PodPlan,
    pub(super) veth: &'a VethPlan,
    /// The pod's address.
    pub(super) address: Ipv4Addr,
    /// The name of the NIC's link.
    pub(super) nic: String,
    pub(super) host_mac: MacAddr,
    pub(super) pod_mac: MacAddr,
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
        Ok(Self { plan, veth, address, nic: veth.table.link(), host_mac, pod_mac })
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

    pub(super) fn host_settings(&self) -> &'static Settings {
        &HOST_END
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

    /// What leads to the pod, by the node's end of its veth.
    pub(super) fn route_to_pod(&self, host_end: LinkIndex) -> KernelRoute {
        KernelRoute::new(self.destination(), host_end).table(self.veth.pods.number()).source(self.veth.source)
    }

    /// The node asks nobody for the pod's MAC address: it would ask in the pod's own name.
    pub(super) fn pod_neighbour(&self, host_end: LinkIndex) -> Neighbour {
        let entry = NeighbourEntry::Permanent(self.pod_mac);
        Neighbour { link: host_end, address: self.address.into(), entry }
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

    pub(super) fn pod_address(&self, pod_end: LinkIndex) -> Address {
        Address::new(pod_end, self.destination())
    }

    /// The routes in the pod.
    pub(super) fn pod_routes(&self, pod_end: LinkIndex) -> [KernelRoute; 2] {
        let next_hop = IpAddr::V4(NEXT_HOP);
        let everywhere = KernelRoute::everywhere(next_hop);
        [KernelRoute::new(next_hop.into(), pod_end), KernelRoute::new(everywhere, pod_end).via(next_hop)]
    }

    pub(super) fn node_neighbour(&self, pod_end: LinkIndex) -> Neighbour {
        let entry = NeighbourEntry::Permanent(self.host_mac);
        Neighbour { link: pod_end, address: NEXT_HOP.into(), entry }
    }

    fn destination(&self) -> ipnet::IpNet {
        IpAddr::V4(self.address).into()
    }
}

/// The Ethernet addresses of the veth of an attachment, in the node and in the pod: the same in every run, so that a
/// link that could not be marked is known all the same.
pub(super) fn macs(mark: &AttachmentMark) -> Result<(MacAddr, MacAddr), InvalidValue> {
    // A mark is written in base 32; eight of its characters are five bytes.
    let digit = |byte: u8| u64::from(if byte.is_ascii_digit() { byte - b'2' + 26 } else { byte - b'a' });
    let bits = mark.as_str().bytes().take(8).fold(0, |bits, byte| bits << 5 | digit(byte));
    let [_, _, _, a, b, c, d, e] = bits.to_be_bytes();
    let mac = |first| MacAddr::new([first, a, b, c, d, e]);
    // Both are of the sort that everybody may give.
    Ok((mac(0x0e)?, mac(0x0a)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attachment_has_ethernet_addresses_of_its_own_for_both_ends() {
        let of = |mark: &str| macs(&mark.parse().unwrap()).unwrap();
        let (host, pod) = of("abcdefgh234567abcdef");
        assert_eq!(
            (host.to_string(), pod.to_string()),
            ("0e:00:44:32:14:c7".into(), "0a:00:44:32:14:c7".into())
        );
        assert_ne!(of("abcdefga234567abcdef"), (host, pod));
    }
}
