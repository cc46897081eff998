//! A node whose subnets change while it works, one that has none, and what it says is left for pods to come.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::agent::Readiness;
use hostnic_core::id::SubnetId;
use hostnic_core::pool::{PoolConfig, Supply};
use hostnic_core::refusal::Refusal;
use hostnic_core::sim::{Fault, Operation, Quotas, When};
use hostnic_core::{ErrorKind, QuotaScope};
use tokio::time::{Instant, sleep};

use support::{World, free, made, millis, secs, usual_pool};

fn subnets(names: &[&str]) -> Vec<SubnetId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn of(names: &[&str]) -> PoolConfig {
    PoolConfig { subnets: subnets(names), low: 2, high: 3, ..usual_pool() }
}

#[tokio::test(start_paused = true)]
async fn free_nics_of_a_subnet_that_is_drawn_from_no_more_go_and_leased_ones_go_with_their_pods() {
    let world = World::new(of(&["vxnet-1"]));
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 2);
    let answers = world.add_all(&agent, &pods).await;
    world.quiet(&agent).await;
    agent.set_subnets(subnets(&["vxnet-2", "vxnet-2"]));
    assert_eq!(agent.subnets(), subnets(&["vxnet-2"]));
    world.until(&agent, |state| free(state) == 2 && state.nics.len() == 4).await;
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet(), [2, 2, 0]);
    for (pod, answer) in pods.iter().zip(&answers) {
        world.check_kernel(pod, answer).await;
        world.check(&agent, pod).await.unwrap();
    }
    let new = world.pod("new");
    let answer = world.add(&agent, &new).await.unwrap();
    assert_eq!(answer.lease.subnet.as_str(), "vxnet-2");
    world.del_all(&agent, &pods).await;
    sleep(secs(70)).await;
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet(), [0, 3, 0]);
    world.agree().await;
    // And back.
    agent.set_subnets(subnets(&["vxnet-1"]));
    world.del(&agent, &new).await.unwrap();
    sleep(secs(80)).await;
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet(), [2, 0, 0]);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_from_the_new_subnet_and_what_is_being_made_is_not_lost() {
    // At each moment of the first create and attach, with some more.
    for after in (0..70).map(|step| step * 100) {
        let world = World::new(PoolConfig { low: 0, high: 0, ..of(&["vxnet-1"]) });
        let agent = world.agent().await;
        agent.ready().await;
        let pods = world.pods("p", 3);
        let begun = Instant::now();
        let (answers, ()) = tokio::join!(world.add_all(&agent, &pods), async {
            sleep(millis(after)).await;
            agent.set_subnets(subnets(&["vxnet-2"]));
        });
        assert!(begun.elapsed() < secs(14), "{after} ms: {:?}", begun.elapsed());
        world.del_all(&agent, &pods[..1]).await;
        sleep(secs(90)).await;
        world.quiet(&agent).await;
        assert_eq!(world.nics().len(), 2, "{after} ms: only what pods have is left");
        for (pod, answer) in pods.iter().zip(&answers).skip(1) {
            world.check_kernel(pod, answer).await;
        }
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_found_though_its_subnet_is_drawn_from_no_more() {
    for restart in [false, true] {
        let mut world = World::new(PoolConfig { low: 0, high: 0, ..of(&["vxnet-1"]) });
        world.cloud.inject(Operation::CreateNics, When::Nth(1), Fault::LoseAnswer);
        let mut agent = world.agent().await;
        agent.ready().await;
        let pod = world.pod("p");
        let (answer, ()) = tokio::join!(world.add(&agent, &pod), async {
            sleep(secs(1)).await;
            agent.set_subnets(subnets(&["vxnet-2"]));
        });
        assert_eq!(answer.unwrap().lease.subnet.as_str(), "vxnet-2");
        if restart {
            drop(agent);
            world.config.pool.subnets = subnets(&["vxnet-2"]);
            agent = world.agent().await;
            agent.ready().await;
        }
        sleep(secs(30)).await;
        world.quiet(&agent).await;
        assert_eq!(world.by_subnet(), [0, 1, 0]);
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_without_subnets_serves_only_pods_that_name_one() {
    let world = World::new(of(&[]));
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(agent.readiness(), Readiness::Ready);
    let begun = Instant::now();
    for wish in [hostnic_core::pods::NicWish::Any, made(None, None)] {
        let error = world.add_wished(&agent, &world.pod("any"), wish).await.unwrap_err();
        println!("{error}");
        assert_eq!(error.refusal(), Some(&Refusal::NoSubnet));
        assert_eq!(error.kind(), ErrorKind::Exhausted);
    }
    assert!(begun.elapsed() < secs(1));
    let named = world.pod("named");
    let answer = world.add_wished(&agent, &named, made(Some("vxnet-3"), None)).await.unwrap();
    assert_eq!(answer.lease.subnet.as_str(), "vxnet-3");
    sleep(secs(300)).await;
    assert_eq!(world.by_subnet(), [0, 0, 1]);
    assert_eq!((agent.supply().borrow().is_scarce(), agent.capacity()), (false, 63));
    // It is given one, and loses it again.
    agent.set_subnets(subnets(&["vxnet-1"]));
    world.until(&agent, |state| free(state) == 2).await;
    agent.set_subnets(Vec::new());
    sleep(secs(20)).await;
    assert_eq!(world.by_subnet(), [0, 0, 1]);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_subnet_that_the_cloud_does_not_know_is_named_until_it_is_corrected() {
    let world = World::new(of(&["vxnet-1"]));
    let agent = world.warm_agent().await;
    agent.set_subnets(subnets(&["vxnet-none"]));
    sleep(secs(10)).await;
    let Readiness::NotReady(why) = agent.readiness() else { unreachable!("it has no subnet") };
    assert!(why.contains("vxnet-none"), "{why}");
    world.add(&agent, &world.pod("p")).await.unwrap_err();
    agent.set_subnets(subnets(&["vxnet-2"]));
    world.until(&agent, |state| free(state) >= 2).await;
    assert_eq!(agent.readiness(), Readiness::Ready);
    world.quiet(&agent).await;
    assert_eq!(world.by_subnet(), [0, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn subnets_that_change_all_the_time_leave_nothing_behind() {
    let world = World::new(of(&["vxnet-1"]));
    let agent = world.warm_agent().await;
    let sets: [&[&str]; 5] =
        [&["vxnet-2"], &["vxnet-3", "vxnet-1"], &[], &["vxnet-1", "vxnet-2"], &["vxnet-2", "vxnet-3"]];
    let pods = world.pods("p", 30);
    let adds = pods.iter().enumerate().map(|(n, pod)| {
        let (world, agent) = (&world, &agent);
        async move {
            sleep(millis(n as u64 * 731)).await;
            world.add_within(agent, pod, hostnic_core::pods::NicWish::Any, secs(20)).await.is_ok()
        }
    });
    let (served, ()) = tokio::join!(futures::future::join_all(adds), async {
        for n in 0..12 {
            agent.set_subnets(subnets(sets[n % sets.len()]));
            sleep(millis(1900)).await;
        }
    });
    println!("{} of 30 were served", served.iter().filter(|served| **served).count());
    agent.set_subnets(subnets(&["vxnet-3"]));
    world.del_all(&agent, &pods).await;
    sleep(secs(120)).await;
    world.quiet(&agent).await;
    world.agree().await;
    let [first, second, third] = world.by_subnet()[..] else { unreachable!() };
    assert!((first, second) == (0, 0) && (2..=3).contains(&third), "{first} {second} {third}");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_told_and_scarcity_begins_and_ends_with_it() {
    let world = World::new(PoolConfig { low: 1, high: 1, max_nics: 3, ..usual_pool() });
    let agent = world.warm_agent().await;
    world.quiet(&agent).await;
    let supply = agent.supply();
    let now = || *supply.borrow();
    assert_eq!(agent.capacity(), 3);
    assert_eq!(now(), Supply { free: 3, firm: true });
    let pods = world.pods("p", 3);
    world.add(&agent, &pods[0]).await.unwrap();
    sleep(millis(10)).await;
    assert_eq!(now(), Supply { free: 2, firm: true });
    world.add(&agent, &pods[1]).await.unwrap();
    world.add_wished(&agent, &pods[2], made(None, None)).await.unwrap();
    sleep(millis(10)).await;
    assert_eq!((now(), agent.capacity()), (Supply { free: 0, firm: true }, 3));
    // The address rests: from a while on it would be given to who asks for one.
    world.del(&agent, &pods[0]).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(now(), Supply { free: 0, firm: true });
    sleep(secs(5)).await;
    assert_eq!(now(), Supply { free: 1, firm: true });
}

#[tokio::test(start_paused = true)]
async fn full_subnets_and_a_used_up_account_are_scarcity_and_a_hiccup_is_none() {
    let pool = PoolConfig { low: 0, high: 0, ..of(&["vxnet-a"]) };
    let world = World::with_cloud(pool.clone(), |cloud| cloud.subnet("vxnet-a", "10.0.0.0/29"));
    let agent = world.agent().await;
    agent.ready().await;
    sleep(secs(1)).await;
    assert_eq!((*agent.supply().borrow(), agent.capacity()), (Supply { free: 5, firm: true }, 5));
    world.add_all(&agent, &world.pods("p", 5)).await;
    sleep(millis(10)).await;
    assert_eq!((*agent.supply().borrow(), agent.capacity()), (Supply { free: 0, firm: true }, 5));

    let quotas = Quotas { nics_per_account: Some(2), ..Quotas::default() };
    let pool = PoolConfig { subnets: subnets(&["vxnet-1"]), ..pool };
    let world = World::with_cloud(pool, |cloud| cloud.quotas(quotas));
    let agent = world.agent().await;
    agent.ready().await;
    world.add_all(&agent, &world.pods("p", 2)).await;
    assert_eq!((agent.supply().borrow().is_scarce(), agent.capacity()), (false, 63));
    // Nobody knows before it is asked for.
    let error = world.add(&agent, &world.pod("late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota(QuotaScope::Account));
    assert_eq!(error.refusal(), Some(&Refusal::AccountFull));
    assert_eq!((agent.supply().borrow().is_scarce(), agent.capacity()), (true, 2));

    let world = World::new(of(&["vxnet-1"]));
    world.cloud.inject(Operation::CreateNics, When::Always, Fault::Refuse(ErrorKind::Transient));
    let agent = world.agent().await;
    agent.ready().await;
    for _ in 0..30 {
        sleep(secs(1)).await;
        assert!(!agent.supply().borrow().is_scarce());
    }
}
