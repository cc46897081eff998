//! Which flows go by the node's own routes, in a table of our own that is replaced as a whole.
//!
//! A flow to an address of the node that is sent on to a pod, as by a node port, is answered by where it came in, and not
//! by the pod's NIC; so the pod's answers carry a mark.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hostnic_core::route::VethNode;
use ipnet::IpNet;

use crate::nft::{BaseChain, Batch, ChainKind, Family, Field, Hook, Policy, Rule, RuleCounter, Table};

const TABLE: &str = "hostnic-node";
const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
/// Before addresses are rewritten and packets routed, where marks are set by convention.
const MANGLE: i32 = -150;

/// Rules by their chains, each known by its comment, which says all that it depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    known: BTreeSet<(String, String)>,
    rules: Vec<(&'static str, Rule)>,
}

impl Rules {
    pub(super) fn add(&mut self, chain: &'static str, rule: Rule, comment: String) {
        if self.known.insert((chain.to_owned(), comment.clone())) {
            self.rules.push((chain, rule.comment(comment)));
        }
    }

    /// What the kernel says that a table holds.
    pub(super) fn listed(counters: Vec<RuleCounter>) -> Self {
        let known = counters.into_iter().map(|counter| (counter.chain, counter.comment)).collect();
        Self { known, rules: Vec::new() }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.known == other.known
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn write(&self, batch: &mut Batch, table: &Table) {
        for (chain, rule) in &self.rules {
            batch.add_rule(table, chain, rule);
        }
    }
}

pub(super) fn table() -> Table {
    Table::new(Family::Ipv4, TABLE)
}

/// The rules for a node.
pub(super) fn rules(plan: &VethNode) -> Rules {
    let bits = plan.nat_mark.bits();
    let mut rules = Rules::default();
    for address in &plan.addresses {
        let IpAddr::V4(ipv4) = address else { continue };
        let to_node = Rule::new().is(Field::FLOW_IPV4_DESTINATION, ipv4.octets());
        let marked = to_node.counter().set_bits(Field::MARK, bits);
        rules.add(PREROUTING, marked, format!("flows to {address}, mark {bits:#x}"));
    }
    for service in &plan.services {
        let IpNet::V4(ipv4) = service.trunc() else { continue };
        let to_service = Rule::new().within(
            Field::FLOW_IPV4_DESTINATION,
            ipv4.network().octets(),
            ipv4.netmask().octets(),
        );
        let marked = to_service.counter().set_bits(Field::MARK, bits);
        rules.add(OUTPUT, marked, format!("flows to services in {ipv4}, mark {bits:#x}"));
    }
    rules
}

/// What puts the rules in the place of those that are there, in one moment.
pub(super) fn replacement(rules: &Rules) -> Batch {
    let table = table();
    let mut batch = Batch::new();
    // Deleting what is not there fails.
    batch.add_table(&table).delete_table(&table);
    if rules.is_empty() {
        return batch;
    }
    batch.add_table(&table);
    for (chain, kind, hook) in
        [(PREROUTING, ChainKind::Filter, Hook::Prerouting), (OUTPUT, ChainKind::Route, Hook::Output)]
    {
        let base = BaseChain { kind, hook, priority: MANGLE, policy: Policy::Accept };
        batch.add_base_chain(&table, chain, base);
    }
    rules.write(&mut batch, &table);
    batch
}
