//! What the node itself has for pods behind veths, and how it changes while they run.

use hostnic_core::ErrorKind;
use hostnic_core::agent::{AddRequest, Agent, Finding, Readiness, Repair};
use hostnic_core::clock::BootTime;
use hostnic_core::ledger::{LeaseRecord, NicRecord, Write};
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, Hairpin, NodePlan};
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::store::{MemoryStore, StateStore};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{NODE, World, node_mac, secs, usual_pool, veth};
use crate::{config, lease, node, world};

#[tokio::test(start_paused = true)]
async fn a_node_that_is_to_have_veths_is_told_what_they_have_in_common() {
    let mut world = world();
    world.config.veth = None;
    let error = Agent::start(world.parts(), world.config.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
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
    // Long before the next comparison, which is after a minute.
    sleep(secs(1)).await;
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
