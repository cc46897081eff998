//! Calls that overtake each other, callers that die, and one attachment over and over.

use std::time::Duration;

use hostnic_core::agent::AgentConfig;
use hostnic_core::sim::Durations;
use libtest_mimic::Trial;
use tokio::time::Instant;

use crate::host::{Host, free};
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_hundred_adds_and_dels_of_one_pod_end_where_they_began", over_and_over),
        trial("a_del_calls_off_an_add_that_waits_for_its_nic_and_the_nic_is_free_afterwards", del_overtakes),
        trial("an_add_whose_plugin_is_killed_is_undone", killed),
        trial("an_add_that_gives_up_says_why_and_leaves_nothing", gives_up),
    ]
}

/// In this time a DEL is answered and a dead caller's ADD undone, whatever the cloud does.
const PROMISED: Duration = Duration::from_secs(2);
/// A cloud that is too slow for that.
const SLOW: Duration = Duration::from_secs(5);

async fn over_and_over() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let [add, del] = ["ADD", "DEL"].map(|command| host.call(command, &pod));
    for round in 0..100 {
        let result = add.succeeds().await;
        if round % 20 == 0 {
            let given = pod.agrees_with(&result);
            pod.ping(crate::lifecycle::gateway(given.address)).await;
        }
        del.succeeds().await;
    }
    host.until_deleted().await;
    pod.is_empty();
    let result = add.succeeds().await;
    pod.agrees_with(&result);
    del.succeeds().await;
    world.end([host]).await;
}

/// A node whose pool is empty, in a slow cloud.
async fn cold(world: &mut World) -> Host {
    let mut config: AgentConfig = world.config();
    config.pool.low = 0;
    world.only_host(&config).await
}

/// Ends a trial without waiting for the slow cloud.
async fn end(world: World, host: Host) {
    let quick = Duration::from_millis(20);
    world.cloud.cloud().set_durations(Durations { attach: quick, detach: quick, reserve: quick });
    world.end([host]).await;
}

/// Waits until the cloud is attaching a NIC for an ADD.
async fn until_attaching(host: &Host) {
    host.until("a NIC is on its way", |agent| !agent.nics().is_empty()).await;
}

async fn del_overtakes() {
    let mut world = World::with_jobs(1, SLOW).await;
    let host = cold(&mut world).await;
    let pod = host.pod("c1").await;
    let add = host.call("ADD", &pod);
    let adding = tokio::spawn(async move { add.fails(11).await });
    until_attaching(&host).await;
    let begun = Instant::now();
    host.call("DEL", &pod).succeeds().await;
    assert!(begun.elapsed() < PROMISED, "the DEL took {:?}", begun.elapsed());
    let why = adding.await.unwrap();
    assert!(begun.elapsed() < PROMISED, "the ADD hung on for {:?}", begun.elapsed());
    assert!(why.contains("DEL"), "{why}");
    assert_eq!(host.leases(), []);
    pod.is_empty();
    host.until("the NIC is free", |agent| free(agent) == 1).await;
    assert_eq!(host.agent().nics().len(), 1);
    // The NIC that came too late serves the next pod at once.
    let begun = Instant::now();
    pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
    assert!(begun.elapsed() < PROMISED, "a warm ADD took {:?}", begun.elapsed());
    host.call("DEL", &pod).succeeds().await;
    end(world, host).await;
}

async fn killed() {
    let mut world = World::with_jobs(1, SLOW).await;
    let host = cold(&mut world).await;
    let pod = host.pod("c1").await;
    let mut plugin = host.call("ADD", &pod).start().await;
    until_attaching(&host).await;
    plugin.kill().await.unwrap();
    // Another pod takes what the dead one's ADD had ordered: nobody else waits for it.
    let next = host.pod("c2").await;
    let given = next.agrees_with(&host.call("ADD", &next).succeeds().await);
    assert_eq!(host.agent().nics().len(), 1, "one NIC was ordered and serves: {given:?}");
    assert_eq!(host.leases().len(), 1);
    pod.is_empty();
    host.call("DEL", &pod).succeeds().await;
    host.call("DEL", &next).succeeds().await;
    end(world, host).await;
}

async fn gives_up() {
    let mut world = World::with_jobs(1, SLOW).await;
    let host = cold(&mut world).await;
    let pod = host.pod("c1").await;
    let add = host.call("ADD", &pod).with("timeout", serde_json::json!(4));
    let begun = Instant::now();
    let why = add.fails(11).await;
    assert!(begun.elapsed() < SLOW, "it took {:?}", begun.elapsed());
    assert!(why.contains("no NIC became ready in time"), "{why}");
    assert_eq!(host.leases(), []);
    pod.is_empty();
    host.until("the NIC is free", |agent| free(agent) == 1).await;
    host.call("ADD", &pod).succeeds().await;
    host.call("DEL", &pod).succeeds().await;
    end(world, host).await;
}
