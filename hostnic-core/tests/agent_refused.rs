//! An agent whose cloud refuses it, does not know its subnets, or is not there: it says so, asks rarely, and serves as
//! soon as that is over.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::ErrorKind;
use hostnic_core::agent::{Agent, Readiness};
use hostnic_core::pool::PoolConfig;
use hostnic_core::sim::{Fault, Operation, When};
use tokio::time::{Instant, sleep};

use support::{World, millis, secs, usual_pool};

fn reason(agent: &Agent) -> String {
    match agent.readiness() {
        Readiness::NotReady(reason) => reason,
        Readiness::Ready => panic!("it is ready"),
    }
}

const ALL: [Operation; 8] = [
    Operation::Instance,
    Operation::Subnets,
    Operation::CreateNics,
    Operation::AttachNics,
    Operation::DetachNics,
    Operation::DeleteNics,
    Operation::ListNics,
    Operation::Jobs,
];

/// A world whose cloud answers every call with this.
fn failing(fault: &Fault) -> World {
    let world = World::new(usual_pool());
    ALL.into_iter().for_each(|operation| world.cloud.inject(operation, When::Always, fault.clone()));
    world
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_refuses_the_credentials_is_asked_rarely_and_its_word_is_told() {
    let world = failing(&Fault::Refuse(ErrorKind::Unauthorised));
    let agent = world.agent().await;
    sleep(secs(3600)).await;
    let calls = world.calls().len();
    assert!(calls <= 40, "{calls} calls in an hour");
    assert!(reason(&agent).contains("not authorised"), "{}", reason(&agent));
    let error = world.add(&agent, &world.pod("p")).await.unwrap_err();
    assert!(error.to_string().contains("not authorised"), "{error}");
    // Somebody gave the key its rights back.
    world.cloud.clear_faults();
    sleep(secs(310)).await;
    assert_eq!(agent.readiness(), Readiness::Ready);
    world.add(&agent, &world.pod("q")).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn lists_that_are_refused_are_asked_for_rarely() {
    let world = World::new(usual_pool());
    world.cloud.inject(Operation::ListNics, When::Always, Fault::Refuse(ErrorKind::Unauthorised));
    let agent = world.agent().await;
    sleep(secs(3600)).await;
    let calls = world.calls().len();
    assert!(calls <= 140, "{calls} calls in an hour");
    assert!(matches!(agent.readiness(), Readiness::NotReady(_)));
    world.cloud.clear_faults();
    sleep(secs(70)).await;
    assert_eq!(agent.readiness(), Readiness::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_ready_as_soon_as_its_cloud_is_reached() {
    let world = failing(&Fault::LoseRequest);
    let agent = world.agent().await;
    sleep(secs(600)).await;
    let calls = world.calls().len();
    assert!(calls <= 60, "{calls} calls in ten minutes");
    assert!(matches!(agent.readiness(), Readiness::NotReady(_)));
    world.cloud.clear_faults();
    world.cloud.clear_history();
    let back = Instant::now();
    agent.ready().await;
    assert!(back.elapsed() < secs(31), "{:?}", back.elapsed());
    let answered = world.calls()[0].at;
    assert!(world.cloud.now() - answered < millis(500), "it was not told of the cloud's first answer");
}

#[tokio::test(start_paused = true)]
async fn subnets_that_nobody_knows_are_named_and_not_asked_for_without_pause() {
    let unknown = vec!["vxnet-8".parse().unwrap(), "vxnet-9".parse().unwrap()];
    let world = World::new(PoolConfig { subnets: unknown, ..usual_pool() });
    let agent = world.agent().await;
    sleep(secs(3600)).await;
    let calls = world.calls().len();
    assert!(calls <= 60, "{calls} calls in an hour");
    assert!(reason(&agent).contains("vxnet-8, vxnet-9"), "{}", reason(&agent));
    let begun = Instant::now();
    let error = world.add(&agent, &world.pod("p")).await.unwrap_err();
    assert!(error.to_string().contains("vxnet-8, vxnet-9"), "{error}");
    assert!(begun.elapsed() < secs(1), "the ADD waited in vain");
}

#[tokio::test(start_paused = true)]
async fn one_unknown_subnet_does_not_keep_the_others_from_serving() {
    let mut subnets = usual_pool().subnets;
    subnets.insert(0, "vxnet-9".parse().unwrap());
    let world = World::new(PoolConfig { subnets, ..usual_pool() });
    let agent = world.warm_agent().await;
    assert_eq!(agent.readiness(), Readiness::Ready);
    sleep(secs(3600)).await;
    let calls = world.calls().len();
    assert!(calls <= 30, "{calls} calls in an hour");
    world.add(&agent, &world.pod("p")).await.unwrap();
}
