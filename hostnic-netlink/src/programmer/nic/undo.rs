//! Makes NICs that pods sent by ones like any other.

use std::net::IpAddr;

use futures::future::join_all;
use hostnic_core::Result;
use hostnic_core::route::NicTable;
use ipnet::IpNet;

use super::super::alias::own_mtu;
use super::super::order::FROM_VLAN;
use super::super::pod::FREED_NAME;
use super::{PREFERENCES, answer_for};
use crate::address::Address;
use crate::connection::Connection;
use crate::link::{Link, LinkChange};
use crate::rule::Rule;

/// The addresses that a NIC has to ask by ARP from.
pub(in crate::programmer) async fn addresses(connection: &Connection, link: &Link) -> Result<Vec<Address>> {
    let addresses = connection.addresses_of(link.index).await?;
    Ok(addresses.into_iter().filter(|address| address.address.addr().is_ipv4()).collect())
}

/// Ends all that leads to a NIC, and returns its addresses. What is set down loses its routes and its answers to ARP.
pub(in crate::programmer) async fn end(
    connection: &Connection,
    link: &Link,
    table: Option<NicTable>,
) -> Result<Vec<Address>> {
    let down = connection.change_link(link.index, LinkChange::new().down());
    let ((), addresses, rules) = futures::try_join!(down, addresses(connection, link), connection.rules())?;
    let ours = rules.into_iter().filter(|listed| listed.is_ours()).map(|listed| listed.rule);
    let ours: Vec<Rule> = ours.collect();
    let leads_here = |rule: &&Rule| table.is_some() && rule.action.table() == table.map(NicTable::number);
    let subnets: Vec<IpNet> = ours.iter().filter(leads_here).filter_map(|rule| rule.source).collect();
    let of_vlan = |rule: &Rule| {
        rule.preference == FROM_VLAN && rule.source.is_some_and(|source| subnets.contains(&source))
    };
    // Backwards: a subnet's rule to its VLAN is known by that to the table, should this be cut short.
    let rules: Vec<_> =
        ours.iter().rev().filter(|rule| concerns(rule, link, table, &addresses) || of_vlan(rule)).collect();
    let deleted = join_all(rules.iter().map(|rule| connection.delete_rule(rule))).await;
    deleted.into_iter().collect::<Result<()>>()?;
    Ok(addresses)
}

/// Whether a rule of ours is about the NIC: by its name, its table or its addresses.
fn concerns(rule: &Rule, link: &Link, table: Option<NicTable>, addresses: &[Address]) -> bool {
    let table = table.map(NicTable::number);
    let is_address = |prefix: Option<IpNet>| {
        prefix.is_some_and(|prefix| {
            addresses.iter().any(|address| IpNet::from(address.address.addr()) == prefix)
        })
    };
    PREFERENCES.contains(&rule.preference)
        && (rule.came_in_by.as_deref() == Some(&link.name)
            || (table.is_some() && rule.action.table() == table)
            || is_address(rule.source)
            || is_address(rule.destination))
}

/// Makes a NIC that is down one like any other: without addresses and our mark, and under a name that is free.
pub(in crate::programmer) async fn bare(
    connection: &Connection,
    link: &Link,
    addresses: &[Address],
) -> Result<()> {
    for address in addresses {
        let delete = connection.delete_address(address);
        match address.address.addr() {
            IpAddr::V4(pod) => {
                let answer = answer_for(pod, link.index);
                futures::try_join!(connection.delete_neighbour(&answer), delete)?;
            }
            IpAddr::V6(_) => delete.await?,
        }
    }
    // The mark goes last: until then this can be done again.
    let free = LinkChange::new().rename(FREED_NAME).alias("").mtu(own_mtu(link));
    connection.change_link(link.index, free).await
}
