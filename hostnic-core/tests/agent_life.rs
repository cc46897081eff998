//! What runtimes ask of the agent, in orders that hurt, and what the periodic comparison mends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use std::sync::Arc;

use hostnic_core::ErrorKind;
use hostnic_core::agent::{AddRequest, Agent, AgentParts, DelRequest, Finding, GcRequest, Readiness};
use hostnic_core::ledger::{AddressState, LeaseState};
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Route;
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::{Result, RouteProgrammer};
use tokio::time::{Instant, sleep, timeout};

use support::store::RefusingStore;
use support::{World, address_state, free, is_quiet, millis, netns, secs, usual_pool};

#[tokio::test(start_paused = true)]
async fn adding_and_deleting_one_attachment_a_hundred_times_leaves_nothing() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    for round in 0..100 {
        let answer = world.add(&agent, &pod).await.unwrap_or_else(|e| panic!("round {round}: {}", e.chain()));
        world.check(&agent, &pod).await.unwrap();
        assert_eq!(world.add(&agent, &pod).await.unwrap(), answer, "round {round}");
        world.del(&agent, &pod).await.unwrap();
        assert_eq!(world.check(&agent, &pod).await.unwrap_err().kind(), ErrorKind::NotFound);
        // A runtime takes longer than the clock's resolution between two commands.
        sleep(millis(1)).await;
    }
    assert!(world.nics().len() <= 63);
    sleep(secs(300)).await;
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 5);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_that_overtakes_a_cold_add_does_not_wait_for_the_cloud() {
    let world = World::new(PoolConfig { low: 0, high: 1, ..usual_pool() });
    let agent = world.agent().await;
    agent.ready().await;
    let pod = world.pod("p");
    let overtaken = async {
        sleep(millis(50)).await;
        let start = Instant::now();
        world.del(&agent, &pod).await.unwrap();
        start.elapsed()
    };
    let (add, took) = tokio::join!(world.add(&agent, &pod), overtaken);
    assert_eq!(add.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(took < secs(2), "{took:?}");
    sleep(secs(20)).await;
    world.quiet(&agent).await;
    assert_eq!(free(&world.state().await), 1, "the NIC that was made for it is free");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_of_the_unknown_succeeds_twice_and_without_a_namespace() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    for path in [None, Some(pod.netns.clone()), Some(netns("/run/netns/gone"))] {
        for _ in 0..2 {
            let request = DelRequest { key: pod.key.clone(), netns: path.clone(), started: world.now() };
            agent.del(request).await.unwrap();
        }
    }
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_arrives_after_a_later_del_is_refused_and_one_started_after_it_is_served() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let early_add = world.add_request(&pod);
    sleep(secs(1)).await;
    let early_del = world.del_request(&pod);
    sleep(secs(1)).await;
    let middle_add = world.add_request(&pod);
    sleep(secs(1)).await;
    world.del(&agent, &pod).await.unwrap();
    assert_eq!(agent.add(early_add).await.unwrap_err().kind(), ErrorKind::Cancelled);
    // A DEL that was started earlier arrives late: it must not make room for what the later one forbids.
    agent.del(early_del.clone()).await.unwrap();
    assert_eq!(agent.add(middle_add).await.unwrap_err().kind(), ErrorKind::Cancelled);
    sleep(secs(1)).await;
    world.add(&agent, &pod).await.unwrap();
    agent.del(early_del).await.unwrap();
    world.check(&agent, &pod).await.expect("a DEL from before the ADD is not about it");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_add_is_answered_the_same_and_one_for_another_namespace_is_refused() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    assert_eq!(world.add(&agent, &pod).await.unwrap(), answer);
    let elsewhere = AddRequest { netns: world.pod("other").netns, ..world.add_request(&pod) };
    assert_eq!(agent.add(elsewhere).await.unwrap_err().kind(), ErrorKind::Conflict);
    world.check(&agent, &pod).await.unwrap();
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_of_somebody_else_is_left_alone() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.kernel.add_foreign_link(&pod.netns, &pod.key.ifname, "52:54:00:ff:ff:01".parse().unwrap());
    assert_eq!(world.add(&agent, &pod).await.unwrap_err().kind(), ErrorKind::Conflict);
    let missing = AddRequest { netns: netns("/run/netns/none"), ..world.add_request(&pod) };
    assert_eq!(agent.add(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(free(&world.state().await), 3, "nobody used the address, so it need not rest");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_at_any_moment_leaves_nothing() {
    for warm in [true, false] {
        for polls in 1..12 {
            let low = if warm { 3 } else { 0 };
            let world = World::new(PoolConfig { low, ..usual_pool() });
            let agent = if warm { world.warm_agent().await } else { world.agent().await };
            agent.ready().await;
            let pod = world.pod("p");
            let mut add = Box::pin(world.add(&agent, &pod));
            for _ in 0..polls {
                if futures::poll!(&mut add).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(add);
            sleep(secs(30)).await;
            let leases = world.state().await.leases;
            // Either it was called off, or it was done, and then it is whole and its DEL undoes it.
            assert!(leases.values().all(|lease| lease.state == LeaseState::Active), "{polls} polls");
            world.quiet(&agent).await;
            world.agree().await;
            world.del(&agent, &pod).await.unwrap();
            world.agree().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_set_up_is_undone_and_the_next_succeeds() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    for fault in [KernelFault::Before(ErrorKind::Transient), KernelFault::After(ErrorKind::Transient)] {
        world.kernel.inject(KernelOperation::SetupPod, When::Nth(1), fault);
        assert_eq!(world.add(&agent, &pod).await.unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(world.state().await.leases.len(), 0);
        world.agree().await;
    }
    // The undoing fails too: the next ADD of the same attachment has to finish it.
    world.kernel.inject(KernelOperation::SetupPod, When::Nth(1), KernelFault::After(ErrorKind::Transient));
    world.kernel.inject(
        KernelOperation::TeardownPod,
        When::Nth(1),
        KernelFault::Before(ErrorKind::Transient),
    );
    world.add(&agent, &pod).await.unwrap_err();
    world.add(&agent, &pod).await.unwrap();
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_that_fails_half_way_is_finished_by_the_comparison() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    for operation in [KernelOperation::SilencePod, KernelOperation::TeardownPod] {
        world.kernel.inject(operation, When::Nth(1), KernelFault::Before(ErrorKind::Transient));
    }
    world.del(&agent, &pod).await.unwrap_err();
    assert!(!is_quiet(&world.state().await), "it is remembered");
    sleep(secs(70)).await;
    assert_eq!(world.state().await.leases.len(), 0);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_whose_namespace_is_gone_are_released_unless_too_many_go_at_once() {
    let world = World::new(PoolConfig { low: 2, high: 60, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 4);
    world.add_all(&agent, &pods).await;
    pods.iter().for_each(|pod| world.kernel.remove_sandbox(&pod.netns));
    let findings = agent.compare_now().await.unwrap();
    assert!(findings.contains(&Finding::BlindToSandboxes(4)), "{findings:?}");
    assert_eq!(world.state().await.leases.len(), 4);
    // The DELs come all the same.
    world.del_all(&agent, &pods[1..]).await;
    let answer = world.state().await.leases.into_values().next().unwrap();
    agent.compare_now().await.unwrap();
    let state = world.state().await;
    assert_eq!(state.leases.len(), 0, "one of one may be gone");
    let address = answer.lease.address.addr();
    let cools = state.nics.values().flat_map(|nic| &nic.addresses).find(|a| a.address == address).unwrap();
    assert!(matches!(cools.state, AddressState::Cooling { .. }));
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_was_taken_out_of_a_living_pod_is_put_back() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.kernel.teardown_marked(&pod.key.mark(), &pod.netns).await.unwrap().unwrap();
    assert_eq!(world.check(&agent, &pod).await.unwrap_err().kind(), ErrorKind::Conflict);
    sleep(secs(70)).await;
    world.check(&agent, &pod).await.unwrap();
    assert_eq!(world.add(&agent, &pod).await.unwrap(), answer);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_in_a_pod_is_repaired() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.kernel.strip_pod_link(&pod.netns, &pod.key.ifname);
    let error = world.check(&agent, &pod).await.unwrap_err();
    assert!(error.to_string().contains("address 192.168.1."), "{error}");
    sleep(secs(70)).await;
    world.check(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

async fn agent_over(world: &World, store: &RefusingStore) -> Agent {
    let parts = AgentParts { store: Arc::new(store.clone()), ..world.parts() };
    let agent = Agent::start(parts, world.config.clone()).await.unwrap();
    agent.ready().await;
    world.until(&agent, |state| free(state) >= 3).await;
    agent
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_a_commit_fails_that_request_and_no_more() {
    for (refused, later) in [(1, 0), (1, 1), (1, 2), (2, 0), (3, 1)] {
        let world = World::new(usual_pool());
        let store = RefusingStore::over(world.store.clone());
        let agent = agent_over(&world, &store).await;
        let pods = world.pods("p", 6);
        world.add_all(&agent, &pods[..later]).await;
        store.refuse(refused);
        let answers: Vec<Result<_>> =
            futures::future::join_all(pods.iter().map(|pod| world.add(&agent, pod))).await;
        for (pod, answer) in pods.iter().zip(answers) {
            match answer {
                Ok(_) => world.check(&agent, pod).await.unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{error}"),
            }
        }
        assert_eq!(store.refusals_left(), 0);
        // What was promised was durable: memory and store are the same.
        sleep(secs(70)).await;
        for pod in &pods {
            world.add(&agent, pod).await.unwrap();
        }
        world.quiet(&agent).await;
        assert_eq!(agent.leases(), world.state().await.leases.into_values().collect::<Vec<_>>());
        assert_eq!(agent.nics(), world.state().await.nics.into_values().collect::<Vec<_>>());
        world.agree().await;
        store.refuse(1);
        world.del(&agent, &pods[0]).await.unwrap_err();
        world.del(&agent, &pods[0]).await.unwrap();
        sleep(secs(70)).await;
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_without_the_cloud_serves_from_what_is_warm() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let running = world.pod("running");
    let answer = world.add(&agent, &running).await.unwrap();
    world.quiet(&agent).await;
    drop(agent);
    world.cloud.revoke_credentials();
    let agent = world.agent().await;
    let new = world.pod("new");
    timeout(secs(10), world.add(&agent, &new)).await.unwrap().unwrap();
    assert_eq!(agent.readiness(), Readiness::Ready);
    assert_eq!(world.add(&agent, &running).await.unwrap(), answer);
    world.del(&agent, &running).await.unwrap();
    world.cloud.restore_credentials();
    sleep(secs(30)).await;
    world.quiet(&agent).await;
    assert!(free(&world.state().await) >= 3, "the pool is filled again");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_records_and_without_the_cloud_says_why_it_waits() {
    let world = World::new(usual_pool());
    world.cloud.revoke_credentials();
    let agent = world.agent().await;
    let pod = world.pod("p");
    let request = AddRequest { patience: secs(20), ..world.add_request(&pod) };
    let error = agent.add(request).await.unwrap_err();
    assert!(error.to_string().contains("the credentials were revoked"), "{error}");
    let Readiness::NotReady(why) = agent.readiness() else { panic!("it is not ready") };
    assert!(why.contains("the credentials were revoked"), "{why}");
    world.cloud.restore_credentials();
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_garbage_collection_frees_what_is_not_listed_and_nothing_else() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let (kept, stale) = (world.pod("kept"), world.pod("stale"));
    let mut other = world.pod("other");
    other.key.network = "another".parse().unwrap();
    world.add_all(&agent, &[kept.clone(), stale.clone(), other.clone()]).await;
    sleep(secs(1)).await;
    let started = world.now();
    sleep(secs(1)).await;
    let later = world.pod("later");
    world.add(&agent, &later).await.unwrap();
    let request = GcRequest {
        network: kept.key.network.clone(),
        valid: [(kept.key.container.clone(), kept.key.ifname.clone())].into(),
        started,
    };
    let report = agent.gc(request).await.unwrap();
    assert_eq!((report.freed, report.failures.len()), (1, 0));
    for pod in [&kept, &other, &later] {
        world.check(&agent, pod).await.unwrap();
    }
    assert_eq!(world.check(&agent, &stale).await.unwrap_err().kind(), ErrorKind::NotFound);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_over_the_same_store_knows_what_the_old_one_did() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 3);
    let gone = world.pod("gone");
    world.add(&agent, &gone).await.unwrap();
    let answers = world.add_all(&agent, &pods).await;
    let late = world.add_request(&gone);
    world.del(&agent, &gone).await.unwrap();
    drop(agent);
    let agent = world.agent().await;
    agent.ready().await;
    for (pod, answer) in pods.iter().zip(&answers) {
        world.check(&agent, pod).await.unwrap();
        assert_eq!(world.add(&agent, pod).await.unwrap(), *answer);
    }
    assert_eq!(agent.add(late).await.unwrap_err().kind(), ErrorKind::Cancelled, "a DEL is remembered");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_is_rebuilt_from_the_pods_and_a_repeated_add_gets_its_routes() {
    let mut world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let routes = vec![Route { destination: "10.0.0.0/8".parse().unwrap(), next_hop: None }];
    let request =
        |world: &World| AddRequest { routes: routes.clone(), mtu: Some(1400), ..world.add_request(&pod) };
    let answer = agent.add(request(&world)).await.unwrap();
    world.quiet(&agent).await;
    drop(agent);
    world.store = Default::default();
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(agent.add(request(&world)).await.unwrap(), answer);
    world.quiet(&agent).await;
    world.agree().await;
    world.del(&agent, &pod).await.unwrap();
    assert!(matches!(address_state(&world.state().await, &answer), AddressState::Cooling { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_and_a_changed_configuration_strand_no_nic() {
    let mut world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    drop(agent);
    world.store = Default::default();
    world.config.pool.subnets.remove(0);
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(world.add(&agent, &pod).await.unwrap(), answer, "the pod is found again");
    world.del(&agent, &pod).await.unwrap();
    sleep(secs(900)).await;
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet()[0], 0, "what is in the old subnet is given back");
    world.agree().await;
}
