//! What the node and its pods' namespaces tell of pods behind veths.

use std::collections::BTreeMap;

use hostnic_core::Result;
use hostnic_core::attachment::{AttachmentMark, IfName};
use hostnic_core::route::{MarkedVeth, MarkedVethEnd, NicTable, Route};

use super::super::alias::{Alias, Part};
use super::super::node::Node;
use crate::PROTOCOL;
use crate::link::LinkIndex;
use crate::route::KernelRoute;

/// All pods of which the node or a namespace has something. `ends` are the links that were found in pods.
pub(in crate::programmer) async fn veths(node: &Node, ends: Vec<MarkedVethEnd>) -> Result<Vec<MarkedVeth>> {
    let connection = node.connection().await?;
    let (links, addresses, routes) =
        futures::try_join!(connection.links(), connection.addresses(), connection.routes())?;
    let mut found: BTreeMap<AttachmentMark, MarkedVeth> = BTreeMap::new();
    for link in &links {
        let Some(alias) = Alias::of(link) else { continue };
        let veth = found.entry(alias.mark.clone()).or_insert_with(|| nothing_of(&alias.mark));
        match alias.part {
            Part::Nic => {
                let of_nic = addresses.iter().filter(|address| address.link == link.index);
                let ips = of_nic.map(|address| address.address.addr()).filter(|address| address.is_ipv4());
                veth.nic = link.mac;
                veth.table = NicTable::of_link(&link.name);
                veth.addresses = ips.collect();
                tell_routes(veth, link.index, &routes);
                veth.silenced |= alias.silenced;
            }
            Part::HostEnd => {
                veth.silenced |= alias.silenced;
                veth.host_ifname = IfName::new(&link.name).ok();
                veth.mtu = Some(link.mtu);
            }
            Part::Moved | Part::PodEnd | Part::ServiceHostEnd | Part::ServicePodEnd | Part::SharedHostEnd => {
            }
        }
    }
    for end in ends {
        let veth = found.entry(end.mark.clone()).or_insert_with(|| nothing_of(&end.mark));
        veth.pod = Some(end);
    }
    found.retain(|_, veth| veth.nic.is_some() || veth.host_ifname.is_some() || veth.pod.is_some());
    Ok(found.into_values().collect())
}

/// Sorts the routes of the NIC's table: what every pod has, and what this one has besides.
fn tell_routes(veth: &mut MarkedVeth, nic: LinkIndex, all: &[KernelRoute]) {
    let table = veth.table.map(NicTable::number);
    let ours = all.iter().filter(|route| route.protocol == PROTOCOL && route.link == nic);
    for route in ours.filter(|route| Some(route.table) == table) {
        let holds_pod = veth.addresses.iter().any(|pod| route.destination.contains(pod));
        match route.next_hop {
            Some(next_hop) if route.destination.prefix_len() == 0 => veth.gateway = Some(next_hop),
            None if holds_pod => veth.subnet = Some(route.destination),
            next_hop => veth.routes.push(Route { destination: route.destination, next_hop }),
        }
    }
}

fn nothing_of(mark: &AttachmentMark) -> MarkedVeth {
    MarkedVeth {
        mark: mark.clone(),
        nic: None,
        table: None,
        addresses: Vec::new(),
        subnet: None,
        gateway: None,
        routes: Vec::new(),
        host_ifname: None,
        mtu: None,
        pod: None,
        silenced: false,
    }
}
