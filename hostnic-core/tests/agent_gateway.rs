//! Gateways: made when a pod first needs one, kept, found again, and given back with the last pod.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]

mod support;

use std::net::IpAddr;

use hostnic_core::agent::{AddAnswer, AddRequest, Agent, ByHost};
use hostnic_core::cloud::NicName;
use hostnic_core::gateway::{GatewayConfig, GatewayNumber};
use hostnic_core::ledger::{NicRecord, NicRole, NicState};
use hostnic_core::pool::PoolConfig;
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::route::{GatewayPlan, Masquerade};
use hostnic_core::sim::{Fault, KernelFault, KernelOperation, Operation, When};
use hostnic_core::store::MemoryStore;
use hostnic_core::{ErrorKind, NicProvider, Result, RouteProgrammer};
use ipnet::IpNet;
use tokio::time::{Instant, sleep};

use support::{Pod, World, secs, usual_pool};

/// A world with gateways and one subnet.
fn world() -> World {
    world_with(PoolConfig { subnets: vec!["vxnet-1".parse().unwrap()], ..usual_pool() })
}

fn world_with(pool: PoolConfig) -> World {
    let mut world = World::new(pool);
    world.config.gateways = Some(GatewayConfig::new());
    world
}

fn services() -> ByHost {
    ByHost { destinations: vec!["10.96.0.0/12".parse().unwrap()], default_route: false }
}

async fn add(world: &World, agent: &Agent, pod: &Pod, by_host: ByHost) -> Result<AddAnswer> {
    agent.add(AddRequest { by_host, ..world.add_request(pod) }).await
}

/// The next hop of the only route that was asked for.
fn next_hop(answer: &AddAnswer) -> IpAddr {
    let [route] = answer.routes.as_slice() else { panic!("{:?}", answer.routes) };
    assert_eq!(route.destination, "10.96.0.0/12".parse::<IpNet>().unwrap());
    route.next_hop.unwrap()
}

fn gateways(agent: &Agent) -> Vec<NicRecord> {
    agent.nics().into_iter().filter(|nic| nic.role.is_gateway()).collect()
}

/// The only gateway that the kernel has.
fn programmed(world: &World) -> GatewayPlan {
    let plans = world.kernel.gateways();
    let [plan] = plans.as_slice() else { panic!("{plans:?}") };
    plan.clone()
}

#[tokio::test(start_paused = true)]
async fn the_first_pod_that_needs_a_gateway_has_one_made_and_the_next_ones_use_it() {
    let world = world();
    let agent = world.warm_agent().await;
    let creates = world.count(Operation::CreateNics);
    let first = add(&world, &agent, &world.pod("p1"), services()).await.unwrap();
    let [gateway] = gateways(&agent).try_into().unwrap();
    assert_eq!((gateway.role, &gateway.state), (NicRole::Gateway(GatewayNumber(0)), &NicState::Ready));
    assert_eq!(
        (gateway.addresses[0].address, gateway.addresses[0].state.word()),
        (next_hop(&first), "claimed")
    );
    assert_eq!(first.gateway, first.lease.gateway);
    let plan = programmed(&world);
    let own = plan.own.unwrap();
    assert_eq!((plan.mac, plan.masquerade), (gateway.mac, Masquerade::Services));
    assert_eq!((own.ifname.as_str(), own.table, own.router), ("hostnic0", 25600, first.lease.gateway));

    let pods = world.pods("more", 5);
    for pod in &pods {
        let answer = add(&world, &agent, pod, services()).await.unwrap();
        assert_eq!(next_hop(&answer), next_hop(&first));
        world.check_kernel(pod, &answer).await;
    }
    assert_eq!(gateways(&agent).len(), 1);
    assert_eq!(world.count(Operation::AllowForwarding), 1, "the cloud is told once");
    assert!(world.kernel.sources(&gateway.id).unwrap().contains(&"0.0.0.0".parse().unwrap()));
    assert!(world.count(Operation::CreateNics) > creates);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_need_a_gateway_at_the_same_time_share_one() {
    let world = world_with(usual_pool());
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 20);
    let answers = pods.iter().map(|pod| add(&world, &agent, pod, services()));
    for answer in futures::future::join_all(answers).await {
        let answer = answer.unwrap();
        let gateways = gateways(&agent);
        let of_subnet = |nic: &&NicRecord| nic.subnet.id == answer.lease.subnet;
        let gateway = gateways.iter().find(of_subnet).unwrap();
        assert_eq!(gateway.addresses[0].address, next_hop(&answer));
    }
    let mut subnets: Vec<_> = gateways(&agent).into_iter().map(|nic| nic.subnet.id).collect();
    let mut numbers: Vec<_> =
        world.kernel.gateways().into_iter().map(|plan| plan.own.unwrap().number).collect();
    let count = subnets.len();
    subnets.sort();
    subnets.dedup();
    numbers.sort();
    numbers.dedup();
    assert_eq!((subnets.len(), numbers.len()), (count, count));
}

