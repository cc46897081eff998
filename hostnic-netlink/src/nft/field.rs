//! What rules look at.

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{Expressions, Meta, MetaKey, Payload};

use super::rule::REGISTER;

/// The attributes of an expression about connection tracking: NFTA_CT_DREG, NFTA_CT_KEY and NFTA_CT_SREG.
const CT_DESTINATION: u16 = 1;
const CT_KEY: u16 = 2;
const CT_DIRECTION: u16 = 3;
const CT_SOURCE: u16 = 4;
/// The direction of a flow's first packet (IP_CT_DIR_ORIGINAL).
const ORIGINAL: u8 = 0;

/// A piece of a packet, or a fact about it, that rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(Source);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Meta(MetaKey),
    /// What connection tracking knows, by the kernel's number for it.
    Tracked(u32),
    /// What connection tracking knows of the flow's first packet.
    Original(u32),
    /// Bytes of the packet, counted from the start of one of its headers.
    Payload {
        base: u32,
        offset: u32,
        length: u32,
    },
}

impl Field {
    /// The name of the interface that the packet came in by, filled up with zeros to 16 bytes.
    pub const IN_INTERFACE: Self = Self(Source::Meta(MetaKey::Iifname));
    /// The name of the interface that the packet goes out by, filled up with zeros to 16 bytes.
    pub const OUT_INTERFACE: Self = Self(Source::Meta(MetaKey::Oifname));
    /// The group of the interface that the packet came in by, a number of the kernel's own.
    pub const IN_GROUP: Self = Self(Source::Meta(MetaKey::Iifgroup));
    /// The group of the interface that the packet goes out by, a number of the kernel's own.
    pub const OUT_GROUP: Self = Self(Source::Meta(MetaKey::Oifgroup));
    /// The packet's mark, which rules of routing may ask for.
    pub const MARK: Self = Self(Source::Meta(MetaKey::Mark));
    /// One byte: 0 for a packet in the direction of its flow's first, 1 for one that answers (NFT_CT_DIRECTION).
    pub const FLOW_DIRECTION: Self = Self(Source::Tracked(1));
    /// The bits of what was done to the packet's flow (NFT_CT_STATUS).
    pub const FLOW_STATUS: Self = Self(Source::Tracked(2));
    /// The mark of the packet's flow (NFT_CT_MARK).
    pub const FLOW_MARK: Self = Self(Source::Tracked(3));
    /// The destination that the flow's first packet had before anybody rewrote it, of IPv4 (NFT_CT_DST_IP).
    pub const FLOW_IPV4_DESTINATION: Self = Self(Source::Original(20));
    /// The EtherType of what the frame carries, below any VLAN tag that the kernel has taken off.
    pub const PROTOCOL: Self = Self(Source::Meta(MetaKey::EtherTypeProtocol));
    /// The Ethernet destination.
    pub const ETHER_DESTINATION: Self = Self::link(0, 6);
    /// The Ethernet source.
    pub const ETHER_SOURCE: Self = Self::link(6, 6);
    /// The protocol in an IPv4 header.
    pub const IPV4_PROTOCOL: Self = Self::network(9, 1);
    /// The source in an IPv4 header.
    pub const IPV4_SOURCE: Self = Self::network(12, 4);
    /// The destination in an IPv4 header.
    pub const IPV4_DESTINATION: Self = Self::network(16, 4);
    /// Source and destination in an IPv4 header.
    pub const IPV4_ADDRESSES: Self = Self::network(12, 8);
    /// The source in an IPv6 header.
    pub const IPV6_SOURCE: Self = Self::network(8, 16);
    /// The protocol that an ARP packet resolves, and the lengths of its addresses.
    pub const ARP_FORMAT: Self = Self::network(2, 4);
    /// The sender's Ethernet address in an ARP packet.
    pub const ARP_SENDER_ETHER: Self = Self::network(8, 6);
    /// The sender's IPv4 address in an ARP packet.
    pub const ARP_SENDER_IPV4: Self = Self::network(14, 4);
    /// The type of an ICMP message.
    pub const ICMP_TYPE: Self = Self::transport(0, 1);
    /// Source and destination port of UDP or TCP.
    pub const PORTS: Self = Self::transport(0, 4);

    const fn link(offset: u32, length: u32) -> Self {
        Self(Source::Payload { base: 0, offset, length })
    }

    const fn network(offset: u32, length: u32) -> Self {
        Self(Source::Payload { base: 1, offset, length })
    }

    const fn transport(offset: u32, length: u32) -> Self {
        Self(Source::Payload { base: 2, offset, length })
    }

    pub(super) fn load(self) -> Expressions {
        match self.0 {
            Source::Meta(key) => Expressions::Meta(vec![Meta::DestinationRegister(REGISTER), Meta::Key(key)]),
            Source::Tracked(key) => tracked(CT_DESTINATION, key),
            Source::Original(key) => original(key),
            Source::Payload { base, offset, length } => Expressions::Payload(vec![
                Payload::DestinationRegister(REGISTER),
                Payload::Base(base),
                Payload::Offset(offset),
                Payload::Len(length),
            ]),
        }
    }

    /// What changes it; the kernel refuses it for what cannot be changed.
    pub(super) fn store(self) -> Expressions {
        match self.0 {
            Source::Tracked(key) => tracked(CT_SOURCE, key),
            Source::Meta(key) => Expressions::Meta(vec![Meta::Key(key), Meta::SourceRegister(REGISTER)]),
            // The kernel has no such expression, and says so.
            Source::Original(_) | Source::Payload { .. } => tracked(CT_SOURCE, u32::MAX),
        }
    }
}

/// What connection tracking knows of the first packet of the flow.
fn original(key: u32) -> Expressions {
    let mut expression = tracked(CT_DESTINATION, key);
    if let Expressions::Other { attributes, .. } = &mut expression {
        attributes.push(DefaultNla::new(CT_DIRECTION, vec![ORIGINAL]));
    }
    expression
}

/// What connection tracking knows, read or written through our register.
fn tracked(register: u16, key: u32) -> Expressions {
    let attribute = |kind, value: u32| DefaultNla::new(kind, value.to_be_bytes().to_vec());
    Expressions::Other {
        expression_type: "ct".into(),
        attributes: vec![attribute(CT_KEY, key), attribute(register, u32::from(REGISTER))],
    }
}
