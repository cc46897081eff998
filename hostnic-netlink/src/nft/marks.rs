//! Which bits of packets' marks the rules of a chain write.

use std::fmt;

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    Bitwise, DataAttribute, ExpressionAttribute, Expressions, ListAttribute, Meta, MetaKey, RuleAttribute,
    RuleMessage,
};

/// The attributes of an expression that stands for a target of iptables: NFTA_TARGET_NAME and NFTA_TARGET_INFO.
const TARGET_NAME: u16 = 1;
const TARGET_INFO: u16 = 3;
/// The target that writes marks. What it is told begins with the mark and the mask, in the machine's own order.
const TARGET: &[u8] = b"MARK";

/// A chain, of whomever, and the bits of packets' marks that its rules set or clear. Rules of `iptables` with nftables below count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkWriter {
    family: &'static str,
    table: String,
    chain: String,
    /// The bits.
    pub bits: u32,
}

impl MarkWriter {
    /// One for tests and for whoever knows it otherwise.
    pub fn new(table: &str, chain: &str, bits: u32) -> Self {
        Self { family: "ip", table: table.to_owned(), chain: chain.to_owned(), bits }
    }

    /// The chain's name.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Reads a rule from the kernel; `None` where it writes no mark, or is not about IPv4.
    pub(super) fn read(family: NetfilterProtoFamily, rule: &RuleMessage) -> Option<Self> {
        let family = match family {
            NetfilterProtoFamily::IPv4 => "ip",
            NetfilterProtoFamily::Inet => "inet",
            _ => return None,
        };
        let (mut table, mut chain, mut bits) = (None, None, 0);
        for attribute in &rule.attributes {
            match attribute {
                RuleAttribute::Table(name) => table = Some(name.clone()),
                RuleAttribute::Chain(name) => chain = Some(name.clone()),
                RuleAttribute::Expressions(expressions) => bits = written(expressions),
                _ => {}
            }
        }
        (bits != 0).then_some(Self { family, table: table?, chain: chain?, bits })
    }

    /// Whether both are of one chain.
    fn is_beside(&self, other: &Self) -> bool {
        (self.family, &self.table, &self.chain) == (other.family, &other.table, &other.chain)
    }
}

impl fmt::Display for MarkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)
    }
}

/// One for each chain, with the bits of all its rules.
pub(super) fn by_chain(rules: Vec<MarkWriter>) -> Vec<MarkWriter> {
    let mut chains: Vec<MarkWriter> = Vec::new();
    for rule in rules {
        match chains.iter_mut().find(|chain| chain.is_beside(&rule)) {
            Some(chain) => chain.bits |= rule.bits,
            None => chains.push(rule),
        }
    }
    chains
}

fn written(expressions: &[ListAttribute<ExpressionAttribute>]) -> u32 {
    let (mut bits, mut computed) = (0, u32::MAX);
    for expression in expressions {
        let ListAttribute::Element(parts) = expression else { continue };
        for part in parts {
            match part {
                ExpressionAttribute::Data(Expressions::Bitwise(bitwise)) => computed = changed(bitwise),
                ExpressionAttribute::Data(Expressions::Meta(meta)) if stores_mark(meta) => bits |= computed,
                // What is loaded anew and stored as it is may change everything.
                ExpressionAttribute::Data(Expressions::Meta(_) | Expressions::Immediate(_)) => {
                    computed = u32::MAX;
                }
                ExpressionAttribute::Data(Expressions::Other { expression_type, attributes })
                    if expression_type == "target" =>
                {
                    bits |= by_target(attributes);
                }
                _ => {}
            }
        }
    }
    bits
}

fn stores_mark(meta: &[Meta]) -> bool {
    meta.contains(&Meta::Key(MetaKey::Mark))
        && meta.iter().any(|attribute| matches!(attribute, Meta::SourceRegister(_)))
}

/// The bits that come out otherwise than they went in.
fn changed(bitwise: &[Bitwise]) -> u32 {
    let number = |value: &DataAttribute| match value {
        DataAttribute::Value(bytes) => bytes.as_slice().try_into().ok().map(u32::from_ne_bytes),
        _ => None,
    };
    let (mut mask, mut xor) = (None, None);
    for attribute in bitwise {
        match attribute {
            Bitwise::Mask(value) => mask = number(value),
            Bitwise::Xor(value) => xor = number(value),
            _ => {}
        }
    }
    mask.zip(xor).map_or(u32::MAX, |(mask, xor)| !mask | xor)
}

fn by_target(attributes: &[DefaultNla]) -> u32 {
    let value = |kind| {
        let nla = attributes.iter().find(|nla| nla.kind() == kind)?;
        let mut bytes = vec![0; nla.value_len()];
        nla.emit_value(&mut bytes);
        Some(bytes)
    };
    let is_mark = value(TARGET_NAME).is_some_and(|name| name.strip_suffix(b"\0").unwrap_or(&name) == TARGET);
    let info = value(TARGET_INFO).filter(|_| is_mark).unwrap_or_default();
    let number = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
    number(0).zip(number(4)).map_or(0, |(mark, mask)| mark | mask)
}
