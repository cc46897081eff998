//! The bridges of the VPC and the router's place on them.

use std::fs;
use std::io;
use std::path::Path;

use hostnic_core::Result;
use hostnic_core::id::{InvalidValue, MacAddr};
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, BridgeStpState, InetDevConf, InfoBridge, InfoData, InfoKind, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;

use crate::address::Address;
use crate::connection::Connection;
use crate::link::LinkIndex;
use crate::netns::Netns;

/// Settings of the VPC's namespace that keep the rest of the kernel out of its bridges: frames do not go through the
/// rules for IP, the router tells nobody of shorter ways, and bridges and ports do not talk IPv6 themselves.
const QUIET: [(&str, &str); 7] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// The link group that all ports are in. The VPC's namespace has nothing of anybody else.
const PORTS: u32 = 1;

/// Quiets the namespace as far as it goes: where /proc/sys is read-only, or the kernel lacks a part, it works too, as
/// the namespace has no rules for IP.
pub(super) async fn quiet(vpc: &Netns) -> Result<()> {
    vpc.run(|| {
        for (name, value) in QUIET {
            match fs::write(Path::new("/proc/sys").join(name), value) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(setting = name, error = %e, "not set in the VPC's namespace");
                }
                _ => {}
            }
        }
    })
    .await
}

/// The router's MAC address on the bridge of that number, the same in every run.
pub(super) fn mac(number: u16) -> Result<MacAddr, InvalidValue> {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([0x02, 0xfa, 0xb1, 0x1c, high, low])
}

/// Makes a subnet's bridge with the router's address, up and routing.
pub(super) async fn add_bridge(
    connection: &Connection,
    name: &str,
    mac: MacAddr,
    gateway: Ipv4Net,
) -> Result<LinkIndex> {
    let created =
        connection.change(RouteNetlinkMessage::NewLink(bridge(name, mac)), NLM_F_CREATE | NLM_F_EXCL).await;
    created.map_err(|e| e.during("make bridge", name))?;
    let index = connection.link_by_name(name).await?.index;
    let routing = connection.change(RouteNetlinkMessage::SetLink(up_and_routing(index)), 0).await;
    routing.map_err(|e| e.during("set up bridge", name))?;
    connection.add_address(&Address::new(index, IpNet::V4(gateway))).await?;
    Ok(index)
}

/// Makes a link a port of a bridge, up.
pub(super) async fn add_port(connection: &Connection, port: LinkIndex, bridge: LinkIndex) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = port.0;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![LinkAttribute::Controller(bridge.0), LinkAttribute::Group(PORTS)];
    let joined = connection.change(RouteNetlinkMessage::SetLink(message), 0).await;
    joined.map_err(|e| e.during("add to bridge", port))
}

/// Deletes all ports at once: one after the other the kernel takes 50 ms for each.
pub(super) async fn delete_ports(connection: &Connection) -> Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::Group(PORTS)];
    match connection.change(RouteNetlinkMessage::DelLink(message), 0).await {
        Err(e) if !e.is(Errno::ENODEV) => Err(e.during("delete", "all ports")),
        _ => Ok(()),
    }
}

/// A bridge that forwards from the first moment on, and all multicast to all ports.
fn bridge(name: &str, mac: MacAddr) -> LinkMessage {
    let mut message = LinkMessage::default();
    let settings = vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::ForwardDelay(0),
        InfoBridge::MulticastSnooping(false),
    ];
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(settings)),
        ]),
    ];
    message
}

fn up_and_routing(index: LinkIndex) -> LinkMessage {
    let mut settings = InetDevConf::default();
    settings.forwarding = 1;
    // On each bridge the router answers for its address there, not for those on the others.
    settings.arp_ignore = 1;
    let mut message = LinkMessage::default();
    message.header.index = index.0;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes =
        vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(
            settings,
        )])])];
    message
}
