//! Nodes where nothing happens.

use futures::future::join_all;
use tokio::time::sleep;

use crate::account::{Account, busiest_hour};
use crate::node::{Node, pool, two_vxnets};
use crate::{HOUR, told};

#[tokio::test(start_paused = true)]
async fn an_idle_node_makes_at_most_four_calls_in_any_hour() {
    let vxnets = two_vxnets();
    let account = Account::new(1, &vxnets).await;
    let mut node = Node::new(&account, 0, pool(&vxnets)).await;
    let agent = node.warm().await;
    node.add_pods(&agent, 30).await;
    node.filled(&agent).await;
    let ((), calls) = account.during(sleep(12 * HOUR)).await;
    assert!(told("the busiest of 12 idle hours of a node with 30 pods", busiest_hour(&calls), 4) <= 4);
    assert!(calls.len() >= 12, "the cloud is looked at all the same: {}", calls.len());
}

#[tokio::test(start_paused = true)]
async fn two_hundred_idle_nodes_make_at_most_a_thousand_calls_in_any_hour() {
    const NODES: usize = 200;
    // Each holds 252 NICs: enough for seven nodes.
    let vxnets: Vec<String> = (0..40).map(|n| format!("vxnet-p{n}=192.168.{n}.0/24")).collect();
    let account = Account::new(NODES, &vxnets).await;
    let start = |n: usize| {
        let (account, vxnets) = (&account, &vxnets);
        async move {
            let vxnet = n % vxnets.len();
            let mut node = Node::new(account, n, pool(&vxnets[vxnet..=vxnet])).await;
            let agent = node.warm().await;
            node.add_pods(&agent, 30).await;
            node.filled(&agent).await;
            agent
        }
    };
    let (agents, calls) = account.during(join_all((0..NODES).map(start))).await;
    println!("200 nodes start and get 30 pods each: {} calls", calls.len());
    // The first comparison of each comes within 33 minutes, and the second within 66.
    let ((), calls) = account.during(sleep(HOUR + HOUR / 10)).await;
    assert!(told("the busiest idle hour of 200 nodes with 30 pods each", busiest_hour(&calls), 1000) <= 1000);
    assert!(calls.len() >= 4 * NODES, "the cloud is looked at all the same: {}", calls.len());
    assert!(agents.iter().all(|agent| agent.leases().len() == 30));
}
