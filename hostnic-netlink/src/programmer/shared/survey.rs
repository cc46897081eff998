//! What the node and its pods' namespaces tell of NICs that are shared, and of their pods.

use std::net::IpAddr;

use hostnic_core::Result;
use hostnic_core::attachment::IfName;
use hostnic_core::route::{MarkedSharedNic, MarkedSharedPod, MarkedVethEnd};

use super::super::alias::{Alias, Part, SharedAlias};
use super::super::nic::is_leased;
use super::super::node::Node;
use super::super::order::FROM_SUBNET;
use crate::PROTOCOL;
use crate::address::Address;
use crate::link::Link;
use crate::neighbour::{ListedNeighbour, NeighbourEntry};
use crate::rule::ListedRule;

/// All NICs that are shared, and all their pods of which the node has something. The links of these in pods are taken out of
/// `ends`.
pub(in crate::programmer) async fn shared(
    node: &Node,
    ends: &mut Vec<MarkedVethEnd>,
) -> Result<(Vec<MarkedSharedNic>, Vec<MarkedSharedPod>)> {
    let connection = node.connection().await?;
    let (links, addresses, rules, neighbours) = futures::try_join!(
        connection.links(),
        connection.addresses(),
        connection.rules(),
        connection.neighbours(),
    )?;
    let nics: Vec<_> = links.iter().filter_map(|link| nic(link, &addresses, &rules, &neighbours)).collect();
    let pods = links.iter().filter_map(|link| {
        let alias = Alias::of(link).filter(|alias| alias.part == Part::SharedHostEnd)?;
        let address = IpAddr::V4(alias.address?);
        let end = ends.iter().position(|end| end.mark == alias.mark);
        Some(MarkedSharedPod {
            address,
            nic: nics.iter().find(|nic| nic.answers_for.contains(&address)).map(|nic| nic.mac),
            host_ifname: IfName::new(&link.name).ok()?,
            mtu: link.mtu,
            pod: end.map(|end| ends.swap_remove(end)),
            silenced: alias.silenced,
            mark: alias.mark,
        })
    });
    let pods = pods.collect();
    Ok((nics, pods))
}

fn nic(
    link: &Link,
    addresses: &[Address],
    rules: &[ListedRule],
    neighbours: &[ListedNeighbour],
) -> Option<MarkedSharedNic> {
    let SharedAlias { table } = SharedAlias::of(link)?;
    let leads_here = |listed: &&ListedRule| {
        let rule = &listed.rule;
        listed.is_ours() && rule.preference == FROM_SUBNET && rule.action.table() == Some(table.number())
    };
    let of_link = addresses.iter().filter(|address| address.link == link.index);
    let senders = of_link.filter(|address| !is_leased(address));
    let answers = neighbours.iter().filter(|listed| {
        let neighbour = listed.neighbour;
        listed.protocol == PROTOCOL
            && neighbour.link == link.index
            && neighbour.entry == NeighbourEntry::Proxy
    });
    let mut answers_for: Vec<IpAddr> = answers.map(|listed| listed.neighbour.address).collect();
    answers_for.sort_unstable();
    Some(MarkedSharedNic {
        mac: link.mac?,
        name: link.name.clone(),
        table,
        subnet: rules.iter().find(leads_here).and_then(|listed| listed.rule.source),
        senders: senders.map(|address| address.address.addr()).filter(IpAddr::is_ipv4).collect(),
        answers_for,
    })
}
