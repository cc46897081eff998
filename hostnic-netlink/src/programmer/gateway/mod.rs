//! Gateways of the node: NICs that stay in its own namespace, for pods that send to services by them.
//!
//! Everything else of the node goes as if a gateway were not there: its address brings no route, and only what is sent
//! from that address, or answers what came in by it, leaves by it. So nothing leaves by a NIC that it does not belong to.

mod filter;
mod plan;

use std::fs;
use std::sync::Arc;

use hostnic_core::route::{Drift, GatewayPlan};
use hostnic_core::{Error, ErrorKind, Result};

use super::node::Node;
use super::order;
use super::pod::FREED_NAME;
use crate::connection::Connection;
use crate::link::{LinkChange, LinkIndex};
use crate::nft::Nft;
use filter::Filter;
use plan::{Difference, NodeState, SETTINGS, differences};

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// How often what is there is compared with the plans: putting one thing right can undo another, as setting a link down
/// takes its routes away.
const ROUNDS: usize = 3;

/// Makes the node's gateways those of `plans`, and no others.
pub(super) async fn set_up(node: &Node, plans: &[GatewayPlan]) -> Result<()> {
    refuse_ipv6(plans)?;
    order::keep(node).await?;
    for _ in 0..ROUNDS {
        let state = read(node).await?;
        let missing = differences(plans, &state, true);
        if missing.is_empty() {
            return Ok(());
        }
        for difference in &missing {
            put_right(node, plans, &state, difference).await?;
        }
    }
    let state = read(node).await?;
    match differences(plans, &state, true).first() {
        None => Ok(()),
        Some(left) => Err(Error::new(ErrorKind::Transient, "set up", "the gateways of the node")
            .detail(format!("{}; somebody else changes it, too", left.drift()))),
    }
}

/// How the node differs from `plans`.
pub(super) async fn check(node: &Node, plans: &[GatewayPlan]) -> Result<Vec<Drift>> {
    refuse_ipv6(plans)?;
    let state = read(node).await?;
    Ok(differences(plans, &state, false).iter().map(Difference::drift).collect())
}

fn refuse_ipv6(plans: &[GatewayPlan]) -> Result<()> {
    match plans.iter().find(|plan| plan.address.addr().is_ipv6()) {
        None => Ok(()),
        Some(plan) => Err(Error::new(ErrorKind::Unsupported, "set up gateway", plan.address)
            .detail("gateways speak IPv4 only; give the routes of IPv6 an address as gw")),
    }
}

async fn read(node: &Node) -> Result<NodeState> {
    let connection = node.connection().await?;
    let nft = Nft::new(node.netns().try_clone()?);
    let table = Filter::table();
    let forwards = node.netns().run(|| fs::read_to_string(FORWARD).is_ok_and(|value| value.trim() != "0"));
    let (links, addresses, routes, rules, counters, forwards) = futures::try_join!(
        connection.links(),
        connection.addresses(),
        connection.routes(),
        connection.rules(),
        nft.counters(&table, None),
        forwards,
    )?;
    Ok(NodeState { links, addresses, routes, rules, filter: Filter::listed(counters), forwards })
}

async fn put_right(
    node: &Node,
    plans: &[GatewayPlan],
    state: &NodeState,
    difference: &Difference<'_>,
) -> Result<()> {
    let connection: Arc<Connection> = node.connection().await?;
    let change = |link: LinkIndex, change| {
        let connection = connection.clone();
        async move { connection.change_link(link, change).await }
    };
    match difference {
        Difference::Absent(plan) => Err(Error::new(ErrorKind::NotFound, "set up gateway", plan.address)
            .detail(format!("no link of the node has the MAC address {}", plan.mac))),
        Difference::Retired(link, _) => retire(&connection, state, *link).await,
        Difference::StrayRule(rule) => connection.delete_rule(rule).await,
        Difference::NotForwarding => forward(node).await,
        Difference::Unmarked(own, link) => {
            let alias = own.number.alias();
            change(*link, LinkChange::new().alias(&alias)).await
        }
        // Before Linux 6.2 only a link that is down can be renamed.
        Difference::Name(own, link, _) => {
            change(*link, LinkChange::new().down()).await?;
            change(*link, LinkChange::new().rename(own.ifname.as_str()))
                .await
                .map_err(|error| taken(error, own))
        }
        Difference::Setting(_, link, _) => change(*link, LinkChange::new().ipv4(&SETTINGS)).await,
        Difference::PrefixRoute(address) => {
            connection.delete_address(address).await?;
            connection.add_address(&address.without_prefix_route()).await
        }
        Difference::Address(address) => connection.add_address(address).await,
        Difference::Down(_, link) => change(*link, LinkChange::new().up()).await,
        Difference::Route(route) => connection.replace_route(route).await,
        Difference::Rule(rule) => connection.add_rule(rule).await,
        Difference::Filter => node.filter(plan::filter(plans, state).replacement()).await,
    }
}

/// A gateway of ours becomes a NIC like any other: down, without addresses and without our mark.
async fn retire(connection: &Connection, state: &NodeState, link: LinkIndex) -> Result<()> {
    let down = LinkChange::new().down().alias("");
    match connection.change_link(link, down).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        done => done?,
    }
    for address in state.addresses.iter().filter(|address| address.link == link) {
        connection.delete_address(address).await?;
    }
    match connection.change_link(link, LinkChange::new().rename(FREED_NAME)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn taken(error: Error, own: &hostnic_core::route::OwnGateway) -> Error {
    match error.kind() {
        ErrorKind::Conflict => Error::new(ErrorKind::Conflict, "name gateway", &own.ifname)
            .detail(
                "another link of the node has that name; rename it, or let the gateways have another name",
            )
            .source(error),
        _ => error,
    }
}

/// Lets the node forward. Nothing else of the node is changed for its gateways.
async fn forward(node: &Node) -> Result<()> {
    node.write_setting(FORWARD.to_owned(), "1").await?.map_err(|error| {
        Error::new(ErrorKind::Unauthorised, "set", "net.ipv4.ip_forward")
            .detail("it is 0, and so the node forwards nothing for its pods; set it to 1 with sysctl")
            .source(error)
    })
}
