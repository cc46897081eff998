//! Rules: what a packet must be like, and what becomes of it.

use std::net::Ipv4Addr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, ListAttribute, Lookup, Operator, Register,
    RuleAttribute, VerdictAttribute,
};

use super::Field;

/// The register through which all our expressions hand on what they loaded.
pub(super) const REGISTER: Register = Register::Reg1;
/// The tag of a comment in a rule's user data, as `nft` writes it (NFTNL_UDATA_RULE_COMMENT).
pub(super) const COMMENT: u8 = 0;
/// The attributes of an expression that rewrites addresses: NFTA_NAT_TYPE, NFTA_NAT_FAMILY and NFTA_NAT_REG_ADDR_MIN.
const NAT_TYPE: u16 = 1;
const NAT_FAMILY: u16 = 2;
const NAT_ADDRESS: u16 = 3;
/// Sources are rewritten (NFT_NAT_SNAT), and they are of IPv4 (NFPROTO_IPV4).
const SOURCES: u32 = 0;
const IPV4: u32 = 2;

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
        self.then(field.load())
            .then(Expressions::Bitwise(vec![
                Bitwise::SourceRegister(REGISTER),
                Bitwise::DestinationRegister(REGISTER),
                Bitwise::Length(4),
                Bitwise::Mask(DataAttribute::Value((!bits).to_ne_bytes().into())),
                Bitwise::Xor(DataAttribute::Value(bits.to_ne_bytes().into())),
            ]))
            .then(field.store())
    }

    /// `field`, a number of the kernel's own such as a mark, must have none of these bits.
    #[must_use]
    pub fn lacks_bits(self, field: Field, bits: u32) -> Self {
        self.compare(field, Some(bits.to_ne_bytes().into()), Operator::Equal, vec![0; 4])
    }

    /// Gives the flow this address as its source; where [`Rule::masquerade`] can stand, too.
    #[must_use]
    pub fn source(self, address: Ipv4Addr) -> Self {
        let address = DataAttribute::Value(address.octets().into());
        let attribute = |kind, value: u32| DefaultNla::new(kind, value.to_be_bytes().to_vec());
        self.then(Expressions::Immediate(vec![
            Immediate::DestinationRegister(REGISTER),
            Immediate::Data(address),
        ]))
        .then(Expressions::Other {
            expression_type: "nat".into(),
            attributes: vec![
                attribute(NAT_TYPE, SOURCES),
                attribute(NAT_FAMILY, IPV4),
                attribute(NAT_ADDRESS, u32::from(REGISTER)),
            ],
        })
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

/// The user data that `nft` shows as a comment: tag, length and the words with a zero at the end.
pub(super) fn user_data(comment: &str) -> Vec<u8> {
    // What does not fit the length byte is longer than user data may be, and refused by the kernel.
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut data = vec![COMMENT, length];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}
