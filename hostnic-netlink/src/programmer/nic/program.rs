//! Puts right what differs.

use super::super::alias::own_mtu;
use super::super::pair::{Requests, changed, name_taken};
use super::{Difference, Nic, PROXY_DELAY};
use crate::connection::Connection;
use crate::link::{Link, LinkChange};

/// What is to be done about a NIC: the changes of the link first.
pub(in crate::programmer) fn requests<'a>(
    nic: &'a Nic<'_>,
    connection: &'a Connection,
    link: &Link,
    differences: &'a [Difference],
) -> Requests<'a> {
    let index = link.index;
    let mut requests = Requests::new();
    // A message of its own: one that renames a link may be refused, and what is marked can be taken back.
    if differences.contains(&Difference::Unmarked) {
        let alias = nic.alias(link);
        requests.push(Box::pin(async move {
            connection.change_link(index, LinkChange::new().alias(&alias)).await
        }));
    }
    if let Some((change, must_be_down)) = change(nic, link, differences) {
        requests.push(Box::pin(async move {
            let changed = changed(connection, index, change, must_be_down).await;
            changed.map_err(|error| name_taken(error, &nic.name))
        }));
    }
    for difference in differences {
        requests.push(match difference {
            Difference::StrayAddress(address) => Box::pin(connection.delete_address(address)),
            Difference::Address(address) => Box::pin(connection.add_address(address)),
            Difference::Down => Box::pin(connection.change_link(index, LinkChange::new().up())),
            Difference::LocalRoute(route) | Difference::StrayRoute(route) => {
                Box::pin(connection.delete_route(route))
            }
            Difference::ProxyDelay => Box::pin(connection.set_proxy_delay(index, PROXY_DELAY)),
            Difference::Route(route) => Box::pin(connection.replace_route(route)),
            Difference::StrayRule(rule) => Box::pin(connection.delete_rule(rule)),
            Difference::Rule(rule) => Box::pin(connection.add_rule(rule)),
            Difference::Unmarked | Difference::Name(_) | Difference::Mtu(_) | Difference::Setting(_) => {
                continue;
            }
        });
    }
    requests
}

/// The change of the NIC's link, and whether it has to be down for that.
fn change<'a>(nic: &'a Nic<'_>, link: &Link, differences: &[Difference]) -> Option<(LinkChange<'a>, bool)> {
    let (mut change, mut renamed) = (None, false);
    for difference in differences {
        let so_far: LinkChange<'_> = change.clone().unwrap_or_default();
        change = match difference {
            Difference::Name(_) => {
                renamed = true;
                Some(so_far.rename(&nic.name))
            }
            Difference::Mtu(_) => Some(so_far.mtu(own_mtu(link))),
            Difference::Setting(_) => Some(so_far.ipv4(nic.settings)),
            _ => change,
        };
    }
    change.map(|change| (change, renamed && link.up))
}
