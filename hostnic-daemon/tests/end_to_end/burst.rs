//! Many pods at once, on pools that are far too small for them.

use std::time::Duration;

use futures::future::join_all;
use libtest_mimic::Trial;

use crate::lifecycle::gateway;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("thirty_pods_at_once_on_two_nodes_get_addresses_of_their_own_and_give_them_back", burst)]
}

const PODS: usize = 30;

async fn burst() {
    let mut world = World::with_jobs(2, Duration::from_millis(500)).await;
    let mut config = world.config();
    (config.pool.low, config.pool.high) = (3, 5);
    let hosts = world.hosts(&config).await;
    let wanted = (0..PODS).map(|n| {
        let host = &hosts[n % 2];
        async move { (host, host.pod(&format!("c{n}")).await) }
    });
    let pods = join_all(wanted).await;
    let results =
        join_all(pods.iter().map(|(host, pod)| async move { host.call("ADD", pod).succeeds().await })).await;
    let given: Vec<_> = pods.iter().zip(&results).map(|((_, pod), result)| pod.agrees_with(result)).collect();
    let mut addresses: Vec<_> = given.iter().map(|given| given.address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), PODS);
    join_all(pods.iter().zip(&given).map(|((_, pod), given)| pod.ping(gateway(given.address)))).await;
    // Each pings one on the other node.
    let next = given.iter().cycle().skip(1);
    join_all(pods.iter().zip(next).map(|((_, pod), other)| pod.ping(other.address))).await;
    join_all(pods.iter().map(|(host, pod)| async move { host.call("DEL", pod).succeeds().await })).await;
    for host in &hosts {
        host.until_deleted().await;
    }
    for (_, pod) in &pods {
        pod.is_empty();
    }
    world.end(hosts).await;
}
