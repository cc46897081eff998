//! The cluster is told how many NICs this node may have, and when none is left for pods that it has not placed here yet.

use std::convert::Infallible;
use std::time::Duration;

use hostnic_core::attachment::PodRef;
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::pool::{Scarcity, Supply};
use hostnic_core::route::Datapath;
use hostnic_kube::{Cluster, Pods};
use tokio::time::timeout;

use crate::facts::Facts;

/// How often the capacity is looked at while nothing else happens.
const LOOK: Duration = Duration::from_secs(10);

/// How long it is waited, after the node was open for a moment, whether somebody comes.
const CALLERS: Duration = Duration::from_secs(1);
/// How long the API server may take to open it.
const OPENING: Duration = Duration::from_secs(5);

/// Tells the cluster, for ever. What it was told before a restart counts until the pool knows better.
///
/// A pod that is bound to the node counts as if it had its NIC: schedulers bind pods faster than runtimes start them, and those that
/// came too many would fail on a node that they cannot leave any more.
///
/// Where many pods wait for any node, a scheduler binds all of them to the first that is open, within less than a second. So a node
/// that was short of NICs is open for a moment first, and for good only when nobody came.
pub(super) async fn tell(cluster: &Cluster, facts: &Facts) -> Infallible {
    let (agent, pods) = (&facts.agent, cluster.pods());
    let (mut supply, mut scarcity) = (agent.supply(), Scarcity::default());
    let mut bound = pods.changes();
    loop {
        let now = SystemClock.now();
        let left = *supply.borrow_and_update();
        bound.borrow_and_update();
        let was_scarce = scarcity.is_scarce();
        let again = scarcity.step(left.after(to_come(&pods, facts)), now);
        if left != Supply::default() {
            if was_scarce && !scarcity.is_scarce() && comes_at_once(cluster, &pods).await {
                scarcity = Scarcity::resumed(true);
                continue;
            }
            cluster.set_scarce(scarcity.is_scarce());
        }
        match agent.capacity() {
            _ if facts.mode == Datapath::Shared => cluster.clear_capacity(),
            // Not known yet.
            0 => {}
            nics => cluster.set_capacity(nics),
        }
        let wait = again.map_or(LOOK, |again| again.since_boot().saturating_sub(now.since_boot()).min(LOOK));
        // The senders live as long as agent and cluster; and whatever ends the wait, it is looked again.
        let news = async {
            tokio::select! {
                _ = supply.changed() => {}
                _ = bound.changed() => {}
            }
        };
        let _ = timeout(wait, news).await;
    }
}

/// Opens the node for a moment, and says whether that was enough for a pod to come. It is closed again then.
async fn comes_at_once(cluster: &Cluster, pods: &Pods) -> bool {
    let before = pods.owed();
    let mut bound = pods.changes();
    cluster.set_scarce(false);
    if timeout(OPENING, cluster.until_scarce_is_told()).await.is_err() {
        return false;
    }
    cluster.set_scarce(true);
    let come = async {
        while !pods.owed().iter().any(|pod| !before.contains(pod)) {
            // The sender lives as long as the cluster.
            let _ = bound.changed().await;
        }
    };
    timeout(CALLERS, come).await.is_ok()
}

/// How many pods are to come that the supply knows nothing of.
fn to_come(pods: &Pods, facts: &Facts) -> u32 {
    let mut known = facts.underway.pods();
    known.extend(facts.agent.leases().into_iter().filter_map(|lease| lease.pod));
    unknown(&pods.owed(), &known)
}

/// How many of the pods that are owed an interface neither have one nor are being given one.
fn unknown(owed: &[PodRef], known: &[PodRef]) -> u32 {
    let is = |owed: &PodRef, known: &PodRef| {
        // A runtime that tells no uid means whatever pod has the name.
        let uid = owed.uid == known.uid || known.uid.is_none();
        uid && owed.name == known.name && owed.namespace == known.namespace
    };
    let unknown = owed.iter().filter(|owed| !known.iter().any(|known| is(owed, known)));
    u32::try_from(unknown.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: Option<&str>) -> PodRef {
        PodRef { namespace: "n".to_owned(), name: name.to_owned(), uid: uid.map(str::to_owned) }
    }

    #[test]
    fn pods_that_have_an_interface_or_are_given_one_are_not_to_come() {
        let owed = [pod("a", Some("1")), pod("b", Some("2")), pod("c", Some("3"))];
        assert_eq!(unknown(&owed, &[]), 3);
        assert_eq!(unknown(&owed, &[pod("a", Some("1")), pod("b", None)]), 1);
        // An earlier pod of that name, whose interface is on its way back.
        assert_eq!(unknown(&owed, &[pod("a", Some("0"))]), 3);
    }
}
