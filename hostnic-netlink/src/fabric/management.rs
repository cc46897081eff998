//! The management network: how nodes reach the cloud's API, whatever becomes of their NICs.
//!
//! It is a bridge in the VPC's namespace that has no address there, a link to it in each node, and one outside, where
//! the API is. The nodes' ports are isolated, and what is neither to nor from the API's address is dropped: the network
//! is no way to another node or anywhere else, also where a namespace forwards packets or its routes say otherwise.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use hostnic_core::id::MacAddr;
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo, LinkMessage,
};

use super::police::{Police, Side};
use super::router;
use crate::address::Address;
use crate::connection::Connection;
use crate::link::{LinkChange, LinkIndex, VethEnd};
use crate::netns::Netns;

const OPERATION: &str = "open management network";
/// The bridge in the VPC's namespace.
const BRIDGE: &str = "mgmt";
/// What a node's link is called, and the one outside: the kernel puts the lowest free number.
const IN_NODE: &str = "mgmt%d";
const OUTSIDE: &str = "hostnic-mgmt%d";
const ALIAS: &str = "the management network of hostnic's fabric";

/// The VPC's namespace, and its rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) vpc: &'a Connection,
    pub(super) police: &'a Police,
}

/// The management network of a VPC.
#[derive(Debug)]
pub(super) struct Management {
    range: Ipv4Net,
    outside: Netns,
    bridge: LinkIndex,
    /// How many nodes have joined.
    nodes: u32,
}

impl Management {
    /// Makes the bridge and the link outside, which has the first address of `range`.
    pub(super) async fn open(place: Place<'_>, outside: Netns, range: Ipv4Net) -> Result<Self> {
        let address = address(range, 0)?;
        refuse_overlap(&outside, range).await?;
        place.vpc.create_bridge(BRIDGE).await?;
        let opened = async {
            let bridge = place.vpc.link_by_name(BRIDGE).await?.index;
            place.vpc.change_link(bridge, LinkChange::new().up()).await?;
            let member = Member { number: 0, name: OUTSIDE, address, netns: &outside };
            plug(place, bridge, member, address.addr()).await?;
            Ok(bridge)
        };
        match opened.await {
            Ok(bridge) => Ok(Self { range, outside, bridge, nodes: 0 }),
            Err(error) => {
                remove_link(place.vpc, BRIDGE).await;
                Err(error)
            }
        }
    }

    /// Takes everything away again.
    pub(super) async fn close(self, place: Place<'_>) {
        for number in 0..=self.nodes {
            unplug(place, &port(number)).await;
        }
        remove_link(place.vpc, BRIDGE).await;
    }

    /// The addresses of the network.
    pub(super) fn range(&self) -> Ipv4Net {
        self.range
    }

    /// Whether it leads to this namespace.
    pub(super) fn leads_to(&self, outside: &Netns) -> bool {
        self.outside.sandbox() == outside.sandbox()
    }

    /// The address outside.
    pub(super) fn address(&self) -> Result<Ipv4Addr> {
        address(self.range, 0).map(|address| address.addr())
    }

    /// Gives a node its link, with the next address. A node that is the outside has no need of one.
    pub(super) async fn join(&mut self, place: Place<'_>, node: &Netns) -> Result<()> {
        if self.leads_to(node) {
            return Ok(());
        }
        let number = self.nodes + 1;
        let address = address(self.range, number)?;
        let member = Member { number, name: IN_NODE, address, netns: node };
        plug(place, self.bridge, member, self.address()?).await?;
        self.nodes = number;
        Ok(())
    }
}

/// A namespace that has a link of the network: the outside has number 0, the nodes follow.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    number: u32,
    name: &'a str,
    address: Ipv4Net,
    netns: &'a Netns,
}

/// Makes a member's pair of links and the rules of its port, or leaves nothing.
async fn plug(place: Place<'_>, bridge: LinkIndex, member: Member<'_>, service: Ipv4Addr) -> Result<()> {
    let port = port(member.number);
    let side = if member.number == 0 { Side::Outside } else { Side::Node };
    let there = Connection::open(member.netns).await?;
    place.police.add_management_port(&port, side, service).await?;
    let connected = connect(place.vpc, bridge, &port, member, &there).await;
    there.close().await;
    if connected.is_err() {
        unplug(place, &port).await;
    }
    connected
}

/// Takes a member's pair of links and rules away. Nobody can do more about what stays than to hear of it.
async fn unplug(place: Place<'_>, port: &str) {
    remove_link(place.vpc, port).await;
    if let Err(error) = place.police.remove_management_port(port).await {
        tracing::warn!(port, error = %error.chain(), "rules of the management network were left behind");
    }
}

/// What a member's end on the bridge is called.
fn port(number: u32) -> String {
    format!("{BRIDGE}-{number}")
}

