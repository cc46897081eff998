//! Links: finding, making, changing, moving and deleting them.

mod ipv4;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use hostnic_core::Result;
use hostnic_core::attachment::AttachmentMark;
use hostnic_core::gateway::GatewayNumber;
use hostnic_core::id::MacAddr;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use nix::errno::Errno;

use crate::connection::Connection;
use crate::error::KernelError;
use crate::netns::Netns;
pub use ipv4::{Ipv4Setting, Ipv4Settings};

/// IFLA_IFALIAS, for an alias of no bytes at all, which the typed attribute cannot say.
const ALIAS: u16 = 20;

/// The number of a link in its namespace. A link that moves may get another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

impl LinkIndex {
    /// The loopback link's number, the same in every namespace.
    pub const LOOPBACK: Self = Self(1);
}

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// What sort of link it is, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A device of the machine, or one whose driver gives no kind.
    Device,
    /// One end of a pair.
    Veth,
    /// A bridge.
    Bridge,
    /// Another kind of virtual link, by the kernel's name for it.
    Other(String),
}

/// A link, as the kernel described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// Its sort.
    pub kind: LinkKind,
    /// Its Ethernet address; `None` for loopback and for what is not Ethernet.
    pub mac: Option<MacAddr>,
    /// Its alias.
    pub alias: Option<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// The bridge that it is a port of.
    pub master: Option<LinkIndex>,
    /// The group that it is in: 0 unless somebody put it into another.
    pub group: u32,
    /// Its settings for IPv4.
    pub ipv4: Ipv4Settings,
}

impl Link {
    /// Whether this can be a NIC: an Ethernet device of the machine or one end of a pair.
    ///
    /// Bridges, VLANs and the like are not, though they may have the Ethernet address of a NIC that they use.
    pub fn can_be_nic(&self) -> bool {
        self.mac.is_some() && matches!(self.kind, LinkKind::Device | LinkKind::Veth)
    }

    /// The number of the gateway of ours that it is, by its alias.
    pub fn gateway(&self) -> Option<GatewayNumber> {
        GatewayNumber::from_alias(self.alias.as_deref()?)
    }

    /// The mark in its alias, where that is one of ours.
    pub fn mark(&self) -> Option<AttachmentMark> {
        AttachmentMark::from_alias(self.alias.as_deref()?)
    }

    pub(crate) fn read(message: LinkMessage) -> Self {
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        let mut link = Self {
            index: LinkIndex(message.header.index),
            name: String::new(),
            kind: LinkKind::Device,
            mac: None,
            alias: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            running: message.header.flags.contains(LinkFlags::Running | LinkFlags::LowerUp),
            master: None,
            group: 0,
            ipv4: Ipv4Settings::default(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) if !alias.is_empty() => link.alias = Some(alias),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::Controller(index) => link.master = Some(LinkIndex(index)),
                LinkAttribute::Address(bytes) if ethernet => {
                    link.mac = <[u8; 6]>::try_from(bytes).ok().and_then(|mac| MacAddr::new(mac).ok());
                }
                LinkAttribute::LinkInfo(infos) => link.kind = kind(&infos),
                LinkAttribute::AfSpecUnspec(families) => link.ipv4 = Ipv4Settings::read(&families),
                _ => {}
            }
        }
        link
    }
}

fn kind(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None });
    match kind {
        None => LinkKind::Device,
        Some(InfoKind::Veth) => LinkKind::Veth,
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(other) => LinkKind::Other(other.to_string()),
    }
}

/// Changes to a link that the kernel makes in one message: where it moves to another namespace, the rest is done there.
///
/// ```no_run
/// # async fn example(node: hostnic_netlink::Connection, pod: &hostnic_netlink::Netns) -> hostnic_core::Result<()> {
/// use hostnic_netlink::link::{LinkChange, LinkIndex};
/// node.change_link(LinkIndex(7), LinkChange::new().move_to(pod).rename("eth0").alias("mine").up()).await
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a change does nothing until it is given to Connection::change_link"]
pub struct LinkChange<'a> {
    netns: Option<&'a Netns>,
    name: Option<&'a str>,
    alias: Option<&'a str>,
    mac: Option<MacAddr>,
    mtu: Option<u32>,
    master: Option<Option<LinkIndex>>,
    group: Option<u32>,
    up: Option<bool>,
    announce: bool,
    ipv4: &'a [(Ipv4Setting, i32)],
}

impl<'a> LinkChange<'a> {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the link to another namespace. Its addresses and routes stay behind, and it arrives down.
    pub fn move_to(self, netns: &'a Netns) -> Self {
        Self { netns: Some(netns), ..self }
    }

