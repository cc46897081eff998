//! Neighbours that are known for good, and addresses for which a link answers on behalf of others.

use std::fmt;
use std::net::IpAddr;

use hostnic_core::Result;
use hostnic_core::id::MacAddr;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use nix::errno::Errno;

use crate::PROTOCOL;
use crate::address::family;
use crate::connection::Connection;
use crate::link::LinkIndex;

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

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.address, self.link)
    }
}

impl Connection {
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