#[tokio::test(start_paused = true)]
async fn without_a_need_there_is_no_gateway() {
    let world = world();
    let agent = world.warm_agent().await;
    world.add(&agent, &world.pod("p1")).await.unwrap();
    world.quiet(&agent).await;
    assert_eq!((gateways(&agent).len(), world.kernel.gateways().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_default_route_by_the_node_is_masqueraded_as_long_as_a_pod_has_one() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p1");
    let by_host = ByHost { default_route: true, ..ByHost::default() };
    let answer = add(&world, &agent, &pod, by_host).await.unwrap();
    let plan = programmed(&world);
    assert_eq!((answer.gateway, plan.masquerade), (plan.address.addr(), Masquerade::Everything));
    assert_ne!(answer.gateway, answer.lease.gateway);
    world.check(&agent, &pod).await.unwrap();
    // A lost reply is given again as it was.
    let by_host = ByHost { default_route: true, ..ByHost::default() };
    assert_eq!(add(&world, &agent, &pod, by_host).await.unwrap(), answer);
    world.del(&agent, &pod).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(programmed(&world).masquerade, Masquerade::Services);
}

/// A NIC of the operator's in the subnet, plugged in and configured.
async fn operators_nic(world: &World, default_route: bool) -> IpNet {
    let provider = world.provider();
    let request = CreateNics {
        subnet: "vxnet-1".parse().unwrap(),
        count: 1,
        name: NicName { instance: World::instance(), token: Some("aaaaaaaaaaaaaaaa".parse().unwrap()) },
        addresses: NicAddresses::Assigned(1),
    };
    let nic = provider.create_nics(&request).await.unwrap().remove(0);
    world.cloud.control().modify_nic(&nic.id, Some("web server"), None).unwrap();
    let _job = provider.attach_nics(std::slice::from_ref(&nic.id)).await.unwrap();
    world.kernel.wait_for_nic(nic.mac).await.unwrap();
    let address = IpNet::new(nic.addresses[0], 24).unwrap();
    world.kernel.configure_host_link(nic.mac, address, default_route);
    address
}

#[tokio::test(start_paused = true)]
async fn a_nic_of_the_operators_serves_and_none_is_made() {
    for default_route in [false, true] {
        let world = world();
        let address = operators_nic(&world, default_route).await;
        let agent = world.warm_agent().await;
        let answer = add(&world, &agent, &world.pod("p1"), services()).await.unwrap();
        assert_eq!(next_hop(&answer), address.addr());
        assert_eq!(gateways(&agent).len(), 0);
        let plan = programmed(&world);
        assert_eq!((plan.address, plan.own), (address, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_survives_restarts_with_and_without_the_store() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let (one, two) = (world.pod("p1"), world.pod("p2"));
    let first = add(&world, &agent, &one, services()).await.unwrap();
    let before = (gateways(&agent)[0].id.clone(), programmed(&world));
    for lost in [false, true] {
        world.quiet(&agent).await;
        agent.stop().await;
        if lost {
            world.store = MemoryStore::default();
        }
        let again = world.agent().await;
        again.ready().await;
        let answer = add(&world, &again, &two, services()).await.unwrap();
        assert_eq!(next_hop(&answer), next_hop(&first), "the store was lost: {lost}");
        world.del(&again, &two).await.unwrap();
        assert_eq!(
            (gateways(&again)[0].id.clone(), programmed(&world)),
            before,
            "the store was lost: {lost}"
        );
        assert_eq!(gateways(&again).len(), 1);
        again.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_gateway_serves_without_the_cloud() {
    let world = world();
    let agent = world.warm_agent().await;
    let first = add(&world, &agent, &world.pod("p1"), services()).await.unwrap();
    world.quiet(&agent).await;
    agent.stop().await;
    for operation in [Operation::Instance, Operation::Subnets, Operation::ListNics] {
        world.cloud.inject(operation, When::Always, Fault::Refuse(ErrorKind::Transient));
    }
    let again = world.agent().await;
    let answer = add(&world, &again, &world.pod("p2"), services()).await.unwrap();
    assert_eq!(next_hop(&answer), next_hop(&first));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_goes_with_the_last_pod_of_its_subnet() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p1");
    add(&world, &agent, &pod, services()).await.unwrap();
    agent.drain(secs(60)).await;
    assert_eq!(gateways(&agent).len(), 1, "a pod is there");
    assert_eq!(world.kernel.gateways().len(), 1);
    world.del(&agent, &pod).await.unwrap();
    assert_eq!(agent.drain(secs(60)).await, 0);
    assert_eq!(world.kernel.gateways(), []);
    assert!(world.nics().is_empty());
}

#[tokio::test(start_paused = true)]
async fn cleaning_keeps_a_gateway_that_a_pod_needs_and_gives_back_one_that_none_does() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p1");
    add(&world, &agent, &pod, services()).await.unwrap();
    agent.clean(secs(60)).await;
    world.quiet(&agent).await;
    assert_eq!(gateways(&agent)[0].role, NicRole::Gateway(GatewayNumber(0)), "it is the same");
    world.del(&agent, &pod).await.unwrap();
    agent.clean(secs(60)).await;
    world.quiet(&agent).await;
    assert_eq!(gateways(&agent), [], "nobody needs it until the next pod comes");
    add(&world, &agent, &pod, services()).await.unwrap();
    assert_eq!(gateways(&agent).len(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_detached_or_changed_by_somebody_comes_back() {
    let world = world();
    let agent = world.warm_agent().await;
    let answer = add(&world, &agent, &world.pod("p1"), services()).await.unwrap();
    world.quiet(&agent).await;
    let before = programmed(&world);
    // Somebody took its address and all rules away.
    world.kernel.setup_gateways(&[]).await.unwrap();
    agent.compare_now().await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(programmed(&world), before);

    let gateway = gateways(&agent).remove(0);
    let _job = world.provider().detach_nics(std::slice::from_ref(&gateway.id)).await.unwrap();
    tokio::time::sleep(secs(10)).await;
    for _ in 0..2 {
        agent.compare_now().await.unwrap();
        tokio::time::sleep(secs(10)).await;
    }
    world.until(&agent, |state| state.nics[&gateway.id].state == NicState::Ready).await;
    tokio::time::sleep(secs(10)).await;
    assert_eq!((programmed(&world), next_hop(&answer)), (before.clone(), before.address.addr()));
    assert_eq!(world.kernel.check_gateways(&[before]).await.unwrap(), []);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_pod_from_a_gateway_is_told() {
    // The node keeps none.
    let mut world = world();
    world.config.gateways = None;
    let agent = world.warm_agent().await;
    let pod = world.pod("p1");
    let error = add(&world, &agent, &pod, services()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("10.96.0.0/12"), "{error}");
    // What is no route of its own is left as it was.
    let answer =
        add(&world, &agent, &pod, ByHost { default_route: true, ..ByHost::default() }).await.unwrap();
    assert_eq!(answer.gateway, answer.lease.gateway);
    agent.stop().await;

    // The node is full.
    let mut world = self::world();
    world.config.pool.max_nics = 1;
    world.config.pool.low = 1;
    let agent = world.warm_agent().await;
    let error = add(&world, &agent, &world.pod("p1"), services()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(agent.leases().is_empty());
    agent.stop().await;

    // The kernel cannot.
    let world = self::world();
    let agent = world.warm_agent().await;
    let fault = KernelFault::Before(ErrorKind::Unsupported);
    world.kernel.inject(KernelOperation::SetupGateways, When::Always, fault);
    let error = add(&world, &agent, &world.pod("p1"), services()).await.unwrap_err();
    assert!(error.to_string().contains("not supported"), "{error}");
    world.kernel.clear_faults();
    add(&world, &agent, &world.pod("p1"), services()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_refuses_gateways_is_asked_less_and_less_and_keeps_nobody_from_stopping() {
    let world =
        world_with(PoolConfig { subnets: vec!["vxnet-1".parse().unwrap()], low: 0, high: 0, ..usual_pool() });
    let agent = world.agent().await;
    agent.ready().await;
    let fault = KernelFault::Before(ErrorKind::Unauthorised);
    world.kernel.inject(KernelOperation::SetupGateways, When::Always, fault);
    let tries = || world.kernel.calls().get(&KernelOperation::SetupGateways).copied().unwrap_or_default();
    let first = world.pod("first");
    let waits = tokio::spawn({
        let request = AddRequest { by_host: services(), patience: secs(300), ..world.add_request(&first) };
        async move { (agent.add(request).await.unwrap_err(), agent) }
    });
    sleep(secs(20)).await;
    // After 1, 2, 4 and 8 s.
    let after = tries();
    assert!((3..=6).contains(&after), "{after}");
    sleep(secs(180)).await;
    assert!(tries() <= after + 5, "{} tries", tries());
    let (error, agent) = waits.await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");

    let before = tries();
    for pod in world.pods("p", 20) {
        world.add(&agent, &pod).await.unwrap();
    }
    assert!(tries() <= before + 3, "{} more tries while NICs came", tries() - before);
    let begun = Instant::now();
    agent.drain(secs(120)).await;
    agent.stop().await;
    assert!(begun.elapsed() < secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_is_late_or_does_not_know_of_forwarding_keeps_no_pod_from_its_gateway() {
    for (kind, told) in [(ErrorKind::Transient, 3), (ErrorKind::Unsupported, 1)] {
        let world = world();
        let agent = world.warm_agent().await;
        world.cloud.inject(Operation::AllowForwarding, When::Next(2), Fault::Refuse(kind));
        add(&world, &agent, &world.pod("p1"), services()).await.unwrap();
        assert_eq!(world.count(Operation::AllowForwarding), told, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_route_by_the_node_outlives_the_records() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p1");
    let by_host = ByHost { default_route: true, ..ByHost::default() };
    let answer = add(&world, &agent, &pod, by_host.clone()).await.unwrap();
    world.quiet(&agent).await;
    let before = programmed(&world);
    assert_eq!(before.masquerade, Masquerade::Everything);
    agent.stop().await;
    world.store = MemoryStore::default();
    let again = world.agent().await;
    again.ready().await;
    again.compare_now().await.unwrap();
    assert_eq!(programmed(&world), before);
    assert_eq!(again.leases()[0].plan.gateway, answer.gateway);
    world.quiet(&again).await;
    world.agree().await;
    assert_eq!(add(&world, &again, &pod, by_host).await.unwrap().gateway, answer.gateway);
}
