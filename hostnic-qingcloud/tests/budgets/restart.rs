//! A daemon that starts again.

use tokio::time::sleep;

use crate::account::Account;
use crate::node::{Node, pool, two_vxnets};
use crate::{secs, told};

#[tokio::test(start_paused = true)]
async fn a_restart_with_sixty_pods_makes_at_most_three_calls() {
    let vxnets = two_vxnets();
    let account = Account::new(1, &vxnets).await;
    let mut node = Node::new(&account, 0, pool(&vxnets)).await;
    let agent = node.warm().await;
    node.add_pods(&agent, 60).await;
    node.filled(&agent).await;
    agent.stop().await;
    let (agent, calls) = account
        .during(async {
            let agent = node.start().await;
            agent.ready().await;
            sleep(secs(20 * 60)).await;
            agent
        })
        .await;
    assert!(told("a restart with 60 pods, and the 20 minutes after", &calls, 3) <= 3);
    assert_eq!(agent.leases().len(), 60);
}
