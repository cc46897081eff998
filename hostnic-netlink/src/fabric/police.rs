//! What may leave a NIC, as rules for its port.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hostnic_core::Result;
use hostnic_core::id::{MacAddr, NicId};
use ipnet::Ipv4Net;

use crate::netns::Netns;
use crate::nft::{
    BaseChain, Batch, ChainKind, Element, Family, Field, Hook, Nft, Policy, Rule, Set, SetType, Table,
    Verdict,
};

const TABLE: &str = "police";
/// The chain that every frame from a port comes to, and the map from ports to their own chains.
const ALL_FRAMES: &str = "prerouting";
const PORTS: &str = "ports";
/// Where `filter` is among the bridge's chains.
const FILTER: i32 = -200;

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// IPv4 over Ethernet, in an ARP packet: the protocol and the lengths of both addresses.
const ARP_IPV4: [u8; 4] = [0x08, 0x00, 6, 4];
const UDP: [u8; 1] = [17];
/// From the port of a DHCP client to that of a server.
const DHCP: [u8; 4] = [0, 68, 0, 67];
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const LINK_LOCAL_MASK: [u8; 16] = [0xff, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Its source MAC address is not the NIC's.
    SourceMac,
    /// Its IPv4 source is none of the NIC's addresses.
    Ipv4Source,
    /// It is an ARP packet whose sender is not the NIC with one of its addresses.
    ArpSender,
    /// It was sent to the router from an address outside the subnet.
    ForeignSource,
}

impl DropReason {
    const ALL: [Self; 4] = [Self::SourceMac, Self::Ipv4Source, Self::ArpSender, Self::ForeignSource];

    /// How the reason is written in the rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceMac => "source-mac",
            Self::Ipv4Source => "ipv4-source",
            Self::ArpSender => "arp-sender",
            Self::ForeignSource => "foreign-source",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// How many frames from one NIC were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortDrops {
    /// The NIC.
    pub nic: NicId,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

/// Dropped frames of one port.
pub(super) type Drops = BTreeMap<DropReason, u64>;

/// Whom a port belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PortOwner {
    /// The NIC's MAC address.
    pub(super) mac: MacAddr,
    /// The router's MAC address on the same bridge.
    pub(super) router: MacAddr,
    /// The addresses of the subnet.
    pub(super) subnet: Ipv4Net,
}

/// Where a port of the management network leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// To a node, which may send to the service only.
    Node,
    /// Outside, from where the service only may send.
    Outside,
}

/// The rules of all ports.
#[derive(Debug)]
pub(super) struct Police {
    nft: Nft,
    table: Table,
}

impl Police {
    /// Makes a table in the VPC's namespace. It goes with the namespace.
    pub(super) async fn start(vpc: Netns) -> Result<Self> {
        let police = Self { nft: Nft::new(vpc), table: Table::new(Family::Bridge, TABLE) };
        let base = BaseChain {
            kind: ChainKind::Filter,
            hook: Hook::Prerouting,
            priority: FILTER,
            policy: Policy::Accept,
        };
        let mut batch = Batch::new();
        batch
            .add_table(&police.table)
            .add_set(&police.table, &Set::new(PORTS, SetType::InterfaceVerdicts))
            .add_base_chain(&police.table, ALL_FRAMES, base)
            .add_rule(&police.table, ALL_FRAMES, &Rule::new().verdict_by(Field::IN_INTERFACE, PORTS));
        police.nft.apply(batch).await?;
        Ok(police)
    }

    /// Begins to police the port of that name, whose link need not be there yet.
    pub(super) async fn add_port(&self, port: &str, owner: PortOwner, sources: &[Ipv4Addr]) -> Result<()> {
        let Self { nft, table } = self;
        let set = source_set(port);
        let mut batch = Batch::new();
        batch
            .add_set(table, &Set::new(set.as_str(), SetType::Ipv4Addresses))
            .add_elements(table, &set, &elements(sources))
            .add_chain(table, &forwarded(port))
            .add_chain(table, port);
        allow_forwarding(&mut batch, table, port, sources);
        for rule in rules(owner, &set, &forwarded(port)) {
            batch.add_rule(table, port, &rule);
        }
        let jump = Element::interface(port, Some(Verdict::Jump(port.to_owned())));
        batch.add_elements(table, PORTS, &[jump]);
        nft.apply(batch).await
    }

    /// Lets a port of the management network carry what goes to the service's address, or comes from it, and nothing
    /// else: whatever is forwarded at either end, the network is no way to anywhere.
    pub(super) async fn add_management_port(&self, port: &str, side: Side, service: Ipv4Addr) -> Result<()> {
        let Self { nft, table } = self;
        let end = match side {
            Side::Node => Field::IPV4_DESTINATION,
            Side::Outside => Field::IPV4_SOURCE,
        };
        let mut batch = Batch::new();
        batch
            .add_chain(table, port)
            .add_rule(table, port, &Rule::new().is(Field::PROTOCOL, ARP).verdict(Verdict::Accept))
            .add_rule(
                table,
                port,
                &Rule::new().is(Field::PROTOCOL, IPV4).is(end, service.octets()).verdict(Verdict::Accept),
            )
            .add_rule(table, port, &Rule::new().verdict(Verdict::Drop))
            .add_elements(table, PORTS, &[Element::interface(port, Some(Verdict::Jump(port.to_owned())))]);
        nft.apply(batch).await
    }

