//! A DEL is answered before its NIC is back: what holds between the answer and the end, and whatever comes between them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use std::time::Duration;

use hostnic_core::agent::{Agent, AgentParts, EndingCounts, GcRequest};
use hostnic_core::ledger::{AddressState, LeaseState};
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::MarkedLink;
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::store::MemoryStore;
use hostnic_core::{ErrorKind, RouteProgrammer};
use tokio::time::{Instant, sleep};

use support::fuse::Fuse;
use support::store::RefusingStore;
use support::{Pod, World, address_state, secs, usual_pool};

/// How long the kernel takes to move a NIC back, where a test looks at what holds meanwhile.
const MOVE: Duration = Duration::from_secs(5);

const FAILS: KernelFault = KernelFault::Before(ErrorKind::Transient);

/// A world with a pod that runs, whose NIC takes a while to come back.
async fn running() -> (World, Agent, Pod) {
    running_on(World::new(usual_pool())).await
}

async fn running_on(world: World) -> (World, Agent, Pod) {
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.kernel.set_latency(KernelOperation::GiveBack, MOVE);
    (world, agent, pod)
}

async fn link(world: &World, pod: &Pod) -> Option<MarkedLink> {
    let kernel = world.kernel.observe().await.unwrap();
    kernel.pods.into_iter().find(|link| link.mark == pod.key.mark())
}

async fn lease_state(world: &World, pod: &Pod) -> Option<LeaseState> {
    world.state().await.leases.get(&pod.key.mark()).map(|lease| lease.state)
}