/// The address of the member with this number: 0 is the outside, the nodes follow.
fn address(range: Ipv4Net, number: u32) -> Result<Ipv4Net> {
    let refused = |kind| Error::new(kind, OPERATION, range);
    if range != range.trunc() || range.prefix_len() > 30 {
        return Err(refused(ErrorKind::Invalid)
            .detail("it must be a network with room for two members, as in 100.127.0.0/24"));
    }
    let next = u32::from(range.network()).checked_add(1 + number).map(Ipv4Addr::from);
    match next {
        Some(next) if range.contains(&next) && next != range.broadcast() => {
            Ok(Ipv4Net::new_assert(next, range.prefix_len()))
        }
        _ => Err(refused(ErrorKind::Exhausted)
            .detail(format_args!("there is no address for node {number}; give a wider network"))),
    }
}

/// The MAC address of the member with this number, the same in every run.
fn mac(number: u32) -> Result<MacAddr> {
    let [_, high, middle, low] = number.to_be_bytes();
    Ok(MacAddr::new([0x02, 0xfa, 0xb2, high, middle, low])?)
}

/// What is in use outside must stay reachable.
async fn refuse_overlap(outside: &Netns, range: Ipv4Net) -> Result<()> {
    let connection = Connection::open(outside).await?;
    let known = async { Ok::<_, Error>((connection.addresses().await?, connection.links().await?)) };
    let known = known.await;
    connection.close().await;
    let (addresses, links) = known?;
    let taken = addresses.iter().find(|known| match known.address {
        IpNet::V4(known) => known.contains(&range) || range.contains(&known),
        IpNet::V6(_) => false,
    });
    match taken {
        None => Ok(()),
        Some(taken) => {
            let link = links.iter().find(|l| l.index == taken.link).map_or("a link", |l| l.name.as_str());
            Err(Error::new(ErrorKind::Conflict, OPERATION, range).detail(format_args!(
                "{} is on {link} here already; give another network, or delete that link",
                taken.address
            )))
        }
    }
}

/// Makes a pair of links from the bridge to the member, which `there` leads to, and sets both up.
async fn connect(
    vpc: &Connection,
    bridge: LinkIndex,
    port: &str,
    member: Member<'_>,
    there: &Connection,
) -> Result<()> {
    let end = VethEnd { name: member.name, mac: Some(mac(member.number)?), netns: Some(member.netns) };
    vpc.create_veth(VethEnd { name: port, mac: None, netns: None }, end).await?;
    let port = vpc.link_by_name(port).await?.index;
    router::add_port(vpc, port, bridge).await?;
    if member.number != 0 {
        isolate(vpc, port).await?;
    }
    // Another fabric's may have the same MAC address, and is older.
    let links = there.links().await?.into_iter().filter(|link| link.mac == end.mac);
    let link = links.max_by_key(|link| link.index).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find link", end.name).detail("it vanished as soon as it was made")
    })?;
    without_ipv6(member.netns, link.name).await?;
    there.add_address(&Address::new(link.index, IpNet::V4(member.address))).await?;
    there.change_link(link.index, LinkChange::new().alias(ALIAS).up()).await
}

/// Keeps the kernel from talking IPv6 there by itself, as far as it goes: where /proc/sys is read-only it only makes
/// some noise.
async fn without_ipv6(netns: &Netns, link: String) -> Result<()> {
    netns
        .run(move || match fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(link, error = %e, "IPv6 stays on at a link of the management network");
            }
            _ => {}
        })
        .await
}

/// Lets a port's frames out to no other port that is isolated.
async fn isolate(vpc: &Connection, port: LinkIndex) -> Result<()> {
    let settings = InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)]);
    let mut message = LinkMessage::default();
    message.header.index = port.0;
    message.attributes = vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(settings),
    ])];
    // The kernel takes what concerns a bridge's port in this message alone.
    let set = vpc.change(RouteNetlinkMessage::NewLink(message), 0).await;
    set.map_err(|e| e.during("isolate", port))
}

async fn remove_link(vpc: &Connection, name: &str) {
    if let Ok(link) = vpc.link_by_name(name).await
        && let Err(error) = vpc.delete_link(link.index).await
    {
        tracing::warn!(link = name, error = %error.chain(), "a link of the management network was left behind");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_addresses_as_long_as_there_are_some() {
        let range: Ipv4Net = "100.127.0.0/30".parse().unwrap();
        let given = |number| address(range, number).map(|a| a.to_string()).map_err(|e| e.kind());
        assert_eq!(given(0), Ok("100.127.0.1/30".to_owned()));
        assert_eq!(given(1), Ok("100.127.0.2/30".to_owned()));
        assert_eq!(given(2), Err(ErrorKind::Exhausted));
        let kind = |range: &str| address(range.parse().unwrap(), 0).unwrap_err().kind();
        assert_eq!(kind("100.127.0.1/24"), ErrorKind::Invalid);
        assert_eq!(kind("100.127.0.0/31"), ErrorKind::Invalid);
    }
}
