//! Neighbours that are known for good, and addresses for which a link answers on behalf of others.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::id::MacAddr;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::PROTOCOL;
use crate::address::family;
use crate::connection::Connection;
use crate::link::LinkIndex;

/// The kernel's name for the neighbour table of IPv4.
const ARP_TABLE: &str = "arp_cache";

/// An entry of a link's neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// The link.
    pub link: LinkIndex,
    /// The neighbour's address.
    pub address: IpAddr,
    /// What is known about it.
    pub entry: NeighbourEntry,
}

/// What a neighbour table says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeighbourEntry {
    /// It has this Ethernet address, for ever; nobody is asked.
    Permanent(MacAddr),
    /// Who asks for it on the link is answered with the link's own Ethernet address.
    Proxy,
}

impl Neighbour {
    fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(self.address);
        message.header.ifindex = self.link.0;
        let address = match self.address {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        message.attributes.push(NeighbourAttribute::Destination(address));
        message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
        match self.entry {
            NeighbourEntry::Permanent(mac) => {
                message.header.state = NeighbourState::Permanent;
                message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
            }
            NeighbourEntry::Proxy => message.header.flags = NeighbourFlags::Proxy,
        }
        message
    }
}

/// An entry as the kernel lists it, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListedNeighbour {
    /// The entry.
    pub neighbour: Neighbour,
    /// Who made it: [`PROTOCOL`] for us.
    pub protocol: u8,
}

/// Reads an entry that is there for good; those that the kernel learned are nobody's.
fn listed(reply: &RouteNetlinkMessage) -> Option<ListedNeighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = reply else { return None };
    let (mut address, mut mac, mut protocol) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().and_then(|mac| MacAddr::new(mac).ok());
            }
            NeighbourAttribute::Protocol(number) => protocol = (*number).into(),
            _ => {}
        }
    }
    let entry = if message.header.flags.contains(NeighbourFlags::Proxy) {
        NeighbourEntry::Proxy
    } else if message.header.state == NeighbourState::Permanent {
        NeighbourEntry::Permanent(mac?)
    } else {
        return None;
    };
    let neighbour = Neighbour { link: LinkIndex(message.header.ifindex), address: address?, entry };
    Some(ListedNeighbour { neighbour, protocol })
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.address, self.link)
    }
}

impl Connection {
    /// The entries of both kinds that are there for good, of all links and both families.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer, or the list changes faster than it can be read.
    pub async fn neighbours(&self) -> Result<Vec<ListedNeighbour>> {
        let failed = |e: crate::error::KernelError| e.during("list neighbours", self.sandbox());
        let mut found = Vec::new();
        for flags in [NeighbourFlags::empty(), NeighbourFlags::Proxy] {
            let mut message = NeighbourMessage::default();
            message.header.flags = flags;
            let replies = self.dump(RouteNetlinkMessage::GetNeighbour(message), |reply| listed(&reply)).await;
            found.extend(replies.map_err(failed)?);
        }
        Ok(found)
    }

    /// How long each link waits before it answers for others, by ARP.
    ///
    /// # Errors
    /// As [`Connection::neighbours`].
    pub async fn proxy_delays(&self) -> Result<Vec<(LinkIndex, Duration)>> {
        let mut message = NeighbourTableMessage::default();
        message.header.family = AddressFamily::Inet;
        let delays =
            self.dump(RouteNetlinkMessage::GetNeighbourTable(message), |reply| proxy_delay(&reply)).await;
        delays.map_err(|e| e.during("list neighbour tables", self.sandbox()))
    }

    /// Sets how long a link waits before it answers for others, by ARP: by default up to 0.8 seconds, by chance.
    ///
    /// # Errors
    /// `NotFound` without the link.
    pub async fn set_proxy_delay(&self, link: LinkIndex, delay: Duration) -> Result<()> {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let mut message = NeighbourTableMessage::default();
        message.header.family = AddressFamily::Inet;
        message.attributes = vec![
            NeighbourTableAttribute::Name(ARP_TABLE.to_owned()),
            NeighbourTableAttribute::Parms(vec![
                NeighbourTableParameter::Ifindex(link.0),
                NeighbourTableParameter::ProxyDelay(millis),
            ]),
        ];
        let set = self.change(RouteNetlinkMessage::SetNeighbourTable(message), 0).await;
        set.map_err(|e| e.during("set proxy_delay of", link))
    }

    /// Makes the entry be there, in place of any other for that address. Idempotent.
    ///
    /// # Errors
    /// `NotFound` without the link.
    pub async fn set_neighbour(&self, neighbour: &Neighbour) -> Result<()> {
        let message = RouteNetlinkMessage::NewNeighbour(neighbour.message());
        let set = self.change(message, NLM_F_CREATE | NLM_F_REPLACE).await;
        set.map_err(|e| e.during("set neighbour", neighbour))
    }

    /// Deletes the entry. That it or its link is gone already is success.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn delete_neighbour(&self, neighbour: &Neighbour) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelNeighbour(neighbour.message()), 0).await {
            Err(e) if !e.is(Errno::ENOENT) && !e.is(Errno::ENODEV) => {
                Err(e.during("delete neighbour", neighbour))
            }
            _ => Ok(()),
        }
    }
}

/// The settings of one link; the table's own have no link.
fn proxy_delay(reply: &RouteNetlinkMessage) -> Option<(LinkIndex, Duration)> {
    let RouteNetlinkMessage::NewNeighbourTable(message) = reply else { return None };
    let parameters = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourTableAttribute::Parms(parameters) => Some(parameters),
        _ => None,
    })?;
    let link = parameters.iter().find_map(|parameter| match parameter {
        NeighbourTableParameter::Ifindex(index) => Some(LinkIndex(*index)),
        _ => None,
    })?;
    let delay = parameters.iter().find_map(|parameter| match parameter {
        NeighbourTableParameter::ProxyDelay(millis) => Some(Duration::from_millis(*millis)),
        _ => None,
    })?;
    Some((link, delay))
}
