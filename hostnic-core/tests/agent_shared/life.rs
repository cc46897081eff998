//! The usual life: many pods, one NIC for each subnet.

use std::collections::BTreeSet;

use futures::future::join_all;
use hostnic_core::ErrorKind;
use hostnic_core::agent::{AddRequest, Agent};
use hostnic_core::attachment::IfName;
use hostnic_core::cloud::Carrier;
use hostnic_core::pods::PodWishes;
use hostnic_core::route::{Datapath, Hairpin, PodDatapath};
use hostnic_core::sim::{KernelOperation, Operation};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Pod, World, made, millis, secs};
use crate::{add_in, address, calls, cluster, del, lease, only_nic, record, request, shared, view, world};

#[tokio::test(start_paused = true)]
async fn many_first_pods_of_two_subnets_at_once_have_one_nic_each() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 60);
    let answers = pods.iter().enumerate().map(|(n, pod)| {
        let namespace = if n % 2 == 0 { "default" } else { "other" };
        add_in(&world, &agent, namespace, pod)
    });
    let answers: Vec<_> = join_all(answers).await.into_iter().map(Result::unwrap).collect();
    let calls_made = world.calls().len();
    println!("{} calls for 60 pods", calls_made);
    assert_eq!((world.count(Operation::CreateNics), world.count(Operation::AttachNics)), (2, 1));
    let nics: BTreeSet<_> = answers.iter().map(|answer| &answer.lease.nic).collect();
    assert_eq!((nics.len(), world.nics().len()), (2, 2));
    let addresses: BTreeSet<_> = answers.iter().map(address).collect();
    assert_eq!(addresses.len(), 60);
    for (pod, answer) in pods.iter().zip(&answers) {
        world.check_kernel(pod, answer).await;
        world.check(&agent, pod).await.unwrap();
        assert_eq!(world.add(&agent, pod).await.unwrap(), *answer, "the same answer again");
    }
    let view = view(&world).await;
    let tables: Vec<u32> = view.shared_nics.iter().map(|nic| nic.table.number()).collect();
    assert_eq!(tables.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([260, 261]));
    for nic in &view.shared_nics {
        assert_eq!((nic.answers_for.len(), nic.senders.len()), (30, 1));
        assert!(addresses.contains(&nic.senders[0]), "it asks in the name of a pod");
    }
    assert!(record(&agent, &answers[0]).addresses.is_empty());
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_warm_pod_asks_no_cloud_and_the_kernel_only_for_itself() {
    let world = world();
    let agent = world.agent().await;
    world.add(&agent, &world.pod("first")).await.unwrap();
    sleep(secs(5)).await;
    world.cloud.clear_history();
    let before =
        (calls(&world, KernelOperation::SetupSharedNic), calls(&world, KernelOperation::CheckSharedNic));
    let start = Instant::now();
    world.add_all(&agent, &world.pods("p", 50)).await;
    assert!(start.elapsed() < millis(100), "{:?}", start.elapsed());
    assert_eq!(world.calls().len(), 0);
    let after =
        (calls(&world, KernelOperation::SetupSharedNic), calls(&world, KernelOperation::CheckSharedNic));
    assert_eq!(before, after);
    sleep(secs(2)).await;
    assert_eq!(calls(&world, KernelOperation::AnnouncePod), 51, "each is announced once more");
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_subnet_do_not_wait_for_the_nic_of_another() {
    let world = world();
    let agent = world.agent().await;
    world.add(&agent, &world.pod("warm")).await.unwrap();
    let (slow, quick) = (world.pod("slow"), world.pod("quick"));
    let first = add_in(&world, &agent, "other", &slow);
    tokio::pin!(first);
    assert!(timeout(millis(500), &mut first).await.is_err());
    let start = Instant::now();
    world.add(&agent, &quick).await.unwrap();
    assert!(start.elapsed() < millis(50), "{:?}", start.elapsed());
    // A second one of that subnet waits for the same NIC.
    let second = world.pod("second");
    let (first, second) = tokio::join!(first, add_in(&world, &agent, "other", &second));
    assert_eq!(first.unwrap().lease.nic, second.unwrap().lease.nic);
    // And a kernel that is stuck with one NIC is not with the other.
    world.kernel.set_latency(KernelOperation::SetupSharedNic, secs(5));
    let third = world.pod("third");
    let stuck = add_in(&world, &agent, "third", &third);
    tokio::pin!(stuck);
    assert!(timeout(secs(8), &mut stuck).await.is_err());
    timeout(millis(50), world.add(&agent, &world.pod("more"))).await.unwrap().unwrap();
    stuck.await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_leaves_the_nic_and_gives_the_address_back() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 3);
    let answers = world.add_all(&agent, &pods).await;
    for pod in &pods {
        del(&world, &agent, pod).await;
        world.del(&agent, pod).await.unwrap();
    }
    assert!(agent.leases().is_empty() && cluster(&world).held().is_empty());
    let nic = only_nic(&world).await;
    assert_eq!((nic.mac, nic.senders.len(), nic.answers_for.len()), (answers[0].lease.mac, 0, 0));
    let again = world.add(&agent, &world.pod("again")).await.unwrap();
    assert_eq!(again.lease.nic, answers[0].lease.nic);
    assert_eq!(only_nic(&world).await.senders, [address(&again)]);
    assert_eq!(world.count(Operation::CreateNics), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_may_name_addresses_and_are_told_which_they_cannot_have() {
    let world = world();
    let agent = world.agent().await;
    let with = |pod: &Pod, addresses: &[&str]| {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let wishes = PodWishes { addresses, ..PodWishes::default() };
        AddRequest { wishes, patience: secs(10), ..world.add_request(pod) }
    };
    let pods = world.pods("p", 4);
    let wanted = ["192.168.1.150", "192.168.1.151"];
    for (pod, expected) in pods.iter().zip(wanted) {
        assert_eq!(address(&agent.add(with(pod, &wanted)).await.unwrap()).to_string(), expected);
    }
    let taken = agent.add(with(&pods[2], &wanted)).await.unwrap_err();
    assert_eq!((taken.kind(), taken.refusal().unwrap().word()), (ErrorKind::Exhausted, "AddressTaken"));
    let foreign = agent.add(with(&pods[2], &["192.168.2.150"])).await.unwrap_err();
    assert_eq!(
        (foreign.kind(), foreign.refusal().unwrap().word()),
        (ErrorKind::Invalid, "AddressOutsideBlocks")
    );
    let wishes = PodWishes {
        datapath: Some(Datapath::Passthrough),
        addresses: vec![wanted[0].parse().unwrap()],
        ..PodWishes::default()
    };
    let error = agent.add(AddRequest { wishes, ..world.add_request(&pods[3]) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    agent.addresses_released().await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_with_other_wishes_are_served_beside_those_that_share() {
    let world = world();
    let agent = world.agent().await;
    agent.set_subnets((1..=3).map(|n| format!("vxnet-{n}").parse().unwrap()).collect());
    let pods = world.pods("p", 5);
    world.add(&agent, &pods[0]).await.unwrap();
    let of = |datapath| PodWishes { datapath: Some(datapath), ..PodWishes::default() };
    let wish = async |pod: &Pod, wishes: PodWishes| {
        agent.add(AddRequest { wishes, ..world.add_request(pod) }).await.unwrap();
        lease(&agent, pod).plan.datapath
    };
    let moved = wish(&pods[1], of(Datapath::Passthrough)).await;
    assert!(matches!(moved, PodDatapath::PassthroughWithServices(_)), "{moved:?}");
    let veth = wish(&pods[2], of(Datapath::Veth)).await;
    assert!(matches!(veth, PodDatapath::Veth(_)), "{veth:?}");
    let nic = made(Some("vxnet-1"), Some("192.168.1.77"));
    let own = wish(&pods[3], PodWishes { nic: nic.clone(), ..PodWishes::default() }).await;
    let PodDatapath::Veth(own) = own else { panic!("{own:?}") };
    let tables = [own.table, shared(&lease(&agent, &pods[0])).table];
    assert_ne!(tables[0], tables[1]);
    let both = PodWishes { nic, datapath: Some(Datapath::Shared), ..PodWishes::default() };
    let error = agent.add(AddRequest { wishes: both, ..world.add_request(&pods[4]) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    sleep(secs(5)).await;
    agent.compare_now().await.unwrap();
    for pod in &pods[..4] {
        world.check(&agent, pod).await.unwrap();
    }
    world.quiet(&agent).await;
    world.agree().await;
    world.del_all(&agent, &pods[..4]).await;
    agent.addresses_released().await;
    sleep(secs(200)).await;
    assert_eq!(world.nics().len(), 1, "the shared one stays for a while");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn the_link_is_named_after_its_subnet_and_no_address_of_it_is_the_nodes() {
    let mut world = World::with_cloud(crate::support::usual_pool(), |cloud| {
        cloud.subnet("vxnet-a1b2c3d", "192.168.9.0/24")
    });
    let sharing = World::sharing(crate::support::usual_pool());
    world.config = sharing.config.clone();
    let addresses = hostnic_core::sim::SimAddresses::new();
    let (prefix, gateway) = ("192.168.9.0/24".parse().unwrap(), "192.168.9.1".parse().unwrap());
    addresses.add("", "vxnet-a1b2c3d", prefix, gateway, 100..=110);
    world.addresses = Some(addresses);
    let node = crate::support::node_mac();
    world.kernel.add_host_link(node, true);
    world.kernel.configure_host_link(node, crate::support::NODE.parse().unwrap(), true);
    let agent = world.agent().await;
    world.add(&agent, &world.pod("p")).await.unwrap();
    assert_eq!(only_nic(&world).await.name, "hostnic_a1b2c3d");
    agent.compare_now().await.unwrap();
    sleep(secs(1)).await;
    let Some(hostnic_core::route::NodePlan::Veth(plan)) = world.kernel.node() else { panic!() };
    assert_eq!(plan.addresses.len(), 1, "{plan:?}");
    assert_eq!(agent.nics()[0].subnet.carrier, Carrier::Vxlan);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_shared_is_refused_at_start_and_at_add_with_what_to_do() {
    let mut world = world();
    let start = async |world: &World| {
        Agent::start(world.parts(), world.config.clone()).await.map(drop).unwrap_err().to_string()
    };
    world.config.veth.as_mut().unwrap().hairpin = Hairpin::On;
    let error = start(&world).await;
    assert!(error.contains("switch hairpin off"), "{error}");
    world.config.veth.as_mut().unwrap().hairpin = Hairpin::Off;
    let addresses = world.addresses.take();
    let error = start(&world).await;
    assert!(error.contains("addresses"), "{error}");
    world.addresses = addresses;

    let agent = world.agent().await;
    agent.ready().await;
    let hairpin =
        hostnic_core::agent::VethConfig { hairpin: Hairpin::On, ..world.config.veth.clone().unwrap() };
    assert_eq!(agent.set_veth(hairpin).await.unwrap_err().kind(), ErrorKind::Invalid);
    let pod = world.pod("p");
    let nobody = agent.add(AddRequest { pod: None, ..world.add_request(&pod) }).await.unwrap_err();
    assert!(nobody.to_string().contains("which pod"), "{nobody}");
    let nowhere = add_in(&world, &agent, "nowhere", &pod).await.unwrap_err();
    assert_eq!(nowhere.refusal().unwrap().word(), "NoAddressBlock");
    drop(agent);
    world.addresses = None;
    world.config.datapath = Datapath::Veth;
    let agent = world.agent().await;
    let wishes = PodWishes { datapath: Some(Datapath::Shared), ..PodWishes::default() };
    let error = agent.add(AddRequest { wishes, ..world.add_request(&pod) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_add_that_is_called_off_at_any_moment_leaves_nothing() {
    for after in [0, 50, 150, 400, 3000, 5600] {
        let world = world();
        let agent = world.agent().await;
        agent.ready().await;
        world.kernel.set_latency(KernelOperation::SetupSharedNic, millis(200));
        world.kernel.set_latency(KernelOperation::SetupPod, millis(200));
        cluster(&world).set_latency(millis(100));
        let pod = world.pod("p");
        let add = timeout(millis(after), world.add(&agent, &pod)).await;
        assert!(add.is_err(), "after {after} ms: {add:?}");
        // A DEL of what it began is answered, and comes after it.
        world.del(&agent, &pod).await.unwrap();
        agent.addresses_released().await;
        assert_eq!((agent.leases().len(), cluster(&world).held().len()), (0, 0), "after {after} ms");
        assert!(view(&world).await.shared_pods.is_empty(), "after {after} ms");
        sleep(secs(10)).await;
        world.add(&agent, &world.pod("q")).await.unwrap();
        world.quiet(&agent).await;
        assert_eq!(world.nics().len(), 1, "after {after} ms");
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_interface_of_a_sandbox_has_a_name_of_its_own() {
    let world = world();
    let agent = world.agent().await;
    let pod = world.pod("p");
    let mut second = pod.clone();
    second.key.ifname = IfName::new("eth1").unwrap();
    world.add(&agent, &pod).await.unwrap();
    agent
        .add(AddRequest { pod: world.add_request(&pod).pod, ..request(&world, "default", &second) })
        .await
        .unwrap();
    let name = |pod: &Pod| shared(&lease(&agent, pod)).host_ifname.clone();
    assert_ne!(name(&pod), name(&second));
    world.quiet(&agent).await;
    world.agree().await;
}
