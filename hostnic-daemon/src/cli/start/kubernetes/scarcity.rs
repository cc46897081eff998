//! The cluster is told how many NICs this node may have, and when none is left.

use std::convert::Infallible;
use std::time::Duration;

use hostnic_core::agent::Agent;
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::pool::{Scarcity, Supply};
use hostnic_kube::Cluster;
use tokio::time::timeout;

/// How often the capacity is looked at while nothing else happens.
const LOOK: Duration = Duration::from_secs(10);

/// Tells the cluster, for ever. What it was told before a restart counts until the pool knows better.
pub(super) async fn tell(cluster: &Cluster, agent: &Agent) -> Infallible {
    let (mut supply, mut scarcity) = (agent.supply(), Scarcity::default());
    loop {
        let now = SystemClock.now();
        let left = *supply.borrow_and_update();
        let again = scarcity.step(left, now);
        if left != Supply::default() {
            cluster.set_scarce(scarcity.is_scarce());
        }
        match agent.capacity() {
            // Not known yet.
            0 => {}
            nics => cluster.set_capacity(nics),
        }
        let wait = again.map_or(LOOK, |again| again.since_boot().saturating_sub(now.since_boot()).min(LOOK));
        // The sender lives as long as the agent; and whatever ends the wait, it is looked again.
        let _ = timeout(wait, supply.changed()).await;
    }
}
