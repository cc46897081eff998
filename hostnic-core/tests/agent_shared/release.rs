//! The way back of addresses, and in whose name a NIC asks meanwhile.

use hostnic_core::agent::Readiness;
use hostnic_core::attachment::AttachmentMark;
use hostnic_core::ledger::LeaseState;
use hostnic_core::route::RouteProgrammer;
use hostnic_core::sim::{AddressEvent, KernelFault, KernelOperation, When};
use hostnic_core::{AddressSource, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Pod, World, millis, netns, secs};
use crate::{add_in, address, calls, cluster, del, lease, only_nic, view, world};

fn released(world: &World, mark: &AttachmentMark) -> bool {
    let of = |event: &AddressEvent| matches!(event, AddressEvent::Released(other, _) if other == mark);
    cluster(world).events().iter().any(of)
}

#[tokio::test(start_paused = true)]
async fn a_del_is_answered_before_its_address_is_back_and_in_that_order() {
    let world = world();
    let agent = world.agent().await;
    let pod = world.pod("p");
    let answer = world.add(&agent, &pod).await.unwrap();
    cluster(&world).set_latency(secs(3));
    world.kernel.set_latency(KernelOperation::GiveBack, secs(1));
    world.kernel.set_latency(KernelOperation::Forget, secs(9));
    let start = Instant::now();
    world.del_answered(&agent, &pod).await.unwrap();
    assert!(start.elapsed() < millis(50), "{:?}", start.elapsed());
    let seen = view(&world).await;
    assert!(seen.shared_pods[0].silenced && seen.shared_nics[0].answers_for.is_empty());
    assert_eq!(lease(&agent, &pod).state, LeaseState::Releasing);
    sleep(secs(8)).await;
    assert_eq!(world.kernel.remembered().len(), 1);
    assert!(!released(&world, &pod.key.mark()), "its flows are forgotten first");
    agent.dels_ended().await;
    assert_eq!(world.kernel.remembered().len(), 0);
    assert!(!released(&world, &pod.key.mark()));
    assert_eq!(lease(&agent, &pod).state, LeaseState::Releasing, "the lease stays until the address is back");
    assert_eq!(agent.releases().pending, 1);
    agent.addresses_released().await;
    assert!(released(&world, &pod.key.mark()) && agent.leases().is_empty());
    assert!(!cluster(&world).held().contains_key(&address(&answer)));
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn while_nobody_takes_addresses_back_dels_are_answered_and_other_pods_served() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 20);
    world.add_all(&agent, &pods).await;
    let kept = world.pod("kept");
    add_in(&world, &agent, "other", &kept).await.unwrap();
    cluster(&world).set_away(true);
    for pod in &pods {
        let start = Instant::now();
        world.del_answered(&agent, pod).await.unwrap();
        assert!(start.elapsed() < millis(50), "{:?}", start.elapsed());
    }
    agent.dels_ended().await;
    sleep(secs(3600)).await;
    assert_eq!((agent.leases().len(), agent.releases().pending), (21, 20));
    assert_eq!(cluster(&world).held().len(), 21);
    // A second DEL is answered, too, and one that repeats for ever does not pile up.
    timeout(secs(1), world.del(&agent, &pods[0])).await.unwrap().unwrap();
    assert_eq!(agent.releases().pending, 20);
    // The comparison leaves them alone, and mends others.
    assert_eq!(agent.compare_now().await.unwrap(), []);
    world.check(&agent, &kept).await.unwrap();
    let failures = agent.releases().failures;
    assert!((20 * 100..20 * 200).contains(&failures), "they are tried less and less often: {failures}");
    // An ADD of the same attachment waits for it, no longer than it may.
    let again = timeout(secs(61), world.add(&agent, &pods[1])).await.unwrap().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Transient, "{again}");
    cluster(&world).set_away(false);
    timeout(secs(40), agent.addresses_released()).await.unwrap();
    assert_eq!((agent.leases().len(), cluster(&world).held().len()), (1, 1));
    world.add(&agent, &pods[1]).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_is_released_only_when_the_nic_asks_in_another_name() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 3);
    let mut answers = Vec::new();
    for pod in &pods {
        answers.push(world.add(&agent, pod).await.unwrap());
        sleep(secs(1)).await;
    }
    assert_eq!(only_nic(&world).await.senders, [address(&answers[0])], "that of the first pod");
    let set_up = calls(&world, KernelOperation::SetupSharedNic);
    del(&world, &agent, &pods[1]).await;
    assert_eq!(calls(&world, KernelOperation::SetupSharedNic), set_up, "another pod's end changes nothing");

    world.kernel.inject(
        KernelOperation::SetupSharedNic,
        When::Always,
        KernelFault::Before(ErrorKind::Transient),
    );
    world.del(&agent, &pods[0]).await.unwrap();
    sleep(secs(600)).await;
    assert!(!released(&world, &pods[0].key.mark()), "the NIC may still ask in its name");
    assert_eq!(lease(&agent, &pods[0]).state, LeaseState::Releasing);
    world.check(&agent, &pods[2]).await.unwrap();
    world.kernel.clear_faults();
    timeout(secs(61), agent.addresses_released()).await.unwrap();
    assert_eq!(only_nic(&world).await.senders, [address(&answers[2])]);
    del(&world, &agent, &pods[2]).await;
    assert!(only_nic(&world).await.senders.is_empty(), "without pods it asks nothing");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_is_kept_while_the_nic_is_being_made_to_ask_in_its_name() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 3);
    for pod in &pods {
        world.add(&agent, pod).await.unwrap();
        sleep(secs(1)).await;
    }
    world.kernel.set_latency(KernelOperation::SetupSharedNic, secs(5));
    let set_up = calls(&world, KernelOperation::SetupSharedNic);
    world.del_answered(&agent, &pods[0]).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(calls(&world, KernelOperation::SetupSharedNic), set_up + 1, "it is to ask for the second pod");
    world.del_answered(&agent, &pods[1]).await.unwrap();
    agent.dels_ended().await;
    sleep(secs(3)).await;
    assert!(!released(&world, &pods[1].key.mark()), "soon the NIC asks in its name");
    agent.addresses_released().await;
    let senders = only_nic(&world).await.senders;
    assert_eq!(senders, [lease(&agent, &pods[2]).lease.address.addr()]);
    world.quiet(&agent).await;
    world.agree().await;
}

