//! Puts right what differs from a pod's plan.

use hostnic_core::Result;

use super::super::nic;
use super::super::node::Node;
use super::super::pair::{self, Requests, in_order};
use super::super::pod::Pod;
use super::hairpin;
use super::plan::{Difference, of_nic};
use super::planned::Planned;
use super::state::State;
use crate::link::Link;

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
        let nic = &state.nic.link;
        let veth = self.pair(self.planned.mtu(nic));
        let of_nic: Vec<_> = differences.iter().filter_map(Difference::of_nic).cloned().collect();
        let of_pair: Vec<_> = differences.iter().filter_map(Difference::of_pair).cloned().collect();
        let mut requests = Requests::new();
        // By a thread of its own, so the sooner the better.
        if differences.contains(&Difference::Itself) {
            requests.push(Box::pin(hairpin::add(self.node, self.planned.address)));
        }
        requests.extend(nic::requests(&self.planned.nic, &connection, nic, &of_nic));
        for difference in differences {
            if let Difference::Neighbour(neighbour) = difference {
                requests.push(Box::pin(connection.set_neighbour(neighbour)));
            }
        }
        requests.extend(veth.in_node(&connection, state.pair.host_end.as_ref(), &of_pair));
        in_order(requests).await?;
        in_order(veth.in_pod(state.pair.pod_end.as_ref(), &of_pair)).await
    }
}

impl Difference {
    fn of_nic(&self) -> Option<&nic::Difference> {
        if let Self::Nic(difference) = self { Some(difference) } else { None }
    }

    fn of_pair(&self) -> Option<&pair::Difference> {
        if let Self::Pair(difference) = self { Some(difference) } else { None }
    }
}