    /// Forgets a port of the management network.
    pub(super) async fn remove_management_port(&self, port: &str) -> Result<()> {
        let mut batch = Batch::new();
        batch
            .delete_elements(&self.table, PORTS, &[Element::interface(port, None)])
            .delete_chain(&self.table, port);
        self.nft.apply(batch).await
    }

    /// Replaces the addresses that may be sent from a port, in one moment. What was counted stays.
    pub(super) async fn set_sources(&self, port: &str, sources: &[Ipv4Addr]) -> Result<()> {
        let set = source_set(port);
        let mut batch = Batch::new();
        batch.flush_set(&self.table, &set).add_elements(&self.table, &set, &elements(sources));
        batch.flush_chain(&self.table, &forwarded(port));
        allow_forwarding(&mut batch, &self.table, port, sources);
        self.nft.apply(batch).await
    }

    /// Forgets a port, whose link is gone, and returns what was dropped there.
    pub(super) async fn remove_port(&self, port: &str) -> Result<Drops> {
        let mut dropped = self.drops_in(Some(port)).await?;
        let mut batch = Batch::new();
        batch
            .delete_elements(&self.table, PORTS, &[Element::interface(port, None)])
            .delete_chain(&self.table, port)
            .delete_chain(&self.table, &forwarded(port))
            .delete_set(&self.table, &source_set(port));
        self.nft.apply(batch).await?;
        Ok(dropped.remove(port).unwrap_or_default())
    }

    /// What was dropped at each port, by the port's name. Zeros are left out.
    pub(super) async fn drops(&self) -> Result<BTreeMap<String, Drops>> {
        self.drops_in(None).await
    }

    async fn drops_in(&self, chain: Option<&str>) -> Result<BTreeMap<String, Drops>> {
        let mut ports = BTreeMap::<String, Drops>::new();
        for counter in self.nft.counters(&self.table, chain).await? {
            if let Some(reason) = DropReason::parse(&counter.comment)
                && counter.packets > 0
            {
                *ports.entry(counter.chain).or_default().entry(reason).or_default() += counter.packets;
            }
        }
        Ok(ports)
    }
}

/// The rules of one port, in order. A packet cut short matches no rule that looks at what it lacks, so each protocol
/// ends with a rule that drops what no rule before found good.
fn rules(owner: PortOwner, sources: &str, forwarded: &str) -> Vec<Rule> {
    let drop_because =
        |rule: Rule, reason: DropReason| rule.counter().verdict(Verdict::Drop).comment(reason.as_str());
    let from_sources = Rule::new().is(Field::PROTOCOL, IPV4).in_set(Field::IPV4_SOURCE, sources);
    let dhcp_addresses = [Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets()].concat();
    vec![
        drop_because(Rule::new().is_not(Field::ETHER_SOURCE, owner.mac.octets()), DropReason::SourceMac),
        Rule::new()
            .is(Field::PROTOCOL, IPV4)
            .is(Field::IPV4_ADDRESSES, dhcp_addresses)
            .is(Field::IPV4_PROTOCOL, UDP)
            .is(Field::PORTS, DHCP)
            .verdict(Verdict::Accept),
        drop_because(
            from_sources.clone().is(Field::ETHER_DESTINATION, owner.router.octets()).outside(
                Field::IPV4_SOURCE,
                owner.subnet.network().octets(),
                owner.subnet.netmask().octets(),
            ),
            DropReason::ForeignSource,
        ),
        from_sources.verdict(Verdict::Accept),
        Rule::new().is(Field::PROTOCOL, IPV4).verdict(Verdict::Jump(forwarded.to_owned())),
        drop_because(Rule::new().is(Field::PROTOCOL, IPV4), DropReason::Ipv4Source),
        Rule::new()
            .is(Field::PROTOCOL, ARP)
            .is(Field::ARP_FORMAT, ARP_IPV4)
            .is(Field::ARP_SENDER_ETHER, owner.mac.octets())
            .in_set(Field::ARP_SENDER_IPV4, sources)
            .verdict(Verdict::Accept),
        drop_because(Rule::new().is(Field::PROTOCOL, ARP), DropReason::ArpSender),
        Rule::new()
            .is(Field::PROTOCOL, IPV6)
            .within(Field::IPV6_SOURCE, LINK_LOCAL, LINK_LOCAL_MASK)
            .verdict(Verdict::Accept),
        Rule::new().is(Field::PROTOCOL, IPV6).is(Field::IPV6_SOURCE, [0; 16]).verdict(Verdict::Accept),
        Rule::new().verdict(Verdict::Drop),
    ]
}

/// The chain of packets from other addresses than the port's own.
fn forwarded(port: &str) -> String {
    format!("{port}-forwarded")
}

/// Lets a port send packets from any address where 0.0.0.0 is among its sources; ARP speaks for its own ones only.
fn allow_forwarding(batch: &mut Batch, table: &Table, port: &str, sources: &[Ipv4Addr]) {
    if sources.contains(&Ipv4Addr::UNSPECIFIED) {
        batch.add_rule(table, &forwarded(port), &Rule::new().verdict(Verdict::Accept));
    }
}

fn source_set(port: &str) -> String {
    format!("{port}-sources")
}

fn elements(sources: &[Ipv4Addr]) -> Vec<Element> {
    let own = sources.iter().copied().filter(|source| !source.is_unspecified());
    own.map(Element::address).collect()
}
