//! The rules of nftables that gateways need, in a table of our own that is replaced as a whole.

use std::collections::BTreeSet;

use hostnic_core::route::{GatewayPlan, Masquerade};
use ipnet::{IpNet, Ipv4Net};

use super::super::SERVED;
use crate::nft::{
    BaseChain, Batch, ChainKind, Family, Field, Hook, Policy, Rule, RuleCounter, Table, Verdict,
};

const TABLE: &str = "hostnic-gateways";

const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const REDIRECTS: &str = "redirects";
const POSTROUTING: &str = "postrouting";

/// Before addresses are rewritten and packets routed, where marks are set by convention.
const MANGLE: i32 = -150;
const FILTER: i32 = 0;
/// Just before others rewrite sources: the first who does it for a flow decides.
const BEFORE_SOURCE_NAT: i32 = 99;

/// A set bit of a flow's status: its destination was rewritten (IPS_DST_NAT).
const DESTINATION_REWRITTEN: u32 = 1 << 5;
const ORIGINAL: [u8; 1] = [0];
const ICMP: [u8; 1] = [1];
const REDIRECT: [u8; 1] = [5];
/// Bytes of an interface's name in the kernel.
const INTERFACE: usize = 16;

/// The rules, each known by its chain and its comment, which says all that the rule depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    known: BTreeSet<(String, String)>,
    rules: Vec<(&'static str, Rule)>,
}

impl Filter {
    /// The rules for these gateways, each with the name of its link.
    pub(super) fn of<'a>(gateways: impl IntoIterator<Item = (&'a GatewayPlan, &'a str)>) -> Self {
        let mut filter = Self::default();
        for (plan, link) in gateways {
            // Checked before anything is decided.
            if let IpNet::V4(address) = plan.address {
                filter.add_gateway(plan, address.trunc(), link);
            }
        }
        if filter.known.is_empty() {
            return filter;
        }
        for chain in [PREROUTING, OUTPUT] {
            let marked = came_in().set_bits(Field::MARK, SERVED);
            filter.add(chain, marked, "packets of flows that came in by a gateway".to_owned());
        }
        let service = Rule::new()
            .has_bits(Field::FLOW_MARK, SERVED)
            .has_bits(Field::FLOW_STATUS, DESTINATION_REWRITTEN)
            .counter()
            .masquerade();
        filter.add(POSTROUTING, service, "pods to the back ends of services".to_owned());
        filter
    }

    fn add_gateway(&mut self, plan: &GatewayPlan, subnet: Ipv4Net, link: &str) {
        let from_subnet = |rule: Rule| {
            rule.within(Field::IPV4_SOURCE, subnet.network().octets(), subnet.netmask().octets())
        };
        let first = Rule::new().is(Field::IN_INTERFACE, interface(link)).is(Field::FLOW_DIRECTION, ORIGINAL);
        // By a NIC of the operator's there comes much that has nothing to do with pods.
        let (first, from) = match plan.own {
            Some(_) => (first, String::new()),
            None => (from_subnet(first), format!(" from {subnet}")),
        };
        let marked = first.counter().set_bits(Field::FLOW_MARK, SERVED);
        self.add(PREROUTING, marked, format!("flows that come in by {link}{from}"));
        let redirect = Rule::new()
            .is(Field::OUT_INTERFACE, interface(link))
            .is(Field::IPV4_PROTOCOL, ICMP)
            .is(Field::ICMP_TYPE, REDIRECT)
            .counter()
            .verdict(Verdict::Drop);
        self.add(REDIRECTS, redirect, format!("redirects by {link}"));
        if plan.masquerade == Masquerade::Everything {
            let everything = Rule::new().has_bits(Field::FLOW_MARK, SERVED);
            let everything = from_subnet(everything).counter().masquerade();
            self.add(POSTROUTING, everything, format!("pods in {subnet} to everywhere"));
        }
    }

    fn add(&mut self, chain: &'static str, rule: Rule, comment: String) {
        self.known.insert((chain.to_owned(), comment.clone()));
        self.rules.push((chain, rule.comment(comment)));
    }

    /// What the kernel says that our table holds.
    pub(super) fn listed(counters: Vec<RuleCounter>) -> Self {
        let known = counters.into_iter().map(|counter| (counter.chain, counter.comment)).collect();
        Self { known, rules: Vec::new() }
    }

    /// Whether `other` holds all rules of this.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.known.is_subset(&other.known)
    }

    /// Whether there are the same rules.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.known == other.known
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn table() -> Table {
        Table::new(Family::Ipv4, TABLE)
    }

    /// What puts these rules in the place of those that are there, in one moment.
    pub(super) fn replacement(&self) -> Batch {
        let table = Self::table();
        let mut batch = Batch::new();
        // Deleting what is not there fails.
        batch.add_table(&table).delete_table(&table);
        if self.is_empty() {
            return batch;
        }
        batch.add_table(&table);
        for (chain, kind, hook, priority) in [
            (PREROUTING, ChainKind::Filter, Hook::Prerouting, MANGLE),
            (OUTPUT, ChainKind::Route, Hook::Output, MANGLE),
            (REDIRECTS, ChainKind::Filter, Hook::Output, FILTER),
            (POSTROUTING, ChainKind::Nat, Hook::Postrouting, BEFORE_SOURCE_NAT),
        ] {
            batch.add_base_chain(&table, chain, BaseChain { kind, hook, priority, policy: Policy::Accept });
        }
        for (chain, rule) in &self.rules {
            batch.add_rule(&table, chain, rule);
        }
        batch
    }
}

/// A rule for packets of flows that came in by a gateway, counting them.
fn came_in() -> Rule {
    Rule::new().has_bits(Field::FLOW_MARK, SERVED).counter()
}

fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(INTERFACE.max(bytes.len()), 0);
    bytes
}
