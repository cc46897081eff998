//! The pool under an agent, over the simulated cloud: how fast, with how many calls, and in which order.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::agent::{Agent, AgentParts};
use hostnic_core::ipam::LeaseRequest;
use hostnic_core::ledger::{AddressState, LeaseState, Ledger, NicState, State, Write};
use hostnic_core::pods::NicWish;
use hostnic_core::policy::PolicyName;
use hostnic_core::pool::{Pool, PoolConfig, PoolParts};
use hostnic_core::provider::Capabilities;
use hostnic_core::sim::{KernelOperation, Operation, Quotas};
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_core::{ErrorKind, Ipam, Result};
use tokio::time::{Instant, sleep, timeout};

use support::{POLICIES, Pod, World, address_state, free, millis, secs, usual_pool};

/// As many NICs as pods, and none beside.
fn exact(pool: PoolConfig) -> PoolConfig {
    PoolConfig { low: 0, high: 0, ..pool }
}

#[tokio::test(start_paused = true)]
async fn sixty_pods_on_a_cold_node_are_ready_in_seven_seconds_with_twelve_calls() {
    for policy in POLICIES {
        let world = World::new(PoolConfig { policy, ..exact(usual_pool()) });
        let start = Instant::now();
        let agent = world.agent().await;
        let pods = world.pods("p", 60);
        let answers = world.add_all(&agent, &pods).await;
        let took = start.elapsed();
        println!("{policy}: {took:?}");
        let calls = world.calls();
        assert!(took < secs(7), "{policy}: {took:?}");
        assert!(calls.len() <= 12, "{policy}: {} calls", calls.len());
        assert_eq!(world.count(Operation::AttachNics), 1, "{policy}");
        let subnets = world.by_subnet();
        match policy.to_string().as_str() {
            "RoundRotate" => assert_eq!(subnets, [20, 20, 20]),
            "FailRotate" => assert_eq!(subnets, [60, 0, 0]),
            // Three sigma of 60 draws with probability 1/3 are 11.
            _ => assert!(subnets.iter().all(|n| (9..=31).contains(n)), "{subnets:?}"),
        }
        let addresses: BTreeSet<_> = answers.iter().map(|a| a.lease.address).collect();
        assert_eq!(addresses.len(), 60);
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_after_a_single_pod_is_gathered_like_the_first() {
    let world = World::new(exact(usual_pool()));
    let agent = world.agent().await;
    world.add_all(&agent, &world.pods("first", 1)).await;
    sleep(secs(30)).await;
    world.cloud.clear_history();
    let pods = world.pods("p", 50);
    // A runtime does not start them all in one instant.
    let burst = (0..15).zip(pods.chunks(4)).map(|(turn, pods)| {
        let (world, agent) = (&world, &agent);
        async move {
            sleep(millis(turn)).await;
            world.add_all(agent, pods).await
        }
    });
    futures::future::join_all(burst).await;
    world.calls();
    assert_eq!(world.count(Operation::CreateNics), 1);
    assert_eq!(world.count(Operation::AttachNics), 1);
}

#[tokio::test(start_paused = true)]
async fn sixty_warm_pods_need_no_call() {
    let world = World::new(PoolConfig { low: 60, high: 60, ..usual_pool() });
    let agent = world.warm_agent().await;
    // What is made in their place is gathered first, and is nothing that they wait for.
    world.cloud.clear_history();
    let start = Instant::now();
    let pods = world.pods("p", 60);
    world.add_all(&agent, &pods).await;
    assert!(start.elapsed() < millis(100), "{:?}", start.elapsed());
    assert_eq!(world.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cloud_with_eight_addresses_on_a_nic_runs_through_the_same_pool() {
    let eight = Capabilities {
        create_batch: 252,
        batch: 100,
        addresses_per_nic: 8,
        fixed_addresses: true,
        bare_nics: true,
    };
    let config = PoolConfig { addresses_per_nic: 8, ..usual_pool() };
    let world = World::with_cloud(config.clone(), |cloud| cloud.capabilities(eight));
    let AgentParts { provider, tagging, programmer, store, clock, seed, .. } = world.parts();
    let ledger = Arc::new(Ledger::open(store).await.unwrap());
    let pool = Pool::start(PoolParts { provider, tagging, programmer, ledger, clock, seed }, config).unwrap();
    pool.settle();
    let request = |n| LeaseRequest {
        key: Pod::named(&format!("p{n}")).key,
        pod: None,
        nic: NicWish::Any,
        patience: secs(60),
    };
    let requests: Vec<_> = (0..20).map(request).collect();
    let leases = futures::future::join_all(requests.iter().map(|request| pool.allocate(request))).await;
    let leases: Vec<_> = leases.into_iter().map(Result::unwrap).collect();
    let addresses: BTreeSet<_> = leases.iter().map(|lease| lease.address).collect();
    let nics: BTreeSet<_> = leases.iter().map(|lease| &lease.nic).collect();
    assert_eq!((addresses.len(), nics.len()), (20, 3));
    assert_eq!(world.nics().len(), 3, "they have three addresses more, as many as are to be free");
    assert_eq!((world.count(Operation::CreateNics), world.count(Operation::AttachNics)), (1, 1));
    for (request, lease) in requests.iter().zip(&leases) {
        assert_eq!(pool.allocate(request).await.unwrap(), *lease, "the same again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pod_after_the_last_nic_is_told_so_at_once() {
    let world = World::new(PoolConfig { max_nics: 2, ..exact(usual_pool()) });
    let agent = world.agent().await;
    world.add_all(&agent, &world.pods("p", 2)).await;
    let start = Instant::now();
    let error = world.add(&agent, &world.pod("late")).await.unwrap_err();
    assert!(start.elapsed() < secs(1), "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let text = error.to_string();
    assert!(text.contains("net/late/eth0") && text.contains("all the 2 NICs"), "{text}");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_rests_for_a_minute() {
    let world = World::new(PoolConfig { low: 1, high: 9, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    world.del(&agent, &pod).await.unwrap();
    sleep(secs(59)).await;
    assert!(matches!(address_state(&world.state().await, &answer), AddressState::Cooling { .. }));
    sleep(secs(2)).await;
    assert!(matches!(address_state(&world.state().await, &answer), AddressState::Free { .. }));
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_yields_after_five_seconds_when_a_pod_would_wait() {
    let world = World::new(PoolConfig { max_nics: 1, ..exact(usual_pool()) });
    let agent = world.agent().await;
    let (first, second) = (world.pod("first"), world.pod("second"));
    let answer = world.add(&agent, &first).await.unwrap();
    world.del(&agent, &first).await.unwrap();
    let start = Instant::now();
    let again = world.add(&agent, &second).await.unwrap();
    assert_eq!(again.lease.address, answer.lease.address);
    let waited = start.elapsed();
    assert!((secs(5)..millis(5100)).contains(&waited), "{waited:?}");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_free_for_longest_is_leased_first() {
    let world = World::new(PoolConfig { low: 0, high: 63, cooling: Duration::ZERO, ..usual_pool() });
    let agent = world.agent().await;
    let pods = world.pods("p", 5);
    let answers = world.add_all(&agent, &pods).await;
    let order = [3, 1, 4, 0, 2];
    for n in order {
        world.del(&agent, &pods[n]).await.unwrap();
        sleep(secs(1)).await;
    }
    for (place, n) in order.into_iter().enumerate() {
        let again = world.add(&agent, &world.pod(&format!("again{place}"))).await.unwrap();
        assert_eq!(again.lease.address, answers[n].lease.address, "place {place}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_are_served_in_the_order_in_which_they_came() {
    let world = World::new(PoolConfig { max_nics: 1, ..exact(usual_pool()) });
    let agent = world.agent().await;
    let holder = world.pod("holder");
    world.add(&agent, &holder).await.unwrap();
    world.del(&agent, &holder).await.unwrap();
    // The one address cools; it is given to who has waited for longest.
    let (first, second) = (world.pod("first"), world.pod("second"));
    let served = async {
        let early = world.add(&agent, &first);
        let late = async {
            sleep(secs(1)).await;
            world.add(&agent, &second).await
        };
        tokio::join!(early, late)
    };
    let (early, late) = timeout(secs(30), served).await.unwrap();
    assert!(early.is_ok(), "{early:?}");
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Exhausted, "nothing is left and nothing will come");
}

#[tokio::test(start_paused = true)]
async fn what_is_above_the_high_watermark_is_given_back() {
    let world = World::new(usual_pool());
    let agent = world.agent().await;
    let pods = world.pods("p", 20);
    world.add_all(&agent, &pods).await;
    world.quiet(&agent).await;
    world.del_all(&agent, &pods).await;
    sleep(secs(55)).await;
    assert_eq!(world.nics().len(), 23, "nothing goes while its address rests");
    sleep(secs(60)).await;
    world.quiet(&agent).await;
    world.calls();
    assert_eq!(world.nics().len(), 5);
    assert!(world.count(Operation::DetachNics) <= 2, "many with one call");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_subnet_that_is_configured_no_more_is_drained() {
    let mut world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let kept = world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    drop(agent);
    assert_eq!(kept.lease.subnet.as_str(), "vxnet-1");
    world.config.pool.subnets.remove(0);
    let agent = world.agent().await;
    sleep(secs(60)).await;
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet(), [1, 3, 0], "the pod keeps its NIC, all others go");
    let next = world.add(&agent, &world.pod("next")).await.unwrap();
    assert_eq!(next.lease.subnet.as_str(), "vxnet-2");
    world.del(&agent, &pod).await.unwrap();
    sleep(secs(120)).await;
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet()[0], 0);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_hour_needs_four_calls() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    world.add_all(&agent, &world.pods("p", 5)).await;
    world.quiet(&agent).await;
    sleep(secs(3 * 3600)).await;
    world.cloud.clear_history();
    sleep(secs(3600)).await;
    assert!(world.calls().len() <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_subnet_is_left_for_the_next_and_used_again_when_it_has_room() {
    for tells in [true, false] {
        let world = World::with_cloud(exact(usual_pool()), |cloud| {
            let cloud = cloud.quotas(Quotas { nics_per_subnet: 4, ..Quotas::default() });
            if tells { cloud } else { cloud.hide_room() }
        });
        let agent = world.agent().await;
        let pods = world.pods("p", 4);
        world.add_all(&agent, &pods).await;
        assert_eq!(world.by_subnet(), [4, 0, 0]);
        let more = world.pods("more", 4);
        world.add_all(&agent, &more).await;
        assert_eq!(world.by_subnet(), [4, 4, 0], "tells: {tells}");
        world.add_all(&agent, &world.pods("last", 4)).await;
        world.del_all(&agent, &pods).await;
        sleep(secs(300)).await;
        world.quiet(&agent).await;
        assert_eq!(world.by_subnet(), [0, 4, 4], "tells: {tells}");
        world.add_all(&agent, &world.pods("again", 4)).await;
        assert_eq!(world.by_subnet(), [4, 4, 4], "tells: {tells}");
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn room_that_another_node_gave_back_is_found() {
    let world = World::with_cloud(exact(usual_pool()), |cloud| {
        cloud.instance("i-2").quotas(Quotas { nics_per_subnet: 1, ..Quotas::default() })
    });
    let other = world.cloud.node(&"i-2".parse().unwrap());
    let mut theirs = Vec::new();
    for subnet in &world.config.pool.subnets {
        let request = hostnic_core::provider::CreateNics {
            subnet: subnet.clone(),
            count: 1,
            name: hostnic_core::cloud::NicName { instance: "i-2".parse().unwrap(), token: None },
            addresses: hostnic_core::provider::NicAddresses::Assigned(1),
        };
        theirs.extend(hostnic_core::NicProvider::create_nics(&other, &request).await.unwrap());
    }
    let agent = world.agent().await;
    let error = world.add(&agent, &world.pod("p")).await.unwrap_err();
    assert!(error.to_string().contains("every subnet is full"), "{error}");
    let gone: Vec<_> = theirs.into_iter().map(|nic| nic.id).collect();
    hostnic_core::NicProvider::delete_nics(&other, &gone).await.unwrap();
    sleep(secs(120)).await;
    // The first finds out, if nobody has; runtimes try again.
    let pod = world.pod("q");
    let served = async {
        while world.add(&agent, &pod).await.is_err() {
            sleep(secs(10)).await;
        }
    };
    timeout(secs(120), served).await.expect("the room is found");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_has_full_subnets_looked_at_waits_for_what_is_found() {
    let pool = PoolConfig { subnets: vec!["vxnet-1".parse().unwrap()], ..exact(usual_pool()) };
    let world = World::with_cloud(pool, |cloud| {
        cloud.instance("i-2").quotas(Quotas { nics_per_subnet: 1, ..Quotas::default() })
    });
    let other = world.cloud.node(&"i-2".parse().unwrap());
    let fill = hostnic_core::provider::CreateNics {
        subnet: "vxnet-1".parse().unwrap(),
        count: 1,
        name: hostnic_core::cloud::NicName { instance: "i-2".parse().unwrap(), token: None },
        addresses: hostnic_core::provider::NicAddresses::Assigned(1),
    };
    let theirs = hostnic_core::NicProvider::create_nics(&other, &fill).await.unwrap().remove(0).id;
    let agent = world.agent().await;
    // Not before the subnets have been left alone for a while.
    let pod = world.pod("p");
    let begun = Instant::now();
    let error = world.add(&agent, &pod).await.unwrap_err();
    assert!(error.to_string().contains("every subnet is full") && begun.elapsed() < secs(1), "{error}");
    sleep(secs(60)).await;
    let error = world.add(&agent, &pod).await.unwrap_err();
    assert!(error.to_string().contains("every subnet is full"), "it still is: {error}");
    hostnic_core::NicProvider::delete_nics(&other, &[theirs]).await.unwrap();
    sleep(secs(120)).await;
    world.add(&agent, &pod).await.unwrap();
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_subnet_that_others_filled_and_freed_gets_its_share_again_though_the_rest_have_room() {
    let pool = PoolConfig { policy: PolicyName::RoundRotate, ..exact(usual_pool()) };
    let first = pool.subnets[0].clone();
    let world = World::with_cloud(pool, |cloud| {
        cloud.instance("i-2").quotas(Quotas { nics_per_subnet: 20, ..Quotas::default() })
    });
    let agent = world.agent().await;
    world.add_all(&agent, &world.pods("p", 3)).await;
    assert_eq!(world.by_subnet(), [1, 1, 1]);
    let other = world.cloud.node(&"i-2".parse().unwrap());
    let fill = hostnic_core::provider::CreateNics {
        subnet: first,
        count: 19,
        name: hostnic_core::cloud::NicName { instance: "i-2".parse().unwrap(), token: None },
        addresses: hostnic_core::provider::NicAddresses::Assigned(1),
    };
    let theirs = hostnic_core::NicProvider::create_nics(&other, &fill).await.unwrap();
    let theirs: Vec<_> = theirs.into_iter().map(|nic| nic.id).collect();
    for pod in world.pods("q", 6) {
        world.add(&agent, &pod).await.unwrap();
    }
    assert_eq!(world.by_subnet(), [1, 4, 4], "the others take its share");
    hostnic_core::NicProvider::delete_nics(&other, &theirs).await.unwrap();
    sleep(secs(120)).await;
    let looks = world.count(Operation::Subnets);
    for pod in world.pods("r", 6) {
        world.add(&agent, &pod).await.unwrap();
    }
    assert_eq!(world.by_subnet(), [3, 6, 6]);
    assert_eq!(world.count(Operation::Subnets) - looks, 1);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn draining_gives_everything_back_and_refilling_begins_anew() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    assert_eq!(agent.drain(secs(60)).await, 1, "the pod's own is left");
    assert_eq!(world.nics().len(), 1);
    assert!(world.state().await.nics.values().all(|nic| nic.state == NicState::Ready));
    world.del(&agent, &pod).await.unwrap();
    assert_eq!(agent.drain(secs(60)).await, 0);
    assert_eq!(world.nics().len(), 0);
    assert_eq!(free(&world.state().await), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_leases_that_are_being_released() {
    let world = World::new(PoolConfig { low: 0, high: 9, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.kernel.set_latency(KernelOperation::TeardownPod, secs(5));
    let (released, left) = tokio::join!(world.del(&agent, &pod), async {
        world.until(&agent, |state| state.leases.values().any(|l| l.state == LeaseState::Releasing)).await;
        agent.drain(secs(60)).await
    });
    released.unwrap();
    assert_eq!((left, world.nics().len()), (0, 0));
}

/// A store whose commits take this long.
#[derive(Debug)]
struct SlowStore(MemoryStore, Duration);

#[async_trait]
impl StateStore for SlowStore {
    async fn load(&self) -> Result<State> {
        self.0.load().await
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        tokio::time::sleep(self.1).await;
        self.0.commit(writes).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_becomes_ready_while_the_pool_looks_elsewhere_is_not_taken_for_overdue() {
    let world = World::new(PoolConfig { low: 1, high: 1, ..usual_pool() });
    // The cloud says that the NIC is plugged in before its link is seen.
    world.kernel.set_latency(KernelOperation::WaitForNic, secs(20));
    let store = Arc::new(SlowStore(world.store.clone(), secs(1)));
    let agent = Agent::start(AgentParts { store, ..world.parts() }, world.config.clone()).await.unwrap();
    let seen = || agent.nics().iter().any(|nic| nic.state == NicState::Ready);
    while !seen() {
        tokio::time::sleep(millis(100)).await;
    }
    // The record that says so is still being written.
    assert_eq!(agent.drain(secs(30)).await, 0);
}
