//! Pods behind veths: how they are joined to their NICs, and what the node has for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]

mod support;

use hostnic_core::agent::{AddRequest, Agent, Finding, PodMtu, Readiness, Repair, VethConfig};
use hostnic_core::attachment::PodRef;
use hostnic_core::clock::BootTime;
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::ledger::{LeaseRecord, NicRecord, Write};
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, Hairpin, NicTable, NodePlan, PodDatapath, Route, VethNode};
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_core::{ErrorKind, RouteProgrammer};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use support::{NODE, Pod, World, node_mac, secs, usual_pool, veth};

fn world() -> World {
    World::behind_veths(usual_pool())
}

fn config(world: &mut World) -> &mut VethConfig {
    world.config.veth.as_mut().unwrap()
}

fn lease(agent: &Agent, pod: &Pod) -> LeaseRecord {
    agent.leases().into_iter().find(|lease| lease.mark == pod.key.mark()).unwrap()
}

fn table(agent: &Agent, pod: &Pod) -> u32 {
    veth(&lease(agent, pod)).table.number()
}

fn named(name: &str) -> PodRef {
    PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: None }
}

fn node(world: &World) -> VethNode {
    match world.kernel.node() {
        Some(NodePlan::Veth(node)) => node,
        other => panic!("{other:?}"),
    }
}

fn calls(world: &World, operation: KernelOperation) -> u64 {
    world.kernel.calls().get(&operation).copied().unwrap_or_default()
}

async fn mtu(world: &World, agent: &Agent, name: &str, asked: Option<u32>) -> u32 {
    let pod = world.pod(name);
    let answer = agent.add(AddRequest { mtu: asked, ..world.add_request(&pod) }).await.unwrap();
    let again = agent.add(AddRequest { mtu: asked, ..world.add_request(&pod) }).await.unwrap();
    assert_eq!(again, answer);
    world.del(agent, &pod).await.unwrap();
    answer.link.mtu
}

