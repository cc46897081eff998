//! Pods that ask for a NIC of their own: made where, and with the address, that they name, and gone with them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::agent::{AddRequest, ByHost};
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::ledger::{NicRole, NicState};
use hostnic_core::pods::{NicWish, PodWishes};
use hostnic_core::pool::PoolConfig;
use hostnic_core::refusal::Refusal;
use hostnic_core::sim::{Fault, Operation, Quotas, When};
use hostnic_core::{ErrorKind, QuotaScope};
use tokio::time::{Instant, sleep};

use support::{World, made, millis, secs, usual_pool};

/// A pool that keeps nothing, so that all NICs are those of pods.
fn bare() -> PoolConfig {
    PoolConfig { low: 0, high: 0, subnets: vec!["vxnet-1".parse().unwrap()], ..usual_pool() }
}

#[tokio::test(start_paused = true)]
async fn a_nic_is_made_for_the_pod_and_deleted_with_it() {
    let world = World::new(bare());
    let agent = world.agent().await;
    let pod = world.pod("p");
    let wish = made(Some("vxnet-3"), Some("192.168.3.77"));
    let begun = Instant::now();
    let answer = world.add_wished(&agent, &pod, wish.clone()).await.unwrap();
    println!("{:?}", begun.elapsed());
    assert_eq!(answer.lease.address.to_string(), "192.168.3.77/24");
    assert_eq!(answer.lease.subnet.as_str(), "vxnet-3");
    assert_eq!(world.by_subnet(), [0, 0, 1]);
    assert_eq!(world.state().await.nics[&answer.lease.nic].role, NicRole::Own(pod.key.mark()));
    world.check_kernel(&pod, &answer).await;
    world.agree().await;
    // The same again, and the next pod gets another.
    assert_eq!(world.add_wished(&agent, &pod, wish).await.unwrap(), answer);
    let other = world.pod("other");
    let any = world.add(&agent, &other).await.unwrap();
    assert_eq!(any.lease.subnet.as_str(), "vxnet-1");
    world.del(&agent, &pod).await.unwrap();
    // No cooling: it is gone as fast as the cloud can.
    sleep(secs(6)).await;
    assert_eq!(world.by_subnet(), [1, 0, 0]);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_names_no_subnet_gets_one_of_the_pool_and_leaves_warm_nics_alone() {
    let world = World::new(PoolConfig { low: 2, high: 2, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let answer = world.add_wished(&agent, &pod, made(None, None)).await.unwrap();
    assert!(matches!(world.state().await.nics[&answer.lease.nic].role, NicRole::Own(_)));
    assert_eq!(world.nics().len(), 3);
    // With an address alone it is the subnet that holds it.
    let second = world.pod("second");
    let answer = world.add_wished(&agent, &second, made(None, Some("192.168.2.200"))).await.unwrap();
    assert_eq!(answer.lease.subnet.as_str(), "vxnet-2");
    world.del(&agent, &pod).await.unwrap();
    world.del(&agent, &second).await.unwrap();
    sleep(secs(10)).await;
    assert_eq!(world.nics().len(), 2);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_cannot_be_is_told_exactly_why() {
    let world = World::with_cloud(bare(), |cloud| {
        cloud.subnet("vxnet-tiny", "10.9.0.0/30").router("rtr-other").subnet("vxnet-far", "10.8.0.0/24")
    });
    let agent = world.agent().await;
    agent.ready().await;
    let ask = async |name: &str, subnet: &str, address: Option<&str>| {
        let begun = Instant::now();
        let pod = world.pod(name);
        let error = world.add_wished(&agent, &pod, made(Some(subnet), address)).await.unwrap_err();
        println!("{} after {:?}: {error}", error.refusal().unwrap().word(), begun.elapsed());
        assert!(begun.elapsed() < secs(2), "{:?}", begun.elapsed());
        error
    };
    let outside = ask("outside", "vxnet-3", Some("192.168.4.1")).await;
    assert!(matches!(outside.refusal(), Some(Refusal::AddressOutside { .. })));
    assert_eq!(outside.kind(), ErrorKind::Invalid);
    for taken_by_nobody in ["192.168.3.0", "192.168.3.1", "192.168.3.255"] {
        let error = ask(taken_by_nobody, "vxnet-3", Some(taken_by_nobody)).await;
        assert!(matches!(error.refusal(), Some(Refusal::AddressOutside { .. })));
    }
    let unknown = ask("unknown", "vxnet-none", None).await;
    assert_eq!(unknown.refusal(), Some(&Refusal::UnknownSubnet("vxnet-none".parse().unwrap())));
    let far = ask("far", "vxnet-far", None).await;
    assert_eq!(far.refusal(), Some(&Refusal::ForeignSubnet("vxnet-far".parse().unwrap())));
    let tiny = world.pod("tiny");
    world.add_wished(&agent, &tiny, made(Some("vxnet-tiny"), None)).await.unwrap();
    let full = ask("full", "vxnet-tiny", None).await;
    assert_eq!(full.kind(), ErrorKind::Quota(QuotaScope::Subnet));
    assert_eq!(full.refusal(), Some(&Refusal::SubnetFull("vxnet-tiny".parse().unwrap())));
    // All that is no reason for the pool to rest, nor anything that is left.
    let begun = Instant::now();
    world.add(&agent, &world.pod("any")).await.unwrap();
    assert!(begun.elapsed() < secs(6), "{:?}", begun.elapsed());
    world.quiet(&agent).await;
    world.agree().await;
    assert_eq!(world.nics().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_subnet_that_a_pod_names_does_not_set_the_pool_back() {
    let pool = PoolConfig { low: 0, high: 0, ..usual_pool() };
    let world = World::with_cloud(pool, |cloud| cloud.hide_room());
    let agent = world.agent().await;
    agent.ready().await;
    world.cloud.inject(
        Operation::CreateNics,
        When::Nth(1),
        Fault::Refuse(ErrorKind::Quota(QuotaScope::Subnet)),
    );
    let error = world.add_wished(&agent, &world.pod("named"), made(Some("vxnet-1"), None)).await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::SubnetFull(_))));
    let any = world.add(&agent, &world.pod("any")).await.unwrap();
    assert_eq!(any.lease.subnet.as_str(), "vxnet-1");
}

#[tokio::test(start_paused = true)]
async fn a_full_node_makes_place_for_a_pod_with_a_wish_out_of_its_warm_nics_and_then_says_no() {
    let world = World::new(PoolConfig { low: 2, high: 2, max_nics: 3, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 3);
    let wishes = pods.iter().map(|pod| world.add_wished(&agent, pod, made(None, None)));
    let answers = futures::future::join_all(wishes).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let begun = Instant::now();
    for (name, wish) in [("wish", made(None, None)), ("any", NicWish::Any)] {
        let error = world.add_wished(&agent, &world.pod(name), wish).await.unwrap_err();
        assert_eq!(error.refusal(), Some(&Refusal::NodeFull { limit: 3 }), "{error}");
        assert!(error.to_string().contains("all the 3 NICs"), "{error}");
    }
    assert!(begun.elapsed() < secs(2), "{:?}", begun.elapsed());
    // One that goes makes place for one that waits.
    let (last, next) = (world.pod("last"), &pods[0]);
    let (added, deleted) =
        tokio::join!(world.add_wished(&agent, &last, made(None, None)), world.del(&agent, next));
    deleted.unwrap();
    let added = match added {
        Ok(added) => added,
        Err(_) => world.add_wished(&agent, &last, made(None, None)).await.unwrap(),
    };
    world.check_kernel(&last, &added).await;
    world.quiet(&agent).await;
    world.agree().await;
    assert_eq!(world.nics().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_no_second_nic() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let world = World::new(bare());
        let agent = world.agent().await;
        agent.ready().await;
        world.cloud.inject(Operation::CreateNics, When::Nth(1), fault.clone());
        let pod = world.pod("p");
        let wish = made(Some("vxnet-2"), Some("192.168.2.9"));
        let answer = world.add_wished(&agent, &pod, wish).await.unwrap();
        assert_eq!(answer.lease.address.addr().to_string(), "192.168.2.9", "{fault:?}");
        assert_eq!(world.nics().len(), 1);
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_add_that_gives_up_leaves_nothing_and_the_next_try_goes_on_with_what_it_left() {
    let world = World::new(bare());
    let agent = world.agent().await;
    agent.ready().await;
    let wish = || made(Some("vxnet-2"), Some("192.168.2.9"));
    // Attaching takes five seconds.
    let first = world.pod("first");
    let error = world.add_within(&agent, &first, wish(), secs(1)).await.unwrap_err();
    println!("{error}");
    let nic = world.nics().into_keys().next().unwrap();
    // A runtime tries with another sandbox, to which the NIC is left.
    let second = world.pod("second");
    let answer = world.add_within(&agent, &second, wish(), secs(10)).await.unwrap();
    assert_eq!(answer.lease.nic, nic);
    assert_eq!(world.count(Operation::CreateNics), 1);
    world.agree().await;
    world.del(&agent, &second).await.unwrap();
    world.until(&agent, |state| state.nics.is_empty()).await;
    // Nobody tries again.
    world.add_within(&agent, &first, wish(), secs(1)).await.unwrap_err();
    sleep(secs(60)).await;
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attachment_tries_again_with_the_nic_that_its_last_try_left() {
    let world = World::new(bare());
    let agent = world.agent().await;
    agent.ready().await;
    let pod = world.pod("p");
    world.add_within(&agent, &pod, made(Some("vxnet-2"), None), secs(1)).await.unwrap_err();
    let nic = world.nics().into_keys().next().unwrap();
    let answer = world.add_wished(&agent, &pod, made(Some("vxnet-2"), None)).await.unwrap();
    assert_eq!(answer.lease.nic, nic);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttling_cloud_is_waited_for_and_named() {
    let world = World::new(bare());
    let agent = world.agent().await;
    agent.ready().await;
    let throttled = Fault::Refuse(ErrorKind::Throttled { retry_after: Some(secs(3)) });
    world.cloud.inject(Operation::CreateNics, When::Next(1), throttled.clone());
    world.add_wished(&agent, &world.pod("patient"), made(Some("vxnet-2"), None)).await.unwrap();
    world.cloud.inject(Operation::CreateNics, When::Always, throttled);
    let error = world
        .add_within(&agent, &world.pod("hasty"), made(Some("vxnet-2"), None), secs(7))
        .await
        .unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::Throttled), "{error}");
    assert!(matches!(error.kind(), ErrorKind::Throttled { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_may_own_no_more_is_named() {
    let quotas = Quotas { nics_per_account: Some(1), ..Quotas::default() };
    let world = World::with_cloud(bare(), |cloud| cloud.quotas(quotas));
    let agent = world.agent().await;
    world.add_wished(&agent, &world.pod("p"), made(Some("vxnet-2"), None)).await.unwrap();
    let error = world.add_wished(&agent, &world.pod("q"), made(Some("vxnet-2"), None)).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::AccountFull), "{error}");
}

#[tokio::test(start_paused = true)]
async fn wishes_are_served_at_the_same_time_as_others() {
    let world = World::new(bare());
    let agent = world.agent().await;
    agent.ready().await;
    let begun = Instant::now();
    let (own, any) = (world.pods("own", 20), world.pods("any", 20));
    let own = own.iter().map(|pod| world.add_wished(&agent, pod, made(Some("vxnet-3"), None)));
    let (own, any) = tokio::join!(futures::future::join_all(own), world.add_all(&agent, &any));
    assert!(own.iter().all(Result::is_ok));
    assert_eq!(any.len(), 20);
    println!("{:?}", begun.elapsed());
    world.calls();
    assert!(begun.elapsed() < secs(8), "{:?}", begun.elapsed());
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_want_one_address_get_it_one_after_the_other() {
    let [one, two] = World::two(bare());
    let (first, second) = (one.agent().await, two.agent().await);
    tokio::join!(first.ready(), second.ready());
    let wish = || made(Some("vxnet-2"), Some("192.168.2.50"));
    let (a, b) = (one.pod("a"), two.pod("b"));
    let (left, right) = tokio::join!(
        one.add_within(&first, &a, wish(), secs(8)),
        two.add_within(&second, &b, wish(), secs(8)),
    );
    let (winner, error) = match (left, right) {
        (Ok(_), Err(error)) => (1, error),
        (Err(error), Ok(_)) => (2, error),
        other => unreachable!("{other:?}"),
    };
    println!("{error}");
    let Some(Refusal::AddressTaken { by: Some(by), .. }) = error.refusal() else { unreachable!("{error}") };
    assert_eq!(one.cloud.snapshot().values().filter(|nic| nic.subnet.as_str() == "vxnet-2").count(), 1);
    assert!(by.instance.is_none() || by.instance.as_ref().unwrap().as_str() == format!("i-{winner}"));
    // The pod moves: its address is waited for on the other node.
    let (from, from_agent, pod, to, to_agent) =
        if winner == 1 { (&one, &first, &a, &two, &second) } else { (&two, &second, &b, &one, &first) };
    let moved = to.pod("moved");
    let begun = Instant::now();
    let (added, deleted) = tokio::join!(to.add_wished(to_agent, &moved, wish()), async {
        sleep(millis(1500)).await;
        from.del(from_agent, pod).await
    });
    deleted.unwrap();
    let added = added.unwrap();
    println!("moved in {:?}", begun.elapsed());
    assert!(begun.elapsed() < secs(20), "{:?}", begun.elapsed());
    to.check_kernel(&moved, &added).await;
    from.quiet(from_agent).await;
    from.agree().await;
    to.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_somebody_else_has_is_refused_at_once() {
    let world = World::new(bare());
    let agent = world.agent().await;
    agent.ready().await;
    let subnet = "vxnet-2".parse().unwrap();
    let fixed = hostnic_core::provider::NicAddresses::Fixed(vec!["192.168.2.50".parse().unwrap()]);
    let theirs = world.cloud.control().create_nics(&subnet, "database", 1, &fixed).unwrap().remove(0);
    let begun = Instant::now();
    let wish = made(Some("vxnet-2"), Some("192.168.2.50"));
    let error = world.add_wished(&agent, &world.pod("p"), wish).await.unwrap_err();
    println!("{error}");
    assert!(begun.elapsed() < secs(1), "{:?}", begun.elapsed());
    let Some(Refusal::AddressTaken { by: Some(by), .. }) = error.refusal() else { unreachable!("{error}") };
    assert_eq!((&by.nic, &by.instance), (&theirs.id, &None));
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}

#[tokio::test(start_paused = true)]
async fn a_nic_for_one_pod_is_the_pods_again_when_the_records_are_lost_and_is_never_leaked() {
    let mut world = World::new(bare());
    let pod = world.pod("p");
    {
        let agent = world.agent().await;
        world.add_wished(&agent, &pod, made(Some("vxnet-3"), Some("192.168.3.77"))).await.unwrap();
        // Another ADD is under way, far from any pod.
        let _ = world.add_within(&agent, &world.pod("q"), made(Some("vxnet-2"), None), millis(300)).await;
    }
    world.store = hostnic_core::store::MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    world.check(&agent, &pod).await.unwrap();
    world.del(&agent, &pod).await.unwrap();
    for _ in 0..4 {
        sleep(secs(60)).await;
        agent.compare_now().await.unwrap();
    }
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 0, "{}", support::told(&world.state().await));
}

#[tokio::test(start_paused = true)]
async fn what_is_made_is_tagged_and_nothing_waits_for_it() {
    let world = World::new(PoolConfig { tag: Some("tag-pods".to_owned()), ..bare() });
    let agent = world.agent().await;
    agent.ready().await;
    world.cloud.inject(Operation::TagNics, When::Next(2), Fault::Refuse(ErrorKind::Transient));
    let pods = world.pods("p", 3);
    let begun = Instant::now();
    world.add_all(&agent, &pods[..2]).await;
    let own = world.add_wished(&agent, &pods[2], made(Some("vxnet-2"), None)).await.unwrap();
    assert!(begun.elapsed() < secs(15));
    sleep(secs(60)).await;
    assert!(world.nics().keys().all(|nic| world.cloud.tags(nic).contains("tag-pods")));
    assert_eq!(world.nics().len(), 3);
    assert_eq!(world.state().await.nics[&own.lease.nic].state, NicState::Ready);
    let calls = world.count(Operation::TagNics);
    assert!(calls <= 5, "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn a_warm_nic_that_has_the_address_which_a_pod_asks_for_makes_way() {
    let world = World::new(PoolConfig { low: 2, high: 2, ..usual_pool() });
    let agent = world.warm_agent().await;
    world.quiet(&agent).await;
    let warm = world.nics().into_values().next().unwrap();
    let (subnet, address) = (warm.subnet.as_str(), warm.addresses[0].to_string());
    let begun = Instant::now();
    let pod = world.pod("p");
    let answer = world.add_wished(&agent, &pod, made(Some(subnet), Some(&address))).await.unwrap();
    println!("{:?}", begun.elapsed());
    assert_eq!(answer.lease.address.addr().to_string(), address);
    assert_ne!(answer.lease.nic, warm.id);
    assert!(begun.elapsed() < secs(16), "{:?}", begun.elapsed());
    world.quiet(&agent).await;
    world.agree().await;
    assert_eq!(world.nics().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pod_in_a_subnet_of_its_own_has_a_gateway_there_as_long_as_it_lives() {
    let mut world = World::new(bare());
    world.config.gateways = Some(GatewayConfig::new());
    let agent = world.agent().await;
    let pods = world.pods("p", 2);
    let request = |pod| AddRequest {
        wishes: PodWishes { nic: made(Some("vxnet-3"), None), ..PodWishes::default() },
        by_host: ByHost { default_route: true, ..ByHost::default() },
        ..world.add_request(pod)
    };
    let answer = agent.add(request(&pods[0])).await.unwrap();
    assert_eq!(world.by_subnet(), [0, 0, 2]);
    assert_ne!(answer.gateway, answer.lease.gateway);
    // Another life of the agent has not been told of the subnet, and finds the gateway gone.
    drop(agent);
    let gateway = world.state().await.nics.into_values().find(|nic| nic.role.is_gateway()).unwrap();
    world.cloud.vanish(&gateway.id).unwrap();
    let agent = world.agent().await;
    agent.ready().await;
    // What is missing is believed after a while.
    for _ in 0..6 {
        sleep(secs(10)).await;
        agent.compare_now().await.unwrap();
    }
    agent.add(request(&pods[1])).await.unwrap();
    world.del_all(&agent, &pods).await;
    for _ in 0..4 {
        sleep(secs(60)).await;
        agent.compare_now().await.unwrap();
    }
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 0, "{}", support::told(&world.state().await));
}
