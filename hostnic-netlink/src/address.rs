//! Addresses of links.

use std::net::IpAddr;
use std::time::Duration;

use hostnic_core::Result;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::PROTOCOL;
use crate::connection::Connection;
use crate::link::LinkIndex;

/// A lifetime without end, as the kernel says it.
const FOREVER: u32 = u32::MAX;

/// How far an address, or a route, is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// Everywhere.
    #[default]
    Global,
    /// On the link only.
    Link,
    /// On this host only.
    Host,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The link.
    pub link: LinkIndex,
    /// The address, with the length of its prefix.
    pub address: IpNet,
    /// How far it is valid.
    pub scope: Scope,
    /// Whether the kernel adds a route to the prefix by the link.
    pub prefix_route: bool,
    /// The metric of that route; `None` for the kernel's own choice, which comes before all others.
    pub metric: Option<u32>,
    /// For how much longer the kernel keeps it, in whole seconds; `None` for as long as nobody deletes it.
    pub valid_for: Option<Duration>,
}

impl Address {
    /// A global address, with a route to its prefix.
    pub fn new(link: LinkIndex, address: IpNet) -> Self {
        Self { link, address, scope: Scope::Global, prefix_route: true, metric: None, valid_for: None }
    }

    /// The same address, whose route has this metric.
    #[must_use]
    pub fn metric(self, metric: u32) -> Self {
        Self { metric: Some(metric), ..self }
    }

    /// The same address, which the kernel takes away after this time: a second at least, and rounded up to whole ones.
    #[must_use]
    pub fn valid_for(self, time: Duration) -> Self {
        Self { valid_for: Some(time), ..self }
    }

    /// The same address, valid on its link only.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The same address, without a route to its prefix.
    #[must_use]
    pub fn without_prefix_route(self) -> Self {
        Self { prefix_route: false, ..self }
    }

    fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(self.address.addr());
        message.header.prefix_len = self.address.prefix_len();
        message.header.index = self.link.0;
        message.header.scope = match self.scope {
            Scope::Global => AddressScope::Universe,
            Scope::Link => AddressScope::Link,
            Scope::Host => AddressScope::Host,
        };
        let address = self.address.addr();
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        let mut flags = AddressFlags::empty();
        if !self.prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        match self.address {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
            }
            IpNet::V4(_) => {}
            // The cloud gave the address to nobody else: no need to ask around before it can be used.
            IpNet::V6(_) => flags |= AddressFlags::Nodad,
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        message.attributes.extend(self.metric.map(AddressAttribute::RoutePriority));
        message.attributes.extend(self.valid_for.map(|time| AddressAttribute::CacheInfo(lifetime(time))));
        message
    }

    fn read(message: &AddressMessage) -> Option<Self> {
        let find =
            |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
        let local = find(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None });
        let remote = find(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None });
        let flags = message
            .attributes
            .iter()
            .find_map(|a| if let AddressAttribute::Flags(f) = a { Some(*f) } else { None });
        Some(Self {
            link: LinkIndex(message.header.index),
            address: IpNet::new(local.or(remote)?, message.header.prefix_len).ok()?,
            scope: match message.header.scope {
                AddressScope::Link => Scope::Link,
                AddressScope::Host => Scope::Host,
                _ => Scope::Global,
            },
            prefix_route: !flags.is_some_and(|flags| flags.contains(AddressFlags::Noprefixroute)),
            metric: message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::RoutePriority(metric) => Some(*metric),
                _ => None,
            }),
            valid_for: message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::CacheInfo(info) if info.ifa_valid != FOREVER => {
                    Some(Duration::from_secs(info.ifa_valid.into()))
                }
                _ => None,
            }),
        })
    }
}

impl Connection {
    /// All addresses of the namespace.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer, or the list changes faster than it can be read.
    pub async fn addresses(&self) -> Result<Vec<Address>> {
        self.list_addresses(LinkIndex(0)).await
    }

    /// The addresses of one link; none when the link is not there.
    ///
    /// # Errors
    /// As [`Connection::addresses`].
    pub async fn addresses_of(&self, link: LinkIndex) -> Result<Vec<Address>> {
        // Kernels before 4.20 do not filter.
        let mut addresses = self.list_addresses(link).await?;
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }

    async fn list_addresses(&self, link: LinkIndex) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.index = link.0;
        match self.dump(RouteNetlinkMessage::GetAddress(message), |reply| address(&reply)).await {
            Err(e) if e.is(Errno::ENODEV) => Ok(Vec::new()),
            listed => listed.map_err(|e| e.during("list addresses", self.sandbox())),
        }
    }

    /// Gives an address to a link. That the link has it already is success, and the time for which it is valid begins anew.
    ///
    /// # Errors
    /// `NotFound` without the link.
    pub async fn add_address(&self, address: &Address) -> Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address.message());
        let added = self.change(message, NLM_F_CREATE | NLM_F_REPLACE).await;
        added.map_err(|e| e.during("add address", format_args!("{} to {}", address.address, address.link)))
    }

    /// Takes an address away. That it or its link is gone already is success.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn delete_address(&self, address: &Address) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelAddress(address.message()), 0).await {
            Err(e) if !e.is(Errno::EADDRNOTAVAIL) && !e.is(Errno::ENODEV) => {
                Err(e.during("delete address", format_args!("{} of {}", address.address, address.link)))
            }
            _ => Ok(()),
        }
    }
}

fn lifetime(time: Duration) -> CacheInfo {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let seconds = u32::try_from(whole).unwrap_or(FOREVER).clamp(1, FOREVER - 1);
    let mut info = CacheInfo::default();
    info.ifa_valid = seconds;
    info.ifa_preferred = seconds;
    info
}

fn address(reply: &RouteNetlinkMessage) -> Option<Address> {
    if let RouteNetlinkMessage::NewAddress(message) = reply { Address::read(message) } else { None }
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
