//! What is in a namespace, in sentences, so that before and after can be compared.

use std::collections::BTreeSet;

use hostnic_core::Result;
use hostnic_netlink::{Connection, Netns};

/// Every link, address, route and rule of a namespace.
///
/// # Errors
/// Those of the connection.
pub async fn everything(name: &str, netns: &Netns) -> Result<BTreeSet<String>> {
    let connection = Connection::open(netns).await?;
    let links = connection.links().await?;
    let link_name = |index| links.iter().find(|l| l.index == index).map_or("?", |l| l.name.as_str());
    let mut seen: BTreeSet<String> = links
        .iter()
        .filter(|link| link.name != "lo")
        .map(|link| {
            format!("{name}: link {} {}", link.name, link.mac.map(|m| m.to_string()).unwrap_or_default())
        })
        .collect();
    for address in connection.addresses().await? {
        seen.insert(format!("{name}: address {} on {}", address.address, link_name(address.link)));
    }
    for route in connection.routes().await? {
        seen.insert(format!(
            "{name}: route {} by {} in table {}",
            route.destination,
            link_name(route.link),
            route.table
        ));
    }
    for rule in connection.rules().await? {
        seen.insert(format!("{name}: rule {}", rule.rule));
    }
    connection.close().await;
    Ok(seen)
}
