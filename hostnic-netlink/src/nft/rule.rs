//! Rules: what a packet must be like, and what becomes of it.

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey, Operator, Payload, Register, RuleAttribute, RuleMessage, VerdictAttribute,
};

/// The register through which all our expressions hand on what they loaded.
const REGISTER: Register = Register::Reg1;
/// The tag of a comment in a rule's user data, as `nft` writes it (NFTNL_UDATA_RULE_COMMENT).
const COMMENT: u8 = 0;
/// The attributes of an expression about connection tracking: NFTA_CT_DREG, NFTA_CT_KEY and NFTA_CT_SREG.
const CT_DESTINATION: u16 = 1;
const CT_KEY: u16 = 2;
const CT_DIRECTION: u16 = 3;
const CT_SOURCE: u16 = 4;
/// The direction of a flow's first packet (IP_CT_DIR_ORIGINAL).
const ORIGINAL: u8 = 0;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is dropped.
    Drop,
    /// It passes this base chain.
    Accept,
    /// It goes through the chain of that name, and comes back if nothing there decides.
    Jump(String),
}

impl Verdict {
    pub(super) fn data(&self) -> DataAttribute {
        use netlink_packet_netfilter::nftables::Verdict as Code;
        // NF_DROP and NF_ACCEPT, which the crate has no names for.
        let code = |code| vec![VerdictAttribute::Code(code)];
        DataAttribute::Verdict(match self {
            Self::Drop => code(Code::Other(0)),
            Self::Accept => code(Code::Other(1)),
            Self::Jump(chain) => {
                vec![VerdictAttribute::Code(Code::Jump), VerdictAttribute::Chain(chain.clone())]
            }
        })
    }
}

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

    fn load(self) -> Expressions {
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
}

/// A rule: conditions, all of which must hold, and what is done then, in the order in which it is written.
///
/// A packet too short for a field that a rule looks at does not match the rule, whether the condition is positive or
/// negative; so a chain that keeps something out accepts what is good and drops the rest.
///
/// ```
/// use hostnic_netlink::nft::{Field, Rule, Verdict};
///
/// let good = Rule::new().is(Field::PROTOCOL, [0x08, 0x00]).in_set(Field::IPV4_SOURCE, "sources").verdict(Verdict::Accept);
/// let rest = Rule::new().counter().verdict(Verdict::Drop).comment("a source that is not its own");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    expressions: Vec<Expressions>,
    comment: Option<String>,
}

impl Rule {
    /// A rule that holds for every packet and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// `field` must have this value. The kernel refuses a value that is longer than the field.
    #[must_use]
    pub fn is(self, field: Field, value: impl Into<Vec<u8>>) -> Self {
        self.compare(field, None, Operator::Equal, value.into())
    }

    /// `field` must have another value than this.
    #[must_use]
    pub fn is_not(self, field: Field, value: impl Into<Vec<u8>>) -> Self {
        self.compare(field, None, Operator::NotEqual, value.into())
    }

    /// `field` must begin with the bits of `network` that are set in `mask`, which is as long.
    #[must_use]
    pub fn within(self, field: Field, network: impl Into<Vec<u8>>, mask: impl Into<Vec<u8>>) -> Self {
        self.compare(field, Some(mask.into()), Operator::Equal, network.into())
    }

    /// `field` must not begin with the bits of `network` that are set in `mask`, which is as long.
    #[must_use]
    pub fn outside(self, field: Field, network: impl Into<Vec<u8>>, mask: impl Into<Vec<u8>>) -> Self {
        self.compare(field, Some(mask.into()), Operator::NotEqual, network.into())
    }

    /// `field` must be in the set of that name.
    #[must_use]
    pub fn in_set(self, field: Field, set: impl Into<String>) -> Self {
        self.then(field.load())
            .then(Expressions::Lookup(vec![Lookup::Set(set.into()), Lookup::SourceRegister(REGISTER)]))
    }

    /// Does what the map of that name says for `field`; the rule does not hold for what is not in the map.
    #[must_use]
    pub fn verdict_by(self, field: Field, map: impl Into<String>) -> Self {
        self.then(field.load()).then(Expressions::Lookup(vec![
            Lookup::Set(map.into()),
            Lookup::SourceRegister(REGISTER),
            Lookup::DestinationRegister(Register::Verdict),
        ]))
    }

    /// `field`, a number of the kernel's own such as a mark, must have all of these bits.
    #[must_use]
    pub fn has_bits(self, field: Field, bits: u32) -> Self {
        let bits = bits.to_ne_bytes();
        self.compare(field, Some(bits.into()), Operator::Equal, bits.into())
    }

    /// Sets bits of the packet's mark, or of its flow's ([`Field::MARK`], [`Field::FLOW_MARK`]), and leaves the others.
    /// The kernel refuses it for any other field.
    #[must_use]
    pub fn set_bits(self, field: Field, bits: u32) -> Self {
        let store = match field.0 {
            Source::Tracked(key) => tracked(CT_SOURCE, key),
            Source::Meta(key) => Expressions::Meta(vec![Meta::Key(key), Meta::SourceRegister(REGISTER)]),
            // The kernel has no such expression, and says so.
            Source::Original(_) | Source::Payload { .. } => tracked(CT_SOURCE, u32::MAX),
        };
        self.then(field.load())
            .then(Expressions::Bitwise(vec![
                Bitwise::SourceRegister(REGISTER),
                Bitwise::DestinationRegister(REGISTER),
                Bitwise::Length(4),
                Bitwise::Mask(DataAttribute::Value((!bits).to_ne_bytes().into())),
                Bitwise::Xor(DataAttribute::Value(bits.to_ne_bytes().into())),
            ]))
            .then(store)
    }

