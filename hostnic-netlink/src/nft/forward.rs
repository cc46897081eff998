//! Whose chains drop what this machine forwards.

use std::fmt;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber};

/// The policy of a chain that drops (NF_DROP).
const DROP: u32 = 0;

/// A base chain, of whomever, that drops forwarded packets of IPv4 which no rule decided about. `iptables` with nftables
/// below makes such ones, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardDrop {
    family: &'static str,
    table: String,
    chain: String,
}

impl ForwardDrop {
    /// `None` where the chain is none of these.
    pub(super) fn read(family: NetfilterProtoFamily, chain: &ChainMessage) -> Option<Self> {
        let family = match family {
            NetfilterProtoFamily::IPv4 => "ip",
            NetfilterProtoFamily::Inet => "inet",
            _ => return None,
        };
        let (mut table, mut name, mut forwards, mut drops) = (None, None, false, false);
        for attribute in &chain.attributes {
            match attribute {
                ChainAttribute::Table(text) => table = Some(text.clone()),
                ChainAttribute::Name(text) => name = Some(text.clone()),
                ChainAttribute::Hook(hook) => {
                    forwards = hook.contains(&Hook::Number(HookNumber::Inet(InetHookNumber::Forward)));
                }
                ChainAttribute::Policy(policy) => drops = *policy == DROP,
                _ => {}
            }
        }
        (forwards && drops).then_some(Self { family, table: table?, chain: name? })
    }
}

impl fmt::Display for ForwardDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)
    }
}