/// How long something takes.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let done = work.await;
    (done, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_with_a_silent_pod_and_a_free_name_and_the_address_is_nobodys_until_the_end() {
    let (world, agent, pod) = running().await;
    let answer = world.add(&agent, &pod).await.unwrap();
    let (answered, took) = timed(world.del_answered(&agent, &pod)).await;
    answered.unwrap();
    assert!(took < secs(1), "{took:?}");
    let silent = link(&world, &pod).await.expect("its NIC is still on the way");
    assert!(silent.silenced);
    assert_ne!(silent.ifname, pod.key.ifname);
    let drifts = world.kernel.check_pod(&world.state().await.leases[&pod.key.mark()].plan).await.unwrap();
    assert!(drifts.iter().any(|drift| drift.object == "interface eth0"), "{drifts:?}");
    assert_eq!(lease_state(&world, &pod).await, Some(LeaseState::Releasing));
    assert!(matches!(address_state(&world.state().await, &answer), AddressState::Leased { .. }));
    assert_eq!(agent.endings(), EndingCounts { running: 1, ..EndingCounts::default() });

    let ((), took) = timed(agent.dels_ended()).await;
    assert!(took > secs(1), "{took:?}");
    assert_eq!(link(&world, &pod).await, None);
    assert!(matches!(address_state(&world.state().await, &answer), AddressState::Cooling { .. }));
    assert_eq!(agent.endings(), EndingCounts::default());
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_is_nobodys_until_its_flows_are_forgotten_however_short_it_rests() {
    let pool = PoolConfig {
        low: 1,
        high: 1,
        max_nics: 1,
        cooling: Duration::ZERO,
        least_cooling: Duration::ZERO,
        ..usual_pool()
    };
    let world = World::new(pool);
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.kernel.inject(KernelOperation::Forget, When::Nth(1), FAILS);
    world.kernel.set_latency(KernelOperation::Forget, MOVE);
    world.del_answered(&agent, &pod).await.unwrap();
    let (added, took) = timed(world.add(&agent, &world.pod("next"))).await;
    assert_eq!(added.unwrap().lease.address, answer.lease.address);
    assert!(took >= MOVE, "{took:?}");
    assert_eq!(world.kernel.calls()[&KernelOperation::Forget], 2, "what failed was tried again");
    assert_eq!(world.kernel.remembered().len(), 1, "the next pod's own");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn many_pods_flows_are_forgotten_at_the_same_time() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pods = world.pods("q", 3);
    world.add_all(&agent, &pods).await;
    world.kernel.set_latency(KernelOperation::Forget, MOVE);
    for pod in &pods {
        world.del_answered(&agent, pod).await.unwrap();
    }
    let ((), took) = timed(agent.dels_ended()).await;
    assert!(took < 2 * MOVE, "{took:?}");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_next_on_the_attachment_waits_for_the_end_and_others_do_not() {
    let (world, agent, pod) = running().await;
    let other = world.pod("other");
    world.del_answered(&agent, &pod).await.unwrap();
    let begun = Instant::now();
    let next = async {
        world.check(&agent, &pod).await.expect_err("it is deleted");
        let checked = begun.elapsed();
        world.del_answered(&agent, &pod).await.unwrap();
        (checked, lease_state(&world, &pod).await)
    };
    let others = async {
        world.add(&agent, &other).await.unwrap();
        world.del_answered(&agent, &other).await.unwrap();
        begun.elapsed()
    };
    let ((checked, after_second), others) = tokio::join!(next, others);
    assert!(checked > secs(4), "{checked:?}");
    assert_eq!(after_second, None, "the success of a second DEL says that all is back");
    assert!(others < secs(1), "{others:?}");
    agent.dels_ended().await;

    sleep(secs(1)).await;
    world.add(&agent, &pod).await.unwrap();
    world.del_answered(&agent, &pod).await.unwrap();
    sleep(secs(1)).await;
    let (added, took) = timed(world.add(&agent, &pod)).await;
    added.unwrap();
    assert!(took > secs(3), "{took:?}");
    world.check(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn nics_come_back_one_at_a_time_and_no_answer_waits_for_them() {
    let (world, agent, pod) = running().await;
    let mut pods = world.pods("q", 2);
    world.add_all(&agent, &pods).await;
    pods.push(pod);
    let answers = pods.iter().map(|pod| world.del_answered(&agent, pod));
    let (answers, took) = timed(futures::future::join_all(answers)).await;
    answers.into_iter().for_each(Result::unwrap);
    assert!(took < secs(1), "{took:?}");
    let ((), took) = timed(agent.dels_ended()).await;
    assert!(took > 2 * MOVE, "{took:?}");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_ends_after_the_answer_lives_until_its_nic_is_back() {
    let (world, agent, pod) = running().await;
    let answer = world.add(&agent, &pod).await.unwrap();
    let here = async || {
        let kernel = world.kernel.observe().await.unwrap();
        kernel.host.iter().any(|link| link.mac == answer.lease.mac)
    };
    world.del_answered(&agent, &pod).await.unwrap();
    world.kernel.remove_sandbox(&pod.netns);
    assert!(!here().await, "it would be nobody's for a while");
    agent.dels_ended().await;
    assert!(here().await);
    assert_eq!(world.kernel.calls()[&KernelOperation::GiveBack], 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_the_last_nic_is_not_refused_while_that_is_on_its_way_back() {
    let pool = PoolConfig {
        low: 1,
        high: 1,
        max_nics: 1,
        cooling: Duration::ZERO,
        least_cooling: Duration::ZERO,
        ..usual_pool()
    };
    let (world, agent, pod) = running_on(World::new(pool)).await;
    world.del_answered(&agent, &pod).await.unwrap();
    let (added, took) = timed(world.add(&agent, &world.pod("next"))).await;
    added.unwrap();
    assert!(took > secs(3), "{took:?}");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_cannot_be_taken_back_at_once_is_tried_again() {
    for fault in [FAILS, KernelFault::After(ErrorKind::Transient)] {
        let (world, agent, pod) = running().await;
        world.kernel.inject(KernelOperation::GiveBack, When::Nth(1), fault);
        world.kernel.inject(KernelOperation::GiveBack, When::Nth(2), fault);
        world.del(&agent, &pod).await.unwrap();
        assert_eq!(agent.endings(), EndingCounts { failures: 2, ..EndingCounts::default() });
        assert_eq!(lease_state(&world, &pod).await, None);
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_the_end_of_a_lease_is_tried_again() {
    let world = World::new(usual_pool());
    let store = RefusingStore::over(world.store.clone());
    let parts = AgentParts { store: std::sync::Arc::new(store.clone()), ..world.parts() };
    let agent = Agent::start(parts, world.config.clone()).await.unwrap();
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.kernel.set_latency(KernelOperation::GiveBack, MOVE);
    world.del_answered(&agent, &pod).await.unwrap();
    store.refuse(1);
    agent.dels_ended().await;
    assert_eq!((store.refusals_left(), agent.endings().failures), (0, 1));
    assert_eq!(lease_state(&world, &pod).await, None);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_is_never_given_back_is_left_to_a_second_del_or_to_the_comparison() {
    for asked_again in [true, false] {
        let (world, agent, pod) = running().await;
        world.kernel.inject(KernelOperation::GiveBack, When::Always, FAILS);
        world.del(&agent, &pod).await.unwrap();
        assert_eq!(agent.endings(), EndingCounts { running: 0, failures: 4, left: 1 });
        assert_eq!(lease_state(&world, &pod).await, Some(LeaseState::Releasing));
        assert!(link(&world, &pod).await.is_some());
        if asked_again {
            world.del_answered(&agent, &pod).await.unwrap();
        } else {
            sleep(secs(70)).await;
        }
        assert_eq!(lease_state(&world, &pod).await, None);
        assert_eq!(world.kernel.calls()[&KernelOperation::TeardownPod], 1);
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_silenced_is_taken_down_before_the_answer() {
    for fault in [FAILS, KernelFault::After(ErrorKind::Internal)] {
        let (world, agent, pod) = running().await;
        world.kernel.inject(KernelOperation::SilencePod, When::Nth(1), fault);
        world.del_answered(&agent, &pod).await.unwrap();
        assert_eq!(lease_state(&world, &pod).await, None);
        assert_eq!(link(&world, &pod).await, None);
        assert_eq!(agent.endings(), EndingCounts::default());
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gc_is_answered_before_its_nics_are_back() {
    let (world, agent, pod) = running().await;
    sleep(secs(1)).await;
    let request = GcRequest { network: pod.key.network.clone(), valid: [].into(), started: world.now() };
    let (report, took) = timed(agent.gc(request)).await;
    assert_eq!(report.unwrap().freed, 1);
    assert!(took < secs(1), "{took:?}");
    assert!(link(&world, &pod).await.unwrap().silenced);
    agent.dels_ended().await;
    assert_eq!(lease_state(&world, &pod).await, None);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn stop_and_drain_wait_for_the_end() {
    let (world, agent, pod) = running().await;
    world.del_answered(&agent, &pod).await.unwrap();
    agent.stop().await;
    assert_eq!(lease_state(&world, &pod).await, None);
    assert_eq!(link(&world, &pod).await, None);

    let (world, agent, pod) = running().await;
    world.del_answered(&agent, &pod).await.unwrap();
    assert_eq!(agent.drain(secs(120)).await, 0);
    assert_eq!(world.nics().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_a_kernel_that_hangs_only_so_long_and_the_next_start_goes_on() {
    let (world, agent, pod) = running().await;
    world.kernel.set_latency(KernelOperation::GiveBack, secs(3600));
    world.del_answered(&agent, &pod).await.unwrap();
    let ((), took) = timed(agent.stop()).await;
    assert!(took < secs(15), "{took:?}");
    drop(agent);
    assert!(link(&world, &pod).await.unwrap().silenced);
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(lease_state(&world, &pod).await, None);
    world.quiet(&agent).await;
    world.agree().await;
}

/// What became of a DEL whose agent was killed.
#[derive(Debug, Default)]
struct Cuts {
    before_the_answer: u32,
    /// Answered, and the NIC still in the pod.
    between: u32,
    after_the_end: u32,
}

/// Kills the agent so many polls after a DEL was sent, and starts another. Whether the DEL had come to its end.
async fn cut(after: i64, forget: bool, namespace_ends: bool, cuts: &mut Cuts) -> bool {
    let mut world = World::new(usual_pool());
    let fuse = Fuse::whole();
    let agent = world.agent_behind(&fuse).await.unwrap();
    let pod = world.pod("p");
    let told = world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    fuse.burn(after);
    let mut answered = false;
    let ended = tokio::select! {
        biased;
        () = fuse.blown() => false,
        () = async {
            world.del_answered(&agent, &pod).await.unwrap();
            answered = true;
            if namespace_ends {
                world.kernel.remove_sandbox(&pod.netns);
            }
            agent.dels_ended().await;
        } => true,
    };
    let in_pod = lease_state(&world, &pod).await.is_some();
    drop(agent);
    match (answered, in_pod) {
        (false, _) => cuts.before_the_answer += 1,
        (true, true) => cuts.between += 1,
        (true, false) => cuts.after_the_end += 1,
    }
    if forget {
        world.store = MemoryStore::default();
        // Where the NIC is back already, nothing tells any more whose flows they were.
        world.kernel.time_out_flows();
    }
    let agent = world.agent().await;
    agent.ready().await;
    if !answered {
        world.del(&agent, &pod).await.unwrap();
    }
    assert_eq!(lease_state(&world, &pod).await, None, "cut after {after}, answered: {answered}");
    assert_eq!(link(&world, &pod).await, None);
    // Without records an address that was given back rests anew: it may have been in use a moment ago.
    assert!(matches!(address_state(&world.state().await, &told), AddressState::Cooling { .. }));
    world.quiet(&agent).await;
    world.agree().await;
    ended
}

#[tokio::test(start_paused = true)]
async fn an_agent_killed_between_answer_and_end_leaves_nothing_whatever_else_is_lost() {
    for forget in [false, true] {
        for namespace_ends in [false, true] {
            let mut cuts = Cuts::default();
            let mut after = 1;
            while !cut(after, forget, namespace_ends, &mut cuts).await {
                after += 1;
            }
            assert!(cuts.before_the_answer > 2 && cuts.between > 2, "{cuts:?}");
        }
    }
}
