//! What a node needs once for veths that lead to services.

use hostnic_core::route::{Hairpin, VethNode};
use ipnet::{IpNet, Ipv4Net};

use super::super::SERVED;
use super::super::order::{SERVED_TO_MAIN, SERVED_TO_PODS, SERVED_TO_VETHS};
use super::super::pair::NEXT_HOP;
use super::super::rules::Rules;
use super::{GROUP, TABLE};
use crate::nft;
use crate::nft::{Field, Verdict};
use crate::route::MAIN_TABLE;
use crate::rule::Rule;

/// The longest prefix of a route that is none to a single address.
const NO_HOST_ROUTE: u8 = 31;

/// A set bit of a flow's status: its destination was rewritten (IPS_DST_NAT).
const DESTINATION_REWRITTEN: u32 = 1 << 5;

/// Rules of routing.
pub(in crate::programmer) fn rules(plan: &VethNode) -> Vec<Rule> {
    let served =
        |preference, table| Rule::any(true, preference, table).marked(SERVED).longer_than(NO_HOST_ROUTE);
    let to_main = Rule::any(true, SERVED_TO_MAIN, MAIN_TABLE).marked(SERVED);
    let mut rules = vec![served(SERVED_TO_VETHS, TABLE), to_main];
    if plan.hairpin == Hairpin::On {
        rules.push(served(SERVED_TO_PODS, plan.pods.number()));
    }
    rules
}

/// Adds rules of nftables: at [`Rules::PREROUTING`] and [`Rules::OUTPUT`] before addresses are rewritten and packets
/// routed, at [`Rules::POSTROUTING`] before others rewrite sources.
pub(in crate::programmer) fn filter(plan: &VethNode, rules: &mut Rules) {
    let by_veth = || nft::Rule::new().is(Field::IN_GROUP, GROUP.to_ne_bytes());
    let services: Vec<Ipv4Net> = plan.services.iter().filter_map(ipv4).collect();
    let to = |rule: nft::Rule, service: &Ipv4Net| {
        rule.within(Field::FLOW_IPV4_DESTINATION, service.network().octets(), service.netmask().octets())
    };
    for service in &services {
        let served = to(by_veth(), service).counter().set_bits(Field::FLOW_MARK, SERVED);
        rules.add(Rules::PREROUTING, served, format!("flows to services in {service} by pods' veths"));
    }
    let other = by_veth().lacks_bits(Field::FLOW_MARK, SERVED).counter().verdict(Verdict::Drop);
    rules.add(Rules::PREROUTING, other, "anything else by pods' veths to services".to_owned());
    for chain in [Rules::PREROUTING, Rules::OUTPUT] {
        let marked = nft::Rule::new().has_bits(Field::FLOW_MARK, SERVED).counter();
        let marked = marked.set_bits(Field::MARK, SERVED);
        rules.add(chain, marked, "packets of flows to services by the node".to_owned());
    }
    // By the veth of a pod goes, but for answers, only what has that pod as its back end. It is to come back by the
    // veth, where the pod knows this address alone.
    let back = nft::Rule::new()
        .is(Field::OUT_GROUP, GROUP.to_ne_bytes())
        .has_bits(Field::FLOW_STATUS, DESTINATION_REWRITTEN)
        .counter()
        .source(NEXT_HOP);
    rules.add(Rules::POSTROUTING, back, "services to back ends by their veths".to_owned());
    for service in &services {
        let served = nft::Rule::new().has_bits(Field::FLOW_MARK, SERVED);
        let in_nodes_name = to(served, service).counter().masquerade();
        rules.add(
            Rules::POSTROUTING,
            in_nodes_name,
            format!("pods to the back ends of services in {service}"),
        );
    }
}

fn ipv4(service: &IpNet) -> Option<Ipv4Net> {
    match service.trunc() {
        IpNet::V4(service) => Some(service),
        IpNet::V6(_) => None,
    }
}
