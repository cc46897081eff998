//! Waiting for NICs.

use std::time::Duration;

use hostnic_core::RouteProgrammer;
use libtest_mimic::Trial;
use tokio::time::timeout;

use crate::trial;
use crate::world::{World, ip};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_nic_that_is_there_is_not_waited_for", there_already),
        trial("a_nic_that_is_plugged_later_ends_the_wait", later),
        trial("a_nic_that_comes_back_from_a_pod_ends_the_wait", comes_back),
        trial("each_change_of_the_nodes_own_addresses_is_told", readdressed),
    ]
}

async fn there_already() {
    let (_world, _pod, plan, programmer) = World::with_a_pod().await;
    let link = programmer.wait_for_nic(plan.mac).await.unwrap();
    assert_eq!((link.name.as_str(), link.mac, link.in_use), ("eth1", plan.mac, false));
}

async fn later() {
    let world = World::new().await;
    let programmer = world.programmer().await;
    let mac = "52:54:00:00:00:07".parse().unwrap();
    let mut waiting = std::pin::pin!(programmer.wait_for_nic(mac));
    assert!(futures::poll!(&mut waiting).is_pending());
    world.plug("eth7", "52:54:00:00:00:07").await;
    let link = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(link.name, "eth7");
}

async fn comes_back() {
    let (_world, _pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    let (link, down) = timeout(Duration::from_secs(5), async {
        futures::join!(programmer.wait_for_nic(plan.mac), programmer.teardown_pod(&plan))
    })
    .await
    .unwrap();
    down.unwrap();
    assert_eq!(link.unwrap().mac, plan.mac);
}

async fn readdressed() {
    let world = World::new().await;
    let programmer = world.programmer().await;
    world.plug("eth7", "52:54:00:00:00:07").await;
    for change in ["add", "del"] {
        let mut told = std::pin::pin!(programmer.addresses_changed());
        assert!(futures::poll!(&mut told).is_pending());
        ip(world.node.path(), &["address", change, "10.3.0.7/24", "dev", "eth7"]);
        timeout(Duration::from_secs(5), told).await.unwrap();
        ip(
            world.node.path(),
            &["address", "replace", "10.3.0.8/24", "dev", "eth7", "valid_lft", "600", "preferred_lft", "600"],
        );
        timeout(Duration::from_secs(5), programmer.addresses_changed()).await.unwrap();
    }
    let mut told = std::pin::pin!(programmer.addresses_changed());
    assert!(futures::poll!(&mut told).is_pending(), "each is told once");
}
