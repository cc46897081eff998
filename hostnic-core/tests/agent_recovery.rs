//! What is asked of an agent that has lost its records, before it has found its pods again.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::agent::{AddAnswer, Agent, DelRequest};
use hostnic_core::ledger::NicState;
use hostnic_core::{ErrorKind, RouteProgrammer};
use tokio::time::{sleep, timeout};

use support::{Pod, World, secs, usual_pool};

/// A node with some pods, whose records are lost, and the agent that has just been started on it.
async fn lost() -> (World, Vec<Pod>, Vec<AddAnswer>) {
    let mut world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 3);
    let answers = world.add_all(&agent, &pods).await;
    world.quiet(&agent).await;
    drop(agent);
    world.store = Default::default();
    (world, pods, answers)
}

async fn found(world: &World, agent: &Agent, pods: &[Pod]) {
    for pod in pods {
        world.check(agent, pod).await.unwrap();
    }
    world.quiet(agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn repeated_adds_do_not_hold_up_what_they_wait_for() {
    let (world, pods, answers) = lost().await;
    let agent = world.agent().await;
    let again = timeout(secs(5), world.add_all(&agent, &pods)).await.unwrap();
    assert_eq!(again, answers);
    found(&world, &agent, &pods).await;
}

#[tokio::test(start_paused = true)]
async fn a_del_still_calls_off_an_add_that_waits_for_the_start() {
    let (world, ..) = lost().await;
    world.cloud.revoke_credentials();
    let agent = world.agent().await;
    let pod = world.pod("new");
    let del = async {
        sleep(secs(1)).await;
        timeout(secs(1), world.del(&agent, &pod)).await.unwrap().unwrap();
    };
    let (add, ()) = tokio::join!(timeout(secs(3), world.add(&agent, &pod)), del);
    assert_eq!(add.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_check_is_not_answered_before_the_pods_are_known() {
    let (world, pods, _) = lost().await;
    world.cloud.revoke_credentials();
    let agent = world.agent().await;
    let error = world.check(&agent, &pods[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    world.cloud.restore_credentials();
    agent.ready().await;
    found(&world, &agent, &pods).await;
    assert_eq!(world.check(&agent, &world.pod("none")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_del_that_tells_no_namespace_is_finished_when_the_pod_is_found() {
    let (world, pods, _) = lost().await;
    let agent = world.agent().await;
    agent.del(DelRequest { netns: None, ..world.del_request(&pods[0]) }).await.unwrap();
    agent.ready().await;
    assert_eq!(agent.leases().len(), 2);
    let kernel = world.kernel.observe().await.unwrap();
    assert!(kernel.pods.iter().all(|link| link.netns != pods[0].netns), "{:#?}", kernel.pods);
    found(&world, &agent, &pods[1..]).await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_whose_link_is_nowhere_is_kept_and_not_leased_until_it_is_back() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    world.quiet(&agent).await;
    let nic = agent.nics()[0].clone();
    world.kernel.remove_link(nic.mac);
    for _ in 0..2 {
        agent.compare_now().await.unwrap();
        sleep(secs(60)).await;
    }
    let state = || agent.nics().into_iter().find(|own| own.id == nic.id).unwrap().state;
    assert_eq!(state(), NicState::Quarantined);
    let pods = world.pods("p", 8);
    let given = world.add_all(&agent, &pods).await;
    assert!(given.iter().all(|answer| answer.lease.nic != nic.id));
    sleep(secs(4000)).await;
    assert_eq!(state(), NicState::Quarantined);
    world.kernel.add_host_link(nic.mac, false);
    agent.compare_now().await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}