    /// Renames it. With `%d` in the name the kernel chooses the lowest number that is free.
    pub fn rename(self, name: &'a str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Sets its alias; an empty one removes it.
    pub fn alias(self, alias: &'a str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    /// Sets its Ethernet address.
    pub fn mac(self, mac: MacAddr) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// Sets its MTU in bytes.
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// Makes it a port of a bridge, or of none.
    pub fn master(self, bridge: Option<LinkIndex>) -> Self {
        Self { master: Some(bridge), ..self }
    }

    /// Puts it into a group of links; 0 is that of all that nobody put into another.
    pub fn group(self, group: u32) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Sets it up.
    pub fn up(self) -> Self {
        Self { up: Some(true), ..self }
    }

    /// Sets it down.
    pub fn down(self) -> Self {
        Self { up: Some(false), ..self }
    }

    /// Lets the kernel announce the link's IPv4 addresses by gratuitous ARP whenever it is set up from then on
    /// (`arp_notify`). To be in time it takes a message before the one that sets the link up.
    pub fn announce_addresses(self) -> Self {
        Self { announce: true, ..self }
    }

    /// Changes settings for IPv4.
    pub fn ipv4(self, settings: &'a [(Ipv4Setting, i32)]) -> Self {
        Self { ipv4: settings, ..self }
    }

    fn message(&self, index: LinkIndex) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index.0;
        if let Some(up) = self.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        let alias = |alias: &str| DefaultNla::new(ALIAS, alias.as_bytes().to_vec());
        let announce = self.announce.then_some((Ipv4Setting::ArpNotify, 1));
        let settings: Vec<_> = announce.iter().chain(self.ipv4).copied().collect();
        message.attributes.extend(
            [
                self.netns.map(|netns| LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())),
                self.name.map(|name| LinkAttribute::IfName(name.to_owned())),
                self.alias.map(|text| LinkAttribute::Other(alias(text))),
                self.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())),
                self.mtu.map(LinkAttribute::Mtu),
                self.group.map(LinkAttribute::Group),
                self.master.map(|bridge| LinkAttribute::Controller(bridge.map_or(0, |index| index.0))),
                (!settings.is_empty()).then(|| ipv4::attribute(&settings)),
            ]
            .into_iter()
            .flatten(),
        );
        message
    }
}

/// One end of a new pair of links.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address; `None` lets the kernel choose one.
    pub mac: Option<MacAddr>,
    /// The namespace that it is made in; `None` for the connection's own.
    pub netns: Option<&'a Netns>,
}

impl VethEnd<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(self.name.to_owned()));
        message.attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
        message.attributes.extend(self.netns.map(|netns| LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())));
        // The kernel uses one in any case; unless it is told, it makes one for each processor first, and waits for each
        // that it puts away.
        message.attributes.extend([LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)]);
        message
    }
}

impl Connection {
    /// All links of the namespace.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer, or the list changes faster than it can be read.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let failed = |e: KernelError| e.during("list links", self.sandbox());
        self.dump(RouteNetlinkMessage::GetLink(query()), link).await.map_err(failed)
    }

    /// The link with this number.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn link(&self, index: LinkIndex) -> Result<Link> {
        let mut message = query();
        message.header.index = index.0;
        self.find(message, index).await
    }

    /// The link with this name, or with this as one of its alternative names.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn link_by_name(&self, name: &str) -> Result<Link> {
        let mut message = query();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.find(message, name).await
    }

    async fn find(&self, message: LinkMessage, subject: impl fmt::Display) -> Result<Link> {
        let reply = self.get(RouteNetlinkMessage::GetLink(message)).await;
        reply
            .and_then(|reply| link(reply).ok_or(KernelError::Unexpected))
            .map_err(|e| e.during("find link", subject))
    }

    /// Changes a link. Setting what is set already succeeds.
    ///
    /// The kernel makes the changes one after the other: when one is refused, those before it stay made.
    ///
    /// # Errors
    /// `NotFound` without the link, `Conflict` when the name is taken.
    pub async fn change_link(&self, index: LinkIndex, change: LinkChange<'_>) -> Result<()> {
        let message = RouteNetlinkMessage::SetLink(change.message(index));
        self.change(message, 0).await.map_err(|e| e.during("change", index))
    }

    /// Makes a bridge, which is down.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_bridge(&self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.create(message, name).await
    }

    /// Makes a pair of links, both down.
    ///
    /// # Errors
    /// `Conflict` when one of the names is taken in its namespace.
    pub async fn create_veth(&self, one: VethEnd<'_>, other: VethEnd<'_>) -> Result<()> {
        let mut message = one.message();
        let peer = InfoData::Veth(InfoVeth::Peer(other.message()));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
        let names = format!("{} and {}", one.name, other.name);
        self.create(message, names).await
    }

    async fn create(&self, message: LinkMessage, subject: impl fmt::Display) -> Result<()> {
        let made = self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await;
        made.map_err(|e| e.during("make link", subject))
    }

    /// Deletes a link. That it is gone already is success.
    ///
    /// # Errors
    /// `Unsupported` for a link that cannot be deleted, such as a device of the machine.
    pub async fn delete_link(&self, index: LinkIndex) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index.0;
        match self.change(RouteNetlinkMessage::DelLink(message), 0).await {
            Err(e) if !e.is(Errno::ENODEV) => Err(e.during("delete", index)),
            _ => Ok(()),
        }
    }

    /// Deletes all links of a group at once, which takes the kernel little more time than deleting one. That there are
    /// none is success.
    ///
    /// Whoever put a link into the group has it deleted, too: read the members before.
    ///
    /// # Errors
    /// `Unsupported` when one of them cannot be deleted: then all of them stay.
    pub async fn delete_group(&self, group: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        match self.change(RouteNetlinkMessage::DelLink(message), 0).await {
            Err(e) if !e.is(Errno::ENODEV) => Err(e.during("delete links of group", group)),
            _ => Ok(()),
        }
    }
}

/// A question about links, whose answers leave out the counters: they are the larger part of an answer.
fn query() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn link(reply: RouteNetlinkMessage) -> Option<Link> {
    if let RouteNetlinkMessage::NewLink(message) = reply { Some(Link::read(message)) } else { None }
}
