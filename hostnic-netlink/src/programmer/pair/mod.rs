//! Veths between a pod and its node.
//!
//! Nobody is asked by ARP on them: each end knows the other's MAC address, and the pod sends to the node by an address
//! that no link has.

mod doomed;
mod plan;
mod program;
mod setup;
mod state;

use std::net::{IpAddr, Ipv4Addr};

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::id::{InvalidValue, MacAddr};
use ipnet::IpNet;

use super::alias::{Alias, Part};
use crate::address::Address;
use crate::link::{Ipv4Setting, Link, LinkIndex};
use crate::neighbour::{Neighbour, NeighbourEntry};
use crate::route::KernelRoute;
pub(super) use doomed::{delete_doomed, delete_with_doomed, doom, is_doomed, put_aside, unless_gone};
pub(super) use plan::{Beginning, Difference, beginning, differences, of_neighbours, of_routes};
pub(super) use program::{Programming, Requests, changed, in_order, name_taken};
pub(super) use state::{PodSide, State};

/// The address of the node as the pod sees it.
pub(super) const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The node's end takes only what comes from the pod's address. A packet is held against the way back to its source, and
/// for flows by the node's own addresses it is their mark that leads there.
const HOST_END: [(Ipv4Setting, i32); 4] = [
    (Ipv4Setting::Forwarding, 1),
    (Ipv4Setting::SendRedirects, 0),
    (Ipv4Setting::RpFilter, 1),
    (Ipv4Setting::SrcValidMark, 1),
];

/// A veth as it is to be, but for its MTU, which may be that of a NIC.
#[derive(Debug, Clone)]
pub(super) struct Pair<'a> {
    pub(super) mark: &'a AttachmentMark,
    pub(super) host: End<'a>,
    pub(super) pod: End<'a>,
    /// The group of the node's end; `None` where it is nobody's business.
    pub(super) group: Option<u32>,
    /// The pod's address.
    pub(super) address: Ipv4Addr,
    /// Whether the pod has its address on this link.
    pub(super) has_address: bool,
    /// The table of the route to the pod.
    pub(super) table: u32,
    /// The source of what the node itself sends to the pod; `None` leaves the choice to the kernel.
    pub(super) source: Option<IpAddr>,
    /// Where the pod sends to by it.
    pub(super) destinations: Vec<IpNet>,
}

/// One end of a veth.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) part: Part,
    pub(super) name: &'a str,
    pub(super) mac: MacAddr,
}

impl Pair<'_> {
    pub(super) fn host_settings(&self) -> &'static [(Ipv4Setting, i32)] {
        &HOST_END
    }

    /// What is written on the node's end.
    pub(super) fn host_alias(&self) -> Alias {
        let alias = Alias::of_part(self.mark, self.host.part, None);
        Alias { address: (self.host.part == Part::SharedHostEnd).then_some(self.address), ..alias }
    }

    /// What leads to the pod.
    pub(super) fn route_to_pod(&self, host_end: LinkIndex) -> KernelRoute {
        let route = KernelRoute::new(self.destination(), host_end).table(self.table);
        self.source.map_or(route, |source| route.source(source))
    }

    /// The node asks nobody for the pod's MAC address: it would ask in the pod's own name.
    pub(super) fn pod_neighbour(&self, host_end: LinkIndex) -> Neighbour {
        let entry = NeighbourEntry::Permanent(self.pod.mac);
        Neighbour { link: host_end, address: self.address.into(), entry }
    }

    pub(super) fn pod_address(&self, pod_end: LinkIndex) -> Option<Address> {
        self.has_address.then(|| Address::new(pod_end, self.destination()))
    }

    /// The routes in the pod, that to the node first.
    pub(super) fn pod_routes(&self, pod_end: LinkIndex) -> Vec<KernelRoute> {
        let next_hop = IpAddr::V4(NEXT_HOP);
        let by_node = self.destinations.iter().map(|destination| {
            let route = KernelRoute::new(*destination, pod_end).via(next_hop);
            // Where the link has no address the kernel would choose one of another.
            if self.has_address { route } else { route.source(self.address.into()) }
        });
        std::iter::once(KernelRoute::new(next_hop.into(), pod_end)).chain(by_node).collect()
    }

    pub(super) fn node_neighbour(&self, pod_end: LinkIndex) -> Neighbour {
        let entry = NeighbourEntry::Permanent(self.host.mac);
        Neighbour { link: pod_end, address: NEXT_HOP.into(), entry }
    }

    /// Whether it is the node's end. It is marked in the message after the one that makes it.
    pub(super) fn is_host_end(&self, link: &Link) -> bool {
        let unmarked = link.mac == Some(self.host.mac) && link.mark().is_none();
        unmarked || is_part(link, self.mark, self.host.part)
    }

    /// The pod's end.
    pub(super) fn pod_end<'l>(&self, links: &'l [Link]) -> Option<&'l Link> {
        let unmarked = |link: &&Link| link.mac == Some(self.pod.mac) && link.mark().is_none();
        let marked = |link: &&Link| is_part(link, self.mark, self.pod.part);
        links.iter().find(marked).or_else(|| links.iter().find(unmarked))
    }

    fn destination(&self) -> IpNet {
        IpAddr::V4(self.address).into()
    }
}

/// Whether `link` carries the mark as that part of an attachment.
pub(super) fn is_part(link: &Link, mark: &AttachmentMark, part: Part) -> bool {
    Alias::of(link).is_some_and(|alias| alias.mark == *mark && alias.part == part)
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
