//! Sixty pods.

use std::time::Duration;

use hostnic_core::pool::PoolConfig;
use tokio::time::sleep;

use crate::account::Account;
use crate::node::{Node, pool, two_vxnets};
use crate::{secs, told};

#[tokio::test(start_paused = true)]
async fn sixty_pods_at_once_for_whom_there_is_no_nic_yet() {
    let vxnets = two_vxnets();
    let account = Account::new(1, &vxnets).await;
    let mut node = Node::new(&account, 0, pool(&vxnets)).await;
    let agent = node.warm().await;
    let ((), calls) = account.during(node.add_pods(&agent, 60)).await;
    assert!(told("60 cold pods at once", &calls, 12) <= 12);
    assert_eq!(agent.leases().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn sixty_pods_one_by_one_for_whom_there_is_no_nic_yet() {
    let vxnets = two_vxnets();
    let account = Account::new(1, &vxnets).await;
    let mut node = Node::new(&account, 0, pool(&vxnets)).await;
    let agent = node.warm().await;
    let late = |pod: usize| {
        let (node, agent) = (&node, &agent);
        async move {
            sleep(Duration::from_millis(25 * pod as u64)).await;
            node.add(agent, pod).await;
        }
    };
    let (_, calls) = account.during(futures::future::join_all((0..60).map(late))).await;
    assert!(told("60 cold pods, one each 25 ms", &calls, 12) <= 12);
    assert_eq!(agent.leases().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn sixty_pods_that_wait_for_a_node_that_starts() {
    let vxnets = two_vxnets();
    let account = Account::new(1, &vxnets).await;
    let mut node = Node::new(&account, 0, pool(&vxnets)).await;
    let (agent, calls) = account
        .during(async {
            let agent = node.start().await;
            node.add_pods(&agent, 60).await;
            agent
        })
        .await;
    assert!(told("60 cold pods at a node that starts, its start included", &calls, 12) <= 12);
    assert_eq!(agent.leases().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn sixty_pods_for_whom_all_nics_are_there_cost_nothing() {
    let vxnets = two_vxnets();
    let account = Account::new(1, &vxnets).await;
    // A full node, so that nothing is made in their stead.
    let warm = PoolConfig { low: 60, high: 60, max_nics: 60, ..pool(&vxnets) };
    let mut node = Node::new(&account, 0, warm).await;
    let agent = node.warm().await;
    let ((), calls) = account
        .during(async {
            node.add_pods(&agent, 60).await;
            sleep(secs(60)).await;
        })
        .await;
    assert_eq!(told("60 warm pods, and the minute after", &calls, 0), 0);
    assert_eq!(agent.leases().len(), 60);
}