#[tokio::test(start_paused = true)]
async fn a_pod_behind_a_veth_lives_and_leaves_nothing() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    for _ in 0..100 {
        let answer = world.add(&agent, &pod).await.unwrap();
        assert_ne!(answer.link.mac, answer.lease.mac, "it is the pod's end of the veth");
        world.check_kernel(&pod, &answer).await;
        world.check(&agent, &pod).await.unwrap();
        assert_eq!(world.add(&agent, &pod).await.unwrap(), answer);
        assert_eq!(table(&agent, &pod), 260);
        world.del(&agent, &pod).await.unwrap();
        assert_eq!(world.check(&agent, &pod).await.unwrap_err().kind(), ErrorKind::NotFound);
        // A runtime takes longer than the clock's resolution between two commands.
        sleep(secs(1)).await;
    }
    sleep(secs(300)).await;
    world.quiet(&agent).await;
    world.agree().await;
    assert_eq!(world.kernel.observe().await.unwrap().veths, []);
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_asks_for_comes_before_the_nodes_way() {
    let world = world();
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 2);
    let wishes = PodWishes { datapath: Some(Datapath::Passthrough), ..PodWishes::default() };
    let request = AddRequest { wishes, ..world.add_request(&pods[0]) };
    let answer = agent.add(request).await.unwrap();
    assert_eq!(answer.link.mac, answer.lease.mac);
    assert!(matches!(lease(&agent, &pods[0]).plan.datapath, PodDatapath::PassthroughWithServices(_)));
    world.add(&agent, &pods[1]).await.unwrap();
    assert_eq!(table(&agent, &pods[1]), 260);
    world.quiet(&agent).await;
    world.agree().await;

    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    let wishes = PodWishes { datapath: Some(Datapath::Veth), ..PodWishes::default() };
    let error = agent.add(AddRequest { wishes, ..world.add_request(&pod) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_passthrough_pod_has_one_veth_to_the_services_that_it_has_no_routes_to() {
    let mut world = world();
    let services: Vec<ipnet::IpNet> = ["10.96.0.0/16", "10.97.0.0/16"].map(|net| net.parse().unwrap()).into();
    config(&mut world).services = services.clone();
    world.config.datapath = Datapath::Passthrough;
    let agent = world.warm_agent().await;
    let veth_of = |pod: &Pod| match lease(&agent, pod).plan.datapath {
        PodDatapath::PassthroughWithServices(veth) => Some((veth.host_ifname.to_string(), veth.services)),
        PodDatapath::Passthrough => None,
        other => panic!("{other:?}"),
    };
    let pods = world.pods("p", 2);
    let request = AddRequest { pod: Some(named("web")), ..world.add_request(&pods[0]) };
    agent.add(request).await.unwrap();
    // printf default.web | sha1sum
    assert_eq!(veth_of(&pods[0]), Some(("vnic68caf03a5f4".to_owned(), services.clone())));
    let mut beside = pods[0].clone();
    beside.key.ifname = "net1".parse().unwrap();
    agent.add(AddRequest { pod: Some(named("web")), ..world.add_request(&beside) }).await.unwrap();
    assert_eq!(veth_of(&beside), None, "another interface of the same sandbox");
    let routes = vec![Route { destination: services[0], next_hop: Some("192.168.50.9".parse().unwrap()) }];
    agent.add(AddRequest { routes, ..world.add_request(&pods[1]) }).await.unwrap();
    assert_eq!(veth_of(&pods[1]).unwrap().1, services[1..]);
    for pod in [&pods[0], &beside, &pods[1]] {
        world.check(&agent, pod).await.unwrap();
        world.del(&agent, pod).await.unwrap();
    }
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_to_have_veths_is_told_what_they_have_in_common() {
    let mut world = world();
    world.config.veth = None;
    let error = Agent::start(world.parts(), world.config.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn pods_that_come_at_once_get_the_lowest_tables_one_each() {
    let world = World::behind_veths(PoolConfig { low: 12, high: 14, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 10);
    world.add_all(&agent, &pods).await;
    let mut tables: Vec<u32> = pods.iter().map(|pod| table(&agent, pod)).collect();
    tables.sort_unstable();
    assert_eq!(tables, (260..270).collect::<Vec<_>>());
    let freed = pods.iter().find(|pod| table(&agent, pod) == 263).unwrap();
    world.del(&agent, freed).await.unwrap();
    let next = world.pod("next");
    world.add(&agent, &next).await.unwrap();
    assert_eq!(table(&agent, &next), 263, "it is the lowest that is free");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn no_nic_has_the_pods_table_nor_a_gateways_nor_one_that_a_link_is_named_after() {
    let mut world = world();
    config(&mut world).first_table = NicTable::new(1000).unwrap();
    config(&mut world).pods = hostnic_core::route::PodsTable::new(1001).unwrap();
    world.config.gateways = Some(GatewayConfig { first_table: 1002, ..GatewayConfig::new() });
    let agent = world.warm_agent().await;
    let first = world.pods("p", 2);
    world.add_all(&agent, &first).await;
    let mut tables: Vec<u32> = first.iter().map(|pod| table(&agent, pod)).collect();
    tables.sort_unstable();
    assert_eq!(tables, [1000, 1002 + PoolConfig::NIC_LIMIT]);

    // A NIC of nobody knows whom is named after the next one.
    let taken = NicTable::new(1003 + PoolConfig::NIC_LIMIT).unwrap();
    let strange = "52:54:00:ff:00:09".parse().unwrap();
    world.kernel.add_host_link_named(strange, &taken.link());
    agent.compare_now().await.unwrap();
    let pod = world.pod("q");
    world.add(&agent, &pod).await.unwrap();
    assert_eq!(table(&agent, &pod), taken.number() + 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_veth_is_named_as_felix_expects_it() {
    let mut world = world();
    config(&mut world).prefix = "cali".parse().unwrap();
    let agent = world.warm_agent().await;
    let (pod, other) = (world.pod("p"), world.pod("q"));
    let request = |pod: &Pod, name: &str| AddRequest { pod: Some(named(name)), ..world.add_request(pod) };
    agent.add(request(&pod, "nginx")).await.unwrap();
    // printf default.nginx | sha1sum
    assert_eq!(veth(&lease(&agent, &pod)).host_ifname.as_str(), "calic440f455693");
    world.add(&agent, &other).await.unwrap();
    let unnamed = veth(&lease(&agent, &other)).host_ifname.clone();
    assert_eq!((unnamed.as_str().len(), &unnamed.as_str()[..4]), (15, "cali"));

    // A second interface of the same sandbox does not take the first one's name.
    let mut second = pod.clone();
    second.key.ifname = "net1".parse().unwrap();
    agent.add(request(&second, "nginx")).await.unwrap();
    assert_ne!(veth(&lease(&agent, &second)).host_ifname, veth(&lease(&agent, &pod)).host_ifname);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pods_mtu_is_what_it_asks_for_or_as_the_node_is_set() {
    for (set, large, small) in
        [(PodMtu::AtMost(1500), 1500, 1400), (PodMtu::Nics, 9000, 1400), (PodMtu::Exactly(1450), 1450, 1450)]
    {
        let mut world = world();
        config(&mut world).mtu = set;
        let agent = world.warm_agent().await;
        for nic in agent.nics() {
            world.kernel.set_host_link_mtu(nic.mac, 9000);
        }
        assert_eq!(mtu(&world, &agent, "large", None).await, large, "{set:?}");
        for nic in agent.nics() {
            world.kernel.set_host_link_mtu(nic.mac, 1400);
        }
        assert_eq!(mtu(&world, &agent, "small", None).await, small, "{set:?}");
        assert_eq!(mtu(&world, &agent, "asks", Some(1300)).await, 1300, "{set:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_announced_again_a_second_after_its_add_unless_it_is_gone() {
    let world = world();
    let agent = world.warm_agent().await;
    let (pod, gone) = (world.pod("p"), world.pod("gone"));
    world.add_all(&agent, &[pod.clone(), gone.clone()]).await;
    assert_eq!(calls(&world, KernelOperation::AnnouncePod), 0);
    // Its NIC is still on its way back when it would be announced.
    world.kernel.set_latency(KernelOperation::GiveBack, secs(5));
    world.del_answered(&agent, &gone).await.unwrap();
    sleep(secs(2)).await;
    assert_eq!(calls(&world, KernelOperation::AnnouncePod), 1);
    agent.dels_ended().await;
    world.add(&agent, &world.pod("q")).await.unwrap();
    agent.stop().await;
    sleep(secs(2)).await;
    assert_eq!(calls(&world, KernelOperation::AnnouncePod), 1);
}

#[tokio::test(start_paused = true)]
async fn the_node_is_set_up_with_its_own_addresses_and_follows_them() {
    let mut world = world();
    let other = "52:54:00:ff:00:02".parse().unwrap();
    world.kernel.add_host_link(other, true);
    world.kernel.configure_host_link(other, "10.1.0.7/24".parse().unwrap(), false);
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    let own = |text: &str| text.parse::<ipnet::IpNet>().unwrap().addr();
    assert_eq!(node(&world).addresses, [own(NODE), own("10.1.0.7/24")], "and no pod's");
    assert_eq!(node(&world).services, config(&mut world).services);
    assert_eq!(veth(&lease(&agent, &pod)).source, own(NODE));

    world.kernel.clear_host_link(node_mac());
    world.kernel.configure_host_link(node_mac(), "10.0.0.99/24".parse().unwrap(), true);
    sleep(secs(70)).await;
    assert_eq!(node(&world).addresses, [own("10.0.0.99/24"), own("10.1.0.7/24")]);
    assert_eq!(veth(&lease(&agent, &pod)).source, own("10.0.0.99/24"));
    world.check(&agent, &pod).await.unwrap();

    config(&mut world).primary = Some("eth2".parse().unwrap());
    agent.set_veth(world.config.veth.clone().unwrap()).await.unwrap();
    agent.compare_now().await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(veth(&lease(&agent, &pod)).source, own("10.1.0.7/24"));
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_an_address_says_so_and_serves_as_soon_as_it_has_one() {
    let world = world();
    world.kernel.clear_host_link(node_mac());
    let agent = world.agent().await;
    sleep(secs(60)).await;
    let Readiness::NotReady(why) = agent.readiness() else { panic!("it is not ready") };
    assert!(why.contains("no default route"), "{why}");
    let pod = world.pod("p");
    let request = AddRequest { patience: secs(3), ..world.add_request(&pod) };
    let error = agent.add(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("no default route"), "{error}");
    let wishes = PodWishes { datapath: Some(Datapath::Passthrough), ..PodWishes::default() };
    agent.add(AddRequest { wishes, ..world.add_request(&world.pod("other")) }).await.unwrap();

    let (served, ()) = tokio::join!(timeout(secs(20), world.add(&agent, &pod)), async {
        sleep(secs(1)).await;
        world.kernel.configure_host_link(node_mac(), NODE.parse().unwrap(), true);
    });
    served.unwrap().unwrap();
    assert_eq!(agent.readiness(), Readiness::Ready);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_set_up_is_tried_again() {
    let world = world();
    let fault = KernelFault::Before(ErrorKind::Unauthorised);
    world.kernel.inject(KernelOperation::SetupNode, When::Always, fault);
    let agent = world.agent().await;
    sleep(secs(30)).await;
    let Readiness::NotReady(why) = agent.readiness() else { panic!("it is not ready") };
    assert!(why.contains("set up node"), "{why}");
    let error = agent.set_veth(world.config.veth.clone().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorised);
    world.kernel.clear_faults();
    timeout(secs(10), agent.ready()).await.unwrap();
    assert_eq!(agent.readiness(), Readiness::Ready);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_of_node_and_pods_is_repaired_and_counted() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.kernel.forget_node();
    world.kernel.strip_pod_link(&pod.netns, &pod.key.ifname);
    assert_eq!(world.check(&agent, &pod).await.unwrap_err().kind(), ErrorKind::Conflict);
    sleep(secs(70)).await;
    world.check(&agent, &pod).await.unwrap();
    assert_eq!(node(&world).hairpin, Hairpin::Off);
    assert_eq!(agent.counts().repairs[&Repair::SetUpAgain], 2);
    world.kernel.delete_veth(&veth(&lease(&agent, &pod)).host_ifname);
    let findings = agent.compare_now().await.unwrap();
    assert_eq!(findings, [Finding::CameBack(pod.key.mark())]);
    world.check(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn hairpin_is_switched_while_pods_run_and_come() {
    let mut world = World::behind_veths(PoolConfig { low: 12, high: 14, ..usual_pool() });
    let agent = world.warm_agent().await;
    let mut pods = world.pods("p", 3);
    world.add_all(&agent, &pods).await;
    for (number, hairpin) in [Hairpin::On, Hairpin::Off, Hairpin::On].into_iter().enumerate() {
        config(&mut world).hairpin = hairpin;
        let more = world.pods(&format!("q{number}"), 3);
        let settings = world.config.veth.clone().unwrap();
        let (switched, _) = tokio::join!(agent.set_veth(settings), world.add_all(&agent, &more));
        switched.unwrap();
        pods.extend(more);
        sleep(secs(1)).await;
        assert_eq!(node(&world).hairpin, hairpin);
        for pod in &pods {
            assert_eq!(veth(&lease(&agent, pod)).hairpin, hairpin, "{number}");
            world.check(&agent, pod).await.unwrap();
        }
    }
    drop(agent);
    // A start with other settings is a switch, too.
    config(&mut world).hairpin = Hairpin::Off;
    let agent = world.agent().await;
    agent.ready().await;
    assert!(agent.leases().iter().all(|lease| veth(lease).hairpin == Hairpin::Off));
    for pod in &pods {
        world.check(&agent, pod).await.unwrap();
    }
    world.quiet(&agent).await;
    world.agree().await;
}

/// In which order node and pods are changed: pods first where hairpin is switched on, and the node first where off.
#[tokio::test(start_paused = true)]
async fn each_packet_finds_its_way_while_hairpin_is_switched() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    sleep(secs(2)).await;
    for (hairpin, stuck) in
        [(Hairpin::On, KernelOperation::SetupPod), (Hairpin::Off, KernelOperation::SetupNode)]
    {
        let before = node(&world).hairpin;
        config(&mut world).hairpin = hairpin;
        world.kernel.set_latency(stuck, secs(5));
        let settings = world.config.veth.clone().unwrap();
        let switch = agent.set_veth(settings);
        tokio::pin!(switch);
        assert!(timeout(secs(1), &mut switch).await.is_err());
        assert_eq!(node(&world).hairpin, before, "the node waits for pods, and pods for the node");
        assert_eq!(veth(&lease(&agent, &pod)).hairpin, Hairpin::On, "{hairpin:?}");
        switch.await.unwrap();
        world.kernel.set_latency(stuck, secs(0));
        assert_eq!((node(&world).hairpin, veth(&lease(&agent, &pod)).hairpin), (hairpin, hairpin));
        world.check(&agent, &pod).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_sandbox_takes_over_and_the_older_one_keeps_its_nic_until_its_del() {
    let world = world();
    let agent = world.warm_agent().await;
    let (older, newer) = (world.pod("older"), world.pod("newer"));
    let request = |pod: &Pod| AddRequest { pod: Some(named("web-0")), ..world.add_request(pod) };
    let first = agent.add(request(&older)).await.unwrap();
    sleep(secs(1)).await;
    let second = agent.add(request(&newer)).await.unwrap();
    assert_ne!(first.lease.nic, second.lease.nic);
    assert_ne!(table(&agent, &older), table(&agent, &newer));
    assert_eq!(veth(&lease(&agent, &older)).host_ifname, veth(&lease(&agent, &newer)).host_ifname);
    for _ in 0..3 {
        agent.compare_now().await.unwrap();
        world.check(&agent, &newer).await.unwrap();
        world.check_kernel(&newer, &second).await;
    }
    assert_eq!(agent.counts().repairs.get(&Repair::SetUpAgain), None);
    let error = world.check(&agent, &older).await.unwrap_err();
    assert!(error.to_string().contains("newer sandbox"), "{error}");
    assert_eq!(agent.add(request(&older)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(lease(&agent, &older).lease, first.lease);
    world.quiet(&agent).await;
    world.agree().await;

    world.del(&agent, &older).await.unwrap();
    world.check(&agent, &newer).await.unwrap();
    world.check_kernel(&newer, &second).await;
    world.agree().await;
    world.del(&agent, &newer).await.unwrap();
    sleep(secs(300)).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_older_sandbox_has_its_link_back_when_the_newer_one_went_first() {
    let world = world();
    let agent = world.warm_agent().await;
    let (older, newer) = (world.pod("older"), world.pod("newer"));
    let request = |pod: &Pod| AddRequest { pod: Some(named("web-0")), ..world.add_request(pod) };
    agent.add(request(&older)).await.unwrap();
    sleep(secs(1)).await;
    agent.add(request(&newer)).await.unwrap();
    world.del(&agent, &newer).await.unwrap();
    agent.compare_now().await.unwrap();
    world.check(&agent, &older).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_older_sandbox_that_is_gone_is_released_and_the_newer_one_keeps_its_own() {
    let world = world();
    let agent = world.warm_agent().await;
    let (older, newer) = (world.pod("older"), world.pod("newer"));
    let request = |pod: &Pod| AddRequest { pod: Some(named("web-0")), ..world.add_request(pod) };
    agent.add(request(&older)).await.unwrap();
    sleep(secs(1)).await;
    let second = agent.add(request(&newer)).await.unwrap();
    world.kernel.remove_sandbox(&older.netns);
    agent.compare_now().await.unwrap();
    assert_eq!(agent.leases().len(), 1);
    world.check(&agent, &newer).await.unwrap();
    world.check_kernel(&newer, &second).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_whose_veths_ended_are_released_unless_too_many_go_at_once() {
    let world = World::behind_veths(PoolConfig { low: 2, high: 60, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 4);
    world.add_all(&agent, &pods).await;
    pods.iter().for_each(|pod| world.kernel.remove_sandbox(&pod.netns));
    let findings = agent.compare_now().await.unwrap();
    assert!(findings.contains(&Finding::BlindToSandboxes(4)), "{findings:?}");
    assert_eq!(agent.leases().len(), 4);
    world.del_all(&agent, &pods[1..]).await;
    agent.compare_now().await.unwrap();
    assert_eq!(agent.leases(), [], "one of one may be gone");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_behind_veths_are_found_again_without_records() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 3);
    let route =
        Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: Some("192.168.1.9".parse().unwrap()) };
    let asked = |world: &World, pod: &Pod| AddRequest {
        routes: vec![route.clone()],
        mtu: Some(1400),
        pod: Some(named(pod.key.container.as_str())),
        ..world.add_request(pod)
    };
    let mut answers = Vec::new();
    for pod in &pods {
        answers.push(agent.add(asked(&world, pod)).await.unwrap());
    }
    let before: Vec<LeaseRecord> = agent.leases();
    drop(agent);
    // One has gone unnoticed.
    world.store = MemoryStore::default();
    world.kernel.remove_sandbox(&pods[2].netns);

    let repeated = asked(&world, &pods[0]);
    let agent = world.agent().await;
    assert_eq!(timeout(secs(5), agent.add(repeated)).await.unwrap().unwrap(), answers[0]);
    let plans = |leases: &[LeaseRecord]| -> Vec<_> {
        let of_living = leases.iter().filter(|lease| lease.mark != pods[2].key.mark());
        of_living.map(|lease| (lease.lease.clone(), lease.plan.routes.clone(), lease.plan.mtu)).collect()
    };
    assert_eq!(plans(&agent.leases()), plans(&before));
    let found = lease(&agent, &pods[1]).link.unwrap();
    assert_eq!(found, answers[1].link, "what a CHECK compares with what the runtime was told");
    assert_eq!(agent.leases().len(), 2, "{:#?}", agent.leases());
    agent.compare_now().await.unwrap();
    assert_eq!(agent.counts().repairs.get(&Repair::SetUpAgain), None, "nothing was taken from pods that run");
    for pod in &pods[..2] {
        world.check(&agent, pod).await.unwrap();
    }
    world.quiet(&agent).await;
    world.agree().await;
    let new = world.pod("new");
    world.add(&agent, &new).await.unwrap();
    world.del_all(&agent, &pods).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_passthrough_pod_that_is_found_again_keeps_its_veth_to_services() {
    let mut world = world();
    world.config.datapath = Datapath::Passthrough;
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 2);
    for pod in &pods {
        world.add(&agent, pod).await.unwrap();
    }
    let plan = |agent: &Agent, pod: &Pod| lease(agent, pod).plan.datapath;
    let before = plan(&agent, &pods[0]);
    assert!(matches!(before, PodDatapath::PassthroughWithServices(_)), "{before:?}");
    drop(agent);

    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(plan(&agent, &pods[0]), before);
    world.add(&agent, &pods[0]).await.unwrap();
    agent.compare_now().await.unwrap();
    assert_eq!(plan(&agent, &pods[0]), before);
    assert_eq!(agent.counts().repairs.get(&Repair::SetUpAgain), None, "nothing was taken from pods that run");
    for pod in &pods {
        world.check(&agent, pod).await.unwrap();
    }
    world.del_all(&agent, &pods).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_veth_pod_whose_del_was_answered_is_finished_though_the_records_are_lost() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 2);
    world.add_all(&agent, &pods).await;
    world.kernel.set_latency(KernelOperation::GiveBack, secs(3600));
    world.del_answered(&agent, &pods[0]).await.unwrap();
    drop(agent);
    world.kernel.set_latency(KernelOperation::GiveBack, secs(0));
    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(agent.leases().len(), 1);
    assert_eq!(world.kernel.observe().await.unwrap().veths.len(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_whose_pod_is_not_in_sight_is_set_aside_until_it_is() {
    for keep_store in [false, true] {
        let mut world = world();
        let agent = world.warm_agent().await;
        let pod = world.pod("p");
        let before = world.state().await;
        let answer = world.add(&agent, &pod).await.unwrap();
        drop(agent);
        // Records of before, or none at all; and the pod's namespace cannot be seen.
        world.store = MemoryStore::default();
        if keep_store {
            world.store.commit(&before.to_writes()).await.unwrap();
        }
        world.kernel.hide_sandbox(&pod.netns);
        let agent = world.agent().await;
        agent.ready().await;
        let state = || agent.nics().into_iter().find(|nic| nic.id == answer.lease.nic).unwrap().state;
        assert_eq!(state().word(), "quarantined", "{keep_store}");
        let others = world.pods("q", 3);
        for other in world.add_all(&agent, &others).await {
            assert_ne!(other.lease.nic, answer.lease.nic);
        }
        for pod in &others {
            assert_ne!(table(&agent, pod), 260, "it is the hidden pod's");
        }
        sleep(secs(300)).await;
        assert_eq!(state().word(), "quarantined", "{keep_store}");
        world.kernel.show_sandbox(&pod.netns);
        agent.compare_now().await.unwrap();
        assert_eq!(lease(&agent, &pod).lease, answer.lease);
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_in_sight_is_not_released() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.kernel.hide_sandbox(&pod.netns);
    assert_eq!(agent.compare_now().await.unwrap(), []);
    assert_eq!(agent.leases().len(), 1);
    world.kernel.show_sandbox(&pod.netns);
    world.check(&agent, &pod).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_veth_del_that_fails_half_way_is_finished_by_the_comparison() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    for operation in [KernelOperation::SilencePod, KernelOperation::TeardownPod] {
        world.kernel.inject(operation, When::Nth(1), KernelFault::Before(ErrorKind::Transient));
    }
    world.del(&agent, &pod).await.unwrap_err();
    sleep(secs(70)).await;
    assert_eq!(agent.leases(), []);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_that_overtakes_an_add_behind_a_veth_undoes_it_soon() {
    for operation in [KernelOperation::SetupPod, KernelOperation::Sandbox] {
        let world = world();
        let agent = world.warm_agent().await;
        let pod = world.pod("p");
        world.kernel.set_latency(operation, secs(1));
        let overtaken = async {
            sleep(secs(1) / 2).await;
            let start = Instant::now();
            world.del(&agent, &pod).await.unwrap();
            start.elapsed()
        };
        let (add, took) = tokio::join!(world.add(&agent, &pod), overtaken);
        assert_eq!(add.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(took < secs(2), "{took:?}");
        world.quiet(&agent).await;
        world.agree().await;
        assert_eq!(world.kernel.observe().await.unwrap().veths, []);
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_the_kernel_leaves_a_veth_pod_whole_or_gone() {
    use KernelOperation::{
        AnnouncePod, CheckNode, CheckPod, GiveBack, Observe, Sandbox, SetupNode, SetupPod, SilencePod,
        TeardownPod,
    };
    let kinds = [ErrorKind::Transient, ErrorKind::Conflict, ErrorKind::NotFound];
    for operation in [
        AnnouncePod,
        CheckNode,
        CheckPod,
        GiveBack,
        Observe,
        Sandbox,
        SetupNode,
        SetupPod,
        SilencePod,
        TeardownPod,
    ] {
        for fault in kinds.into_iter().flat_map(|kind| [KernelFault::Before(kind), KernelFault::After(kind)])
        {
            let world = world();
            let agent = world.warm_agent().await;
            world.kernel.forget_node();
            world.kernel.inject(operation, When::Next(2), fault);
            let pods = world.pods("p", 2);
            for pod in &pods {
                // It may fail; then nothing is left, or the comparison finishes it.
                drop(world.add(&agent, pod).await);
            }
            drop(world.del(&agent, &pods[0]).await);
            sleep(secs(200)).await;
            world.kernel.clear_faults();
            sleep(secs(100)).await;
            world.quiet(&agent).await;
            world.agree().await;
            assert_eq!(node(&world).hairpin, Hairpin::Off, "{operation:?} {fault:?}");
            world.del_all(&agent, &pods).await;
            world.quiet(&agent).await;
            world.agree().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_nics_were_moved_into_go_on_when_the_node_turns_to_veths_and_back() {
    let mut world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let moved = world.pod("moved");
    let answer = world.add(&agent, &moved).await.unwrap();
    drop(agent);
    let (veths, before) = (World::behind_veths(usual_pool()).config, world.config.clone());
    world.kernel.add_host_link(node_mac(), true);
    world.kernel.configure_host_link(node_mac(), NODE.parse().unwrap(), true);
    world.config = veths;
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(world.add(&agent, &moved).await.unwrap(), answer);
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
    drop(agent);

    world.config = before;
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(node(&world).hairpin, Hairpin::Off, "what pods behind veths need stays");
    world.check(&agent, &pod).await.unwrap();
    world.del_all(&agent, &[moved, pod]).await;
    drop(agent);
    let agent = world.agent().await;
    assert_eq!(world.kernel.node(), Some(NodePlan::Passthrough));
    agent.ready().await;
    world.quiet(&agent).await;
    world.agree().await;
}

/// A pod's lease and NIC as versions without pods behind veths wrote them.
fn written_before(lease: &LeaseRecord, nic: &NicRecord) -> [Value; 2] {
    let time =
        |at: BootTime| json!({"secs": at.since_boot().as_secs(), "nanos": at.since_boot().subsec_nanos()});
    let (key, plan) = (lease.key.as_ref().unwrap(), &lease.plan);
    let (mark, mac) = (lease.mark.as_str(), nic.mac.to_string());
    let (address, gateway) = (plan.address.to_string(), plan.gateway.to_string());
    let plan = json!({
        "datapath": "Passthrough", "mark": mark, "netns": plan.netns.to_string(),
        "sandbox": {"device": plan.sandbox.device, "inode": plan.sandbox.inode},
        "ifname": "eth0", "mac": mac, "address": address, "gateway": gateway, "routes": [], "mtu": null,
    });
    let lease = json!({
        "mark": mark,
        "key": {"network": "net", "container": key.container.as_str(), "ifname": "eth0"},
        "pod": null, "started": time(lease.started), "state": "Active",
        "lease": {
            "nic": nic.id.as_str(), "mac": mac, "subnet": "vxnet-1", "address": address, "gateway": gateway,
        },
        "plan": plan, "link": {"mac": mac, "mtu": 1500}, "since": time(lease.since),
    });
    let nic = json!({
        "id": nic.id.as_str(), "mac": mac,
        "subnet": {"id": "vxnet-1", "prefix": "192.168.1.0/24", "gateway": gateway},
        "token": nic.token.as_ref().unwrap().as_str(), "role": "Pods", "state": "Ready",
        "since": time(nic.since),
        "addresses": [{"address": nic.addresses[0].address, "state": {"Leased": {"mark": mark}}}],
    });
    [lease, nic]
}

#[tokio::test(start_paused = true)]
async fn records_of_a_version_that_knew_no_veths_are_read_and_their_pods_go_on() {
    let before = World::new(usual_pool());
    let agent = before.warm_agent().await;
    let pod = before.pod("p");
    let answer = before.add(&agent, &pod).await.unwrap();
    before.quiet(&agent).await;
    agent.stop().await;
    let mut state = before.state().await;
    let (known, nic) = (state.leases[&pod.key.mark()].clone(), state.nics[&answer.lease.nic].clone());
    let [lease, nic] = written_before(&known, &nic);
    let (lease, nic): (LeaseRecord, NicRecord) =
        (serde_json::from_value(lease).unwrap(), serde_json::from_value(nic).unwrap());
    assert_eq!(lease, known);
    state.apply(&[Write::PutLease(Box::new(lease)), Write::PutNic(nic)]);

    let mut world = before;
    world.store = MemoryStore::default();
    world.store.commit(&state.to_writes()).await.unwrap();
    world.config = World::behind_veths(usual_pool()).config;
    world.kernel.add_host_link(node_mac(), true);
    world.kernel.configure_host_link(node_mac(), NODE.parse().unwrap(), true);
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(world.add(&agent, &pod).await.unwrap(), answer);
    world.check(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
    world.del(&agent, &pod).await.unwrap();
}
