//! Puts right what differs from a pod's plan.

use hostnic_core::Result;

use super::super::alias::{Alias, Part, own_mtu};
use super::super::node::Node;
use super::super::pair::{self, Requests, changed, in_order, name_taken};
use super::super::pod::Pod;
use super::hairpin;
use super::plan::{Difference, of_nic};
use super::planned::{PROXY_DELAY, Planned};
use super::state::State;
use crate::connection::Connection;
use crate::link::{Link, LinkChange};

/// One pod's plan, and where it is carried out.
#[derive(Debug, Clone)]
pub(super) struct Programming<'a> {
    pub(super) node: &'a Node,
    pub(super) planned: &'a Planned<'a>,
    pub(super) pod: &'a Pod,
}

impl Programming<'_> {
    /// Makes all of a pod of which nothing is there, and returns the MTU of its interface.
    ///
    /// What is there is not read again and again: a full node has long lists.
    pub(super) async fn make(&self, nic: Link, loopback_up: bool) -> Result<u32> {
        let planned = self.planned;
        let mtu = planned.mtu(&nic);
        let state = State::bare(nic);
        let mut missing = of_nic(planned, &state);
        missing.push(Difference::Pair(pair::Difference::Absent(None)));
        self.put_right(&state, &missing).await?;
        self.pair(mtu).finish(loopback_up).await?;
        Ok(mtu)
    }

    fn pair(&self, mtu: u32) -> pair::Programming<'_> {
        pair::Programming { node: self.node, pair: &self.planned.pair, mtu, pod: self.pod }
    }

    /// Puts differences right in their order, in the node first; answers the first that cannot be. Some after it may be
    /// right all the same: they are sent together, as waiting for each answer costs more than what the kernel does.
    pub(super) async fn put_right(&self, state: &State, differences: &[Difference]) -> Result<()> {
        let connection = self.node.connection().await?;
        let veth = self.pair(self.planned.mtu(&state.nic));
        let of_pair: Vec<_> = differences.iter().filter_map(Difference::of_pair).cloned().collect();
        let mut requests = self.of_nic(&connection, &state.nic, differences);
        requests.extend(veth.in_node(&connection, state.pair.host_end.as_ref(), &of_pair));
        in_order(requests).await?;
        in_order(veth.in_pod(state.pair.pod_end.as_ref(), &of_pair)).await
    }

    /// What is to be done about the NIC: the changes of the link first.
    fn of_nic<'a>(
        &'a self,
        connection: &'a Connection,
        nic: &Link,
        differences: &'a [Difference],
    ) -> Requests<'a> {
        let index = nic.index;
        let mut requests = Requests::new();
        // By a thread of its own, so the sooner the better.
        if differences.contains(&Difference::Itself) {
            requests.push(Box::pin(hairpin::add(self.node, self.planned.address)));
        }
        // A message of its own: one that renames a link may be refused, and what is marked can be taken back.
        if differences.contains(&Difference::NicUnmarked) {
            let alias = Alias::of_part(&self.planned.plan.mark, Part::Nic, Some(own_mtu(nic))).to_string();
            requests.push(Box::pin(async move {
                connection.change_link(index, LinkChange::new().alias(&alias)).await
            }));
        }
        if let Some((change, must_be_down)) = self.change(nic, differences) {
            requests.push(Box::pin(async move {
                let changed = changed(connection, index, change, must_be_down).await;
                changed.map_err(|error| name_taken(error, &self.planned.nic))
            }));
        }
        for difference in differences {
            requests.push(match difference {
                Difference::StrayAddress(address) => Box::pin(connection.delete_address(address)),
                Difference::Address(address) => Box::pin(connection.add_address(address)),
                Difference::NicDown => Box::pin(connection.change_link(index, LinkChange::new().up())),
                Difference::LocalRoute(route) | Difference::StrayRoute(route) => {
                    Box::pin(connection.delete_route(route))
                }
                Difference::ProxyDelay => Box::pin(connection.set_proxy_delay(index, PROXY_DELAY)),
                Difference::Route(route) => Box::pin(connection.replace_route(route)),
                Difference::StrayRule(rule) => Box::pin(connection.delete_rule(rule)),
                Difference::Rule(rule) => Box::pin(connection.add_rule(rule)),
                Difference::Neighbour(neighbour) => Box::pin(connection.set_neighbour(neighbour)),
                _ => continue,
            });
        }
        requests
    }

    /// The change of the NIC's link, and whether it has to be down for that.
    fn change(&self, nic: &Link, differences: &[Difference]) -> Option<(LinkChange<'_>, bool)> {
        let (mut change, mut renamed) = (None, false);
        for difference in differences {
            let so_far: LinkChange<'_> = change.clone().unwrap_or_default();
            change = match difference {
                Difference::NicName(_) => {
                    renamed = true;
                    Some(so_far.rename(&self.planned.nic))
                }
                Difference::NicMtu(_) => Some(so_far.mtu(own_mtu(nic))),
                Difference::NicSetting(_) => Some(so_far.ipv4(self.planned.nic_settings())),
                _ => change,
            };
        }
        change.map(|change| (change, renamed && nic.up))
    }
}

impl Difference {
    fn of_pair(&self) -> Option<&pair::Difference> {
        if let Self::Pair(difference) = self { Some(difference) } else { None }
    }
}
