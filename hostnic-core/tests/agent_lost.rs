//! What becomes of NICs when answers are lost, jobs go wrong and links do not come.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hostnic_core::cloud::Nic;
use hostnic_core::id::{InstanceId, NicId};
use hostnic_core::ledger::{LeaseState, NicState, Write};
use hostnic_core::pool::PoolConfig;
use hostnic_core::sim::{Fault, Kernel, Operation, Plug, When};
use hostnic_core::store::StateStore;
use hostnic_core::{Effect, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use support::fuse::Fuse;
use support::{World, free, secs, usual_cloud, usual_pool};

/// Three NICs in the pool, no more and no less.
fn three() -> PoolConfig {
    PoolConfig { low: 3, high: 3, ..usual_pool() }
}

/// Starts an agent with a fault injected, and waits until its three NICs are ready and all else is gone.
async fn comes_right(operation: Operation, fault: Fault) -> World {
    let world = World::new(three());
    world.cloud.inject(operation, When::Nth(1), fault.clone());
    let agent = world.warm_agent().await;
    sleep(secs(200)).await;
    world.quiet(&agent).await;
    world.calls();
    assert_eq!(world.nics().len(), 3, "{operation:?} {fault:?}");
    world.agree().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_makes_no_second_nics() {
    let world = comes_right(Operation::CreateNics, Fault::LoseAnswer).await;
    assert_eq!(world.count(Operation::CreateNics), 1, "they are found by their name");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_never_arrived_is_made_again() {
    let world = comes_right(Operation::CreateNics, Fault::LoseRequest).await;
    assert_eq!(world.count(Operation::CreateNics), 2);
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_found_behind_a_list_that_lags() {
    let world = World::with_cloud(three(), |cloud| cloud.list_lag(secs(3)));
    world.cloud.inject(Operation::CreateNics, When::Nth(1), Fault::LoseAnswer);
    let agent = world.warm_agent().await;
    world.quiet(&agent).await;
    assert_eq!(world.count(Operation::CreateNics), 1);
    assert_eq!(world.nics().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_attach_whose_answer_was_lost_is_found() {
    comes_right(Operation::AttachNics, Fault::LoseAnswer).await;
}

#[tokio::test(start_paused = true)]
async fn an_attach_that_never_arrived_is_made_again() {
    comes_right(Operation::AttachNics, Fault::LoseRequest).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_made_again() {
    comes_right(Operation::AttachNics, Fault::FailJob).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_for_some_is_made_again_for_those() {
    let world = comes_right(Operation::AttachNics, Fault::FailJobFor(1)).await;
    let again = world.cloud.history().into_iter().filter(|c| c.operation == Operation::AttachNics).nth(1);
    assert_eq!(again.unwrap().items, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_cloud_forgot_is_looked_up_by_its_nics() {
    comes_right(Operation::AttachNics, Fault::ForgetJob { carried_out: true }).await;
    comes_right(Operation::AttachNics, Fault::ForgetJob { carried_out: false }).await;
}

#[tokio::test(start_paused = true)]
async fn nics_that_vanish_on_their_way_in_are_replaced() {
    comes_right(Operation::AttachNics, Fault::VanishNic).await;
    comes_right(Operation::CreateNics, Fault::VanishNic).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_stuck_is_waited_for_and_its_nics_are_replaced_and_deleted_in_the_end() {
    let world = World::new(three());
    world.cloud.inject(Operation::AttachNics, When::Nth(1), Fault::StickJob);
    let agent = world.warm_agent().await;
    assert_eq!(world.nics().len(), 6, "three are stuck, three came in their place");
    world.cloud.clear_history();
    sleep(secs(3600)).await;
    let calls = world.calls().len();
    assert!(calls < 200, "an hour of a stuck job costs {calls} calls");
    world.cloud.unstick_jobs();
    sleep(secs(900)).await;
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 3);
    world.agree().await;
}

/// A hypervisor that forgets the first NICs that it is told to plug in.
#[derive(Debug)]
struct Forgetful {
    kernel: Kernel,
    forgets: AtomicU32,
}

#[async_trait]
impl Plug for Forgetful {
    async fn plug(&self, instance: &InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()> {
        let next = |left: u32| left.checked_sub(1);
        if self.forgets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok() {
            return Ok(());
        }
        self.kernel.plug(instance, nic, sources).await
    }
    async fn unplug(&self, instance: &InstanceId, nic: &Nic) -> Result<()> {
        self.kernel.unplug(instance, nic).await
    }
    async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()> {
        self.kernel.set_sources(nic, sources).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_nic_whose_link_never_comes_is_given_back_and_replaced() {
    let mut world = World::new(three());
    let plug = Forgetful { kernel: world.kernel.clone(), forgets: AtomicU32::new(3) };
    world.cloud = usual_cloud(&world.kernel).plug(Arc::new(plug)).build().unwrap();
    let agent = world.warm_agent().await;
    sleep(secs(30)).await;
    world.quiet(&agent).await;
    world.calls();
    assert_eq!(world.nics().len(), 3);
    assert_eq!(world.count(Operation::CreateNics), 2, "three were made in place of the first three");
    world.agree().await;
}

/// Makes the pool give back NICs while `fault` meets the operation.
async fn goes_right(operation: Operation, fault: Fault) {
    let world = World::new(three());
    let agent = world.agent().await;
    let pods = world.pods("p", 4);
    world.add_all(&agent, &pods).await;
    world.quiet(&agent).await;
    world.cloud.inject(operation, When::Nth(1), fault.clone());
    world.del_all(&agent, &pods).await;
    sleep(secs(200)).await;
    // One of those that stay may have vanished.
    for _ in 0..2 {
        agent.compare_now().await.unwrap();
        sleep(secs(10)).await;
    }
    world.quiet(&agent).await;
    world.calls();
    assert_eq!(world.nics().len(), 3, "{operation:?} {fault:?}");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn giving_back_survives_every_fault() {
    for operation in [Operation::DetachNics, Operation::DeleteNics] {
        for fault in [
            Fault::LoseAnswer,
            Fault::LoseRequest,
            Fault::Refuse(ErrorKind::Conflict),
            Fault::Refuse(ErrorKind::Throttled { retry_after: None }),
            Fault::VanishNic,
        ] {
            goes_right(operation, fault).await;
        }
    }
    goes_right(Operation::DetachNics, Fault::FailJob).await;
    goes_right(Operation::DetachNics, Fault::FailJobFor(2)).await;
    goes_right(Operation::DetachNics, Fault::ForgetJob { carried_out: true }).await;
    goes_right(Operation::DetachNics, Fault::ForgetJob { carried_out: false }).await;
}

/// It is in the answers of cloud and kernel, and in no record any more when they are compared.
#[tokio::test(start_paused = true)]
async fn a_nic_that_was_given_back_during_a_look_is_not_taken_for_one_that_nobody_knows() {
    let mut world = World::new(three());
    world.config.kernel_deadline = secs(60);
    let fuse = Fuse::whole();
    let agent = world.agent_behind(&fuse).await.unwrap();
    agent.ready().await;
    world.until(&agent, |state| free(state) == 3).await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.until(&agent, |state| free(state) == 3).await;
    world.del(&agent, &pod).await.unwrap();
    assert_eq!(agent.nics().len(), 4);
    // Its address has rested a minute; then there is one too many.
    sleep(secs(58)).await;
    let held = fuse.hold_looks().await;
    let given_back = async {
        sleep(secs(1)).await;
        world.until(&agent, |state| state.nics.len() == 3).await;
        drop(held);
    };
    let (findings, ()) = tokio::join!(agent.compare_now(), given_back);
    assert_eq!(findings.unwrap(), []);
    assert_eq!(agent.nics().len(), 3);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_cloud_is_not_asked_without_pause() {
    let world = World::new(three());
    let agent = world.warm_agent().await;
    let lost = [
        Operation::CreateNics,
        Operation::AttachNics,
        Operation::DetachNics,
        Operation::DeleteNics,
        Operation::ListNics,
        Operation::Jobs,
    ];
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    while !world.state().await.nics.values().any(|n| matches!(n.state, NicState::Attaching { .. })) {
        sleep(secs(1)).await;
    }
    lost.into_iter().for_each(|operation| world.cloud.inject(operation, When::Always, Fault::LoseRequest));
    world.cloud.clear_history();
    sleep(secs(600)).await;
    let calls = world.calls().len();
    assert!(calls < 300, "{calls} calls in ten minutes");
    world.cloud.clear_faults();
    sleep(secs(60)).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn nics_that_can_be_neither_attached_nor_looked_at_are_tried_with_pauses() {
    let world = World::new(three());
    let agent = world.agent().await;
    agent.ready().await;
    world.cloud.inject(Operation::AttachNics, When::Always, Fault::LoseRequest);
    world.cloud.inject(Operation::ListNics, When::Always, Fault::LoseRequest);
    sleep(secs(600)).await;
    let calls = world.calls().len();
    assert!(calls < 100, "{calls} calls in ten minutes");
    world.cloud.clear_faults();
    sleep(secs(700)).await;
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 3);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_leased_nic_that_vanishes_keeps_its_lease_until_the_del() {
    let world = World::new(three());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.cloud.vanish(&answer.lease.nic).unwrap();
    for _ in 0..4 {
        agent.compare_now().await.unwrap();
        sleep(secs(60)).await;
    }
    let lease = world.state().await.leases.get(&pod.key.mark()).cloned().expect("the lease stays");
    assert_eq!(lease.state, LeaseState::Active);
    world.del(&agent, &pod).await.unwrap();
    for _ in 0..2 {
        agent.compare_now().await.unwrap();
    }
    sleep(secs(60)).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pods_nic_that_was_detached_behind_our_back_is_attached_again() {
    let world = World::new(three());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    let nics = std::slice::from_ref(&answer.lease.nic);
    let _job = world.provider().detach_nics(nics).await.unwrap();
    sleep(secs(10)).await;
    agent.compare_now().await.unwrap();
    // As long as the cloud's lists may lag: sooner it is not believed.
    sleep(secs(5)).await;
    agent.compare_now().await.unwrap();
    sleep(secs(70)).await;
    world.quiet(&agent).await;
    world.check(&agent, &pod).await.unwrap();
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pods_nic_that_cannot_come_back_goes_after_the_del() {
    let world = World::new(three());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    let nics = std::slice::from_ref(&answer.lease.nic);
    let _job = world.provider().detach_nics(nics).await.unwrap();
    sleep(secs(10)).await;
    agent.compare_now().await.unwrap();
    // As long as the cloud's lists may lag: sooner it is not believed.
    sleep(secs(5)).await;
    agent.compare_now().await.unwrap();
    world.cloud.inject(Operation::AttachNics, When::Always, Fault::FailJob);
    // It is gone altogether before it is plugged in again.
    world.cloud.vanish(&answer.lease.nic).unwrap();
    sleep(secs(600)).await;
    let state = world.state().await;
    assert!(state.leases.contains_key(&pod.key.mark()), "the lease stays until the DEL");
    let nic = &state.nics[&answer.lease.nic];
    assert!(matches!(nic.state, NicState::Attaching { failures: 2.., .. }), "it is tried on: {nic:?}");
    world.cloud.clear_faults();
    world.del(&agent, &pod).await.unwrap();
    sleep(secs(900)).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_the_cloud_fails_says_what_the_cloud_said() {
    let world = World::new(PoolConfig { low: 0, high: 0, ..usual_pool() });
    world.cloud.inject(
        Operation::CreateNics,
        When::Always,
        Fault::Refuse(ErrorKind::Quota(hostnic_core::QuotaScope::Account)),
    );
    let agent = world.agent().await;
    let start = Instant::now();
    let error = world.add(&agent, &world.pod("p")).await.unwrap_err();
    assert!(start.elapsed() < secs(2), "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Quota(hostnic_core::QuotaScope::Account));
    assert_eq!(error.effect(), Effect::None);
    assert!(error.to_string().contains("the account's quota is used up"), "{error}");
    world.agree().await;
}

/// The agent was killed after the cloud took its attach and before it could record that, and the cloud takes its time to
/// say which instance this is.
#[tokio::test(start_paused = true)]
async fn nics_that_were_attached_before_a_crash_are_ours_when_it_is_not_known_yet_where_we_are() {
    let world = World::new(three());
    let agent = world.warm_agent().await;
    let nics = agent.nics();
    agent.stop().await;
    let unattached = NicState::Attaching { job: None, failures: 0 };
    let writes = nics.iter().map(|nic| Write::PutNic(nic.clone().in_state(unattached.clone(), world.now())));
    world.store.commit(&writes.collect::<Vec<_>>()).await.unwrap();

    world.cloud.inject(Operation::Instance, When::Next(2), Fault::Refuse(ErrorKind::Transient));
    let agent = world.agent().await;
    sleep(secs(200)).await;
    let states: Vec<NicState> = agent.nics().into_iter().map(|nic| nic.state).collect();
    assert_eq!(states, vec![NicState::Ready; 3]);
    world.agree().await;
}