/// At each moment of many ADDs and DELs, the NIC asks in the name of nobody whose address is back.
#[tokio::test(start_paused = true)]
async fn no_nic_ever_asks_in_the_name_of_an_address_that_is_free() {
    let world = world();
    let agent = world.agent().await;
    for operation in [KernelOperation::SetupSharedNic, KernelOperation::SilencePod, KernelOperation::Forget] {
        world.kernel.set_latency(operation, millis(7));
    }
    cluster(&world).set_latency(millis(3));
    let watched = async {
        loop {
            for nic in view(&world).await.shared_nics {
                let held = cluster(&world).held();
                for name in nic.senders.iter().chain(&nic.answers_for) {
                    assert!(held.contains_key(name), "{name} is free, and {nic:?}");
                }
            }
            sleep(millis(1)).await;
        }
    };
    let lives = (0..40).map(|n| {
        let (world, agent) = (&world, &agent);
        async move {
            sleep(millis(n * 11)).await;
            let pod = world.pod(&format!("p{n}"));
            world.add(agent, &pod).await.unwrap();
            sleep(millis(n * 7 % 90)).await;
            world.del(agent, &pod).await.unwrap();
        }
    });
    tokio::select! {
        () = watched => {}
        _ = futures::future::join_all(lives) => {}
    }
    agent.addresses_released().await;
    assert!(cluster(&world).held().is_empty());
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_fails_gives_its_address_back_however_long_that_takes() {
    let world = world();
    let agent = world.agent().await;
    world.add(&agent, &world.pod("first")).await.unwrap();
    let pod = world.pod("p");
    world.kernel.inject(KernelOperation::SetupPod, When::Always, KernelFault::Before(ErrorKind::Transient));
    let add = world.add(&agent, &pod);
    tokio::pin!(add);
    let error = tokio::select! {
        done = &mut add => done.unwrap_err(),
        () = sleep(secs(120)) => panic!("it does not end"),
    };
    assert_eq!(error.kind(), ErrorKind::Transient);
    agent.addresses_released().await;
    assert_eq!((agent.leases().len(), cluster(&world).held().len()), (1, 1));
    world.kernel.clear_faults();

    // The next fails for want of its namespace, while the cluster is away.
    let gone = Pod { netns: netns("/run/netns/gone"), ..pod.clone() };
    assert_eq!(world.add(&agent, &gone).await.unwrap_err().kind(), ErrorKind::NotFound);
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

/// An address that is back, and at once the next pod's, is in the records of one of them only.
#[tokio::test(start_paused = true)]
async fn an_address_is_the_next_pods_when_the_lease_before_is_over() {
    let mut world = world();
    let addresses = hostnic_core::sim::SimAddresses::new();
    let (prefix, gateway) = ("192.168.1.0/24".parse().unwrap(), "192.168.1.1".parse().unwrap());
    addresses.add("", "vxnet-1", prefix, gateway, 100..=100);
    // The next pod may have it before this node hears that it is back.
    addresses.set_answer_latency(millis(20));
    world.addresses = Some(addresses);
    let agent = world.agent().await;
    let pods = world.pods("p", 6);
    for (n, pod) in pods.iter().enumerate() {
        let add = world.add(&agent, pod);
        if n == 0 {
            add.await.unwrap();
            continue;
        }
        let (added, ()) = tokio::join!(add, async {
            sleep(millis(5)).await;
            world.del(&agent, &pods[n - 1]).await.unwrap();
        });
        added.unwrap();
        assert_eq!(agent.leases().len(), 1);
    }
    let late = world.add(&agent, &world.pod("late")).await.unwrap_err();
    assert_eq!(late.refusal().unwrap().word(), "NoAddressLeft");
    agent.addresses_released().await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_hear_keeps_nobody_waiting_but_pods_that_share() {
    /// One that fails to be told anything until it is let.
    #[derive(Debug)]
    struct Deaf(hostnic_core::sim::SimAddressSource, tokio::sync::watch::Receiver<bool>);

    #[async_trait::async_trait]
    impl AddressSource for Deaf {
        async fn restore(
            &self,
            held: &[(
                AttachmentMark,
                Option<hostnic_core::attachment::PodRef>,
                hostnic_core::ipam::ClaimedAddress,
            )],
        ) -> hostnic_core::Result<()> {
            if !*self.1.borrow() {
                return Err(
                    hostnic_core::Error::new(ErrorKind::Transient, "tell", "addresses").detail("deaf")
                );
            }
            self.0.restore(held).await
        }
        async fn claim(
            &self,
            request: &hostnic_core::ipam::AddressRequest,
        ) -> hostnic_core::Result<hostnic_core::ipam::ClaimedAddress> {
            self.0.claim(request).await
        }
        async fn release(&self, mark: &AttachmentMark) -> hostnic_core::Result<()> {
            self.0.release(mark).await
        }
    }

    let world = world();
    let (hears, heard) = tokio::sync::watch::channel(false);
    let mut parts = world.parts();
    parts.addresses = Some(std::sync::Arc::new(Deaf(cluster(&world).node("i-1"), heard)));
    let agent = hostnic_core::agent::Agent::start(parts, world.config.clone()).await.unwrap();
    agent.set_subnets(vec!["vxnet-1".parse().unwrap()]);
    sleep(secs(30)).await;
    let Readiness::NotReady(why) = agent.readiness() else { panic!("it is ready") };
    assert!(why.contains("deaf"), "{why}");
    let wishes = hostnic_core::pods::PodWishes {
        datapath: Some(hostnic_core::route::Datapath::Passthrough),
        ..Default::default()
    };
    let other = world.pod("other");
    let request = hostnic_core::agent::AddRequest { wishes, ..world.add_request(&other) };
    agent.add(request).await.unwrap();
    let pod = world.pod("p");
    let error = world.add(&agent, &pod).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Transient && error.to_string().contains("deaf"), "{error}");
    hears.send_replace(true);
    timeout(secs(70), agent.ready()).await.unwrap();
    world.add(&agent, &pod).await.unwrap();
    assert!(world.kernel.observe().await.unwrap().shared_pods.len() == 1);
}
