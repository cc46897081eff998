//! Pods behind veths, from ADD to DEL: how they are joined to their NICs, under which numbers and names.

use hostnic_core::agent::{AddRequest, Agent, PodMtu};
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, Hairpin, NicTable, PodDatapath, Route};
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::{ErrorKind, RouteProgrammer};
use tokio::time::{Instant, sleep};

use crate::support::{Pod, World, secs, usual_pool, veth};
use crate::{calls, config, lease, named, node, table, world};

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
