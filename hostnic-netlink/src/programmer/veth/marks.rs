//! Which flows go by the node's own routes, in a table of our own that is replaced as a whole.
//!
//! A flow to an address of the node that is sent on to a pod, as by a node port, is answered by where it came in, and not
//! by the pod's NIC; so the pod's answers carry a mark.

use std::net::IpAddr;

use hostnic_core::route::VethNode;
use ipnet::IpNet;

use super::super::rules::Rules;
use super::super::services;
use crate::nft::{BaseChain, Batch, ChainKind, Family, Field, Hook, Policy, Rule, Table};

const TABLE: &str = "hostnic-node";
/// Before addresses are rewritten and packets routed, where marks are set by convention.
const MANGLE: i32 = -150;
/// Just before others rewrite sources: the first who does it for a flow decides.
const BEFORE_SOURCE_NAT: i32 = 99;

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
        rules.add(Rules::PREROUTING, marked, format!("flows to {address}, mark {bits:#x}"));
    }
    for service in &plan.services {
        let IpNet::V4(ipv4) = service.trunc() else { continue };
        let to_service = Rule::new().within(
            Field::FLOW_IPV4_DESTINATION,
            ipv4.network().octets(),
            ipv4.netmask().octets(),
        );
        let marked = to_service.counter().set_bits(Field::MARK, bits);
        rules.add(Rules::OUTPUT, marked, format!("flows to services in {ipv4}, mark {bits:#x}"));
    }
    services::filter(plan, &mut rules);
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
    for (chain, kind, hook, priority) in [
        (Rules::PREROUTING, ChainKind::Filter, Hook::Prerouting, MANGLE),
        (Rules::OUTPUT, ChainKind::Route, Hook::Output, MANGLE),
        (Rules::POSTROUTING, ChainKind::Nat, Hook::Postrouting, BEFORE_SOURCE_NAT),
    ] {
        batch.add_base_chain(&table, chain, BaseChain { kind, hook, priority, policy: Policy::Accept });
    }
    rules.write(&mut batch, &table);
    batch
}
