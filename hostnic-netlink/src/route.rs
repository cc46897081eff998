//! Routes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostnic_core::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::PROTOCOL;
use crate::address::family;
use crate::connection::Connection;
use crate::link::LinkIndex;

/// The table that is looked into when no rule says otherwise.
pub const MAIN_TABLE: u32 = 254;

/// The table of what is delivered to the host itself, which is looked into before all others.
pub const LOCAL_TABLE: u32 = 255;

/// Who makes the routes that come with an address (RTPROT_KERNEL).
const BY_THE_KERNEL: u8 = 2;

/// What becomes of packets to a route's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// They leave by the link.
    Unicast,
    /// They are delivered to the host itself.
    Local,
}

/// A route to one destination, by one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelRoute {
    /// Where to.
    pub destination: IpNet,
    /// What becomes of packets to there.
    pub kind: RouteKind,
    /// By which neighbour; `None` for what is on the link.
    pub next_hop: Option<IpAddr>,
    /// By which link.
    pub link: LinkIndex,
    /// Whether the neighbour counts as reachable on the link even when no prefix says so.
    pub onlink: bool,
    /// The source of what the host itself sends there; `None` leaves the choice to the kernel.
    pub source: Option<IpAddr>,
    /// The table that it is in.
    pub table: u32,
    /// Who made it: [`PROTOCOL`] for us.
    pub protocol: u8,
}

impl KernelRoute {
    /// A route of ours in the main table to what is on the link.
    pub fn new(destination: IpNet, link: LinkIndex) -> Self {
        Self {
            destination: destination.trunc(),
            kind: RouteKind::Unicast,
            next_hop: None,
            link,
            onlink: false,
            source: None,
            table: MAIN_TABLE,
            protocol: PROTOCOL,
        }
    }

    /// The route that the kernel makes for an address of the host.
    pub fn local(address: IpAddr, link: LinkIndex) -> Self {
        let route = Self::new(address.into(), link).table(LOCAL_TABLE);
        Self { kind: RouteKind::Local, protocol: BY_THE_KERNEL, ..route }
    }

    /// The destination of a default route, of the family of `address`.
    pub fn everywhere(address: IpAddr) -> IpNet {
        match address {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        }
    }

    /// The same route by a neighbour.
    #[must_use]
    pub fn via(self, next_hop: IpAddr) -> Self {
        Self { next_hop: Some(next_hop), ..self }
    }

    /// The same route, whose neighbour counts as reachable on the link.
    #[must_use]
    pub fn onlink(self) -> Self {
        Self { onlink: true, ..self }
    }

    /// The same route, with the source of what the host itself sends there.
    #[must_use]
    pub fn source(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same route in another table.
    #[must_use]
    pub fn table(self, table: u32) -> Self {
        Self { table, ..self }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination.addr());
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.kind = self.kind.number();
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.header.scope = match (self.kind, self.next_hop, self.destination) {
            (RouteKind::Local, _, IpNet::V4(_)) => RouteScope::Host,
            (RouteKind::Unicast, None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        if self.onlink {
            message.header.flags = RouteFlags::Onlink;
        }
        message.attributes.push(RouteAttribute::Table(self.table));
        message.attributes.push(RouteAttribute::Oif(self.link.0));
        if self.destination.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(self.destination.addr().into()));
        }
        message.attributes.extend(self.next_hop.map(|hop| RouteAttribute::Gateway(hop.into())));
        message.attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        message
    }

    /// Reads a route of one link; other sorts of routes are not ours.
    fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let kind = match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            _ => return None,
        };
        let zero = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let (mut destination, mut next_hop, mut source) = (zero, None, None);
        let (mut link, mut table) = (None, u32::from(header.table));
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Gateway(address) => next_hop = ip(address),
                RouteAttribute::PrefSource(address) => source = ip(address),
                RouteAttribute::Oif(index) => link = Some(LinkIndex(*index)),
                RouteAttribute::Table(number) => table = *number,
                _ => {}
            }
        }
        Some(Self {
            destination: IpNet::new(destination, header.destination_prefix_length).ok()?,
            kind,
            source,
            next_hop,
            link: link?,
            onlink: header.flags.contains(RouteFlags::Onlink),
            table,
            protocol: header.protocol.into(),
        })
    }
}

impl RouteKind {
    fn number(self) -> RouteType {
        match self {
            Self::Unicast => RouteType::Unicast,
            Self::Local => RouteType::Local,
        }
    }
}

impl fmt::Display for KernelRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(next_hop) = self.next_hop {
            write!(f, " via {next_hop}")?;
        }
        write!(f, " by {}", self.link)
    }
}

impl Connection {
    /// The unicast routes of all tables, of both families.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer, or the list changes faster than it can be read.
    pub async fn routes(&self) -> Result<Vec<KernelRoute>> {
        let all = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let unicast = |reply| route(&reply).filter(|route| route.kind == RouteKind::Unicast);
        self.dump(all, unicast).await.map_err(|e| e.during("list routes", self.sandbox()))
    }

    /// The routes by which packets come to the host itself, of IPv4, by one link; none when the link is not there.
    ///
    /// # Errors
    /// As [`Connection::routes`].
    pub async fn local_routes_of(&self, link: LinkIndex) -> Result<Vec<KernelRoute>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Local;
        message.attributes = vec![RouteAttribute::Table(LOCAL_TABLE), RouteAttribute::Oif(link.0)];
        let local = |reply| route(&reply).filter(|route| route.kind == RouteKind::Local);
        match self.dump(RouteNetlinkMessage::GetRoute(message), local).await {
            // Kernels before 4.20 do not filter.
            Ok(routes) => Ok(routes.into_iter().filter(|route| route.link == link).collect()),
            Err(e) if e.is(Errno::ENODEV) || e.is(Errno::ENOENT) => Ok(Vec::new()),
            Err(e) => Err(e.during("list local routes", self.sandbox())),
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `Conflict` when the table has a route to that destination, `Invalid` when the neighbour cannot be reached by
    /// the link.
    pub async fn add_route(&self, route: &KernelRoute) -> Result<()> {
        self.new_route(route, NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Makes the route be there, in place of any other to that destination in the same table. Idempotent.
    ///
    /// # Errors
    /// `Invalid` when the neighbour cannot be reached by the link.
    pub async fn replace_route(&self, route: &KernelRoute) -> Result<()> {
        self.new_route(route, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    async fn new_route(&self, route: &KernelRoute, flags: u16) -> Result<()> {
        let added = self.change(RouteNetlinkMessage::NewRoute(route.message()), flags).await;
        added.map_err(|e| e.during("add route", route))
    }

    /// Deletes a route. That it or its link is gone already is success.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn delete_route(&self, route: &KernelRoute) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelRoute(route.message()), 0).await {
            Err(e) if !e.is(Errno::ESRCH) && !e.is(Errno::ENODEV) => Err(e.during("delete route", route)),
            _ => Ok(()),
        }
    }
}

fn route(reply: &RouteNetlinkMessage) -> Option<KernelRoute> {
    if let RouteNetlinkMessage::NewRoute(message) = reply { KernelRoute::read(message) } else { None }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