    /// Gives the flow the address of the interface that it goes out by as its source; in a chain of
    /// [`ChainKind::Nat`](super::ChainKind::Nat) at [`Hook::Postrouting`](super::Hook::Postrouting).
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.then(Expressions::Other { expression_type: "masq".into(), attributes: Vec::new() })
    }

    /// Counts the packets that came this far.
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Expressions::Other { expression_type: "counter".into(), attributes: Vec::new() })
    }

    /// Decides about the packet.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.then(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(verdict.data()),
        ]))
    }

    /// Words by which people and [`Nft::counters`](super::Nft::counters) know the rule. The kernel refuses more than
    /// 253 bytes.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    pub(super) fn describe(&self) -> &str {
        self.comment.as_deref().unwrap_or("without a comment")
    }

    pub(super) fn attributes(&self, table: &str, chain: &str) -> Vec<RuleAttribute> {
        let expressions = self.expressions.iter().cloned().map(ListAttribute::from).collect();
        let mut attributes = vec![
            RuleAttribute::Table(table.into()),
            RuleAttribute::Chain(chain.into()),
            RuleAttribute::Expressions(expressions),
        ];
        attributes.extend(self.comment.as_deref().map(|comment| RuleAttribute::UserData(user_data(comment))));
        attributes
    }

    fn compare(self, field: Field, mask: Option<Vec<u8>>, operator: Operator, value: Vec<u8>) -> Self {
        let masked = mask.map(|mask| {
            // A mask is written in a few bytes; what does not fit a u32 the kernel refuses as well.
            let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
            Expressions::Bitwise(vec![
                Bitwise::SourceRegister(REGISTER),
                Bitwise::DestinationRegister(REGISTER),
                Bitwise::Length(length),
                Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
                Bitwise::Mask(DataAttribute::Value(mask)),
            ])
        });
        let mut rule = self.then(field.load());
        rule.expressions.extend(masked);
        rule.then(Expressions::Cmp(vec![
            Cmp::SourceRegister(REGISTER),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(value)),
        ]))
    }

    fn then(mut self, expression: Expressions) -> Self {
        self.expressions.push(expression);
        self
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

/// The user data that `nft` shows as a comment: tag, length and the words with a zero at the end.
fn user_data(comment: &str) -> Vec<u8> {
    // What does not fit the length byte is longer than user data may be, and refused by the kernel.
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut data = vec![COMMENT, length];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}

/// What one rule has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCounter {
    /// The chain that the rule is in.
    pub chain: String,
    /// Its comment; empty where it has none.
    pub comment: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets, from the network header on.
    pub bytes: u64,
}

impl RuleCounter {
    /// Reads a rule from the kernel; `None` where it counts nothing.
    pub(super) fn read(message: &RuleMessage) -> Option<Self> {
        let mut counter = Self { chain: String::new(), comment: String::new(), packets: 0, bytes: 0 };
        let mut counts = false;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Chain(chain) => counter.chain.clone_from(chain),
                RuleAttribute::UserData(data) => counter.comment = comment_in(data).unwrap_or_default(),
                RuleAttribute::Expressions(expressions) => {
                    for attributes in expressions.iter().filter_map(counter_attributes) {
                        counts = true;
                        counter.packets += number(attributes, COUNTER_PACKETS);
                        counter.bytes += number(attributes, COUNTER_BYTES);
                    }
                }
                _ => {}
            }
        }
        counts.then_some(counter)
    }
}

fn counter_attributes(expression: &ListAttribute<ExpressionAttribute>) -> Option<&[DefaultNla]> {
    let ListAttribute::Element(parts) = expression else { return None };
    parts.iter().find_map(|part| match part {
        ExpressionAttribute::Data(Expressions::Other { expression_type, attributes })
            if expression_type == "counter" =>
        {
            Some(attributes.as_slice())
        }
        _ => None,
    })
}

fn number(attributes: &[DefaultNla], kind: u16) -> u64 {
    let mut bytes = [0; 8];
    if let Some(nla) = attributes.iter().find(|nla| nla.kind() == kind && nla.value_len() == bytes.len()) {
        nla.emit_value(&mut bytes);
    }
    u64::from_be_bytes(bytes)
}

fn comment_in(mut data: &[u8]) -> Option<String> {
    while let [tag, length, rest @ ..] = data {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        if *tag == COMMENT {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        data = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_back_among_other_user_data_and_damage_is_no_comment() {
        let mut data = vec![7, 2, 1, 2];
        data.extend(user_data("source-mac"));
        assert_eq!(comment_in(&data).as_deref(), Some("source-mac"));
        assert_eq!(comment_in(&data[..data.len() - 3]), None);
        assert_eq!(comment_in(&[]), None);
    }
}
