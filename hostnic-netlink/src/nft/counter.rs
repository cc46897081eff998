//! What rules have counted.

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_netfilter::nftables::{
    ExpressionAttribute, Expressions, ListAttribute, RuleAttribute, RuleMessage,
};

use super::rule::COMMENT;

const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

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
    use super::super::rule::user_data;
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
