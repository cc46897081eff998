//! Silencing pods behind veths and taking them down, and what a look at the node tells of them.

use hostnic_core::RouteProgrammer;
use hostnic_core::attachment::NetnsPath;
use hostnic_core::route::{Drift, Hairpin, MarkedVeth, MarkedVethEnd, NicTable, NodePlan, Route};
use libtest_mimic::Trial;

use super::world::{Vpc, inside, sh, talk};
use crate::trial;
use crate::world::{eventually, ip, links};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_veth_pod_taken_down_leaves_nothing", nothing_left),
        trial("a_silenced_veth_pod_frees_its_name_and_is_known_as_silenced", silenced),
        trial("a_silenced_veth_pod_can_be_set_up_again", set_up_again),
        trial("a_veth_pod_is_taken_down_by_its_mark_alone", marked),
        trial("a_veth_pod_whose_namespace_ended_is_seen_and_taken_down", namespace_ended),
        trial("somebody_elses_link_in_the_doomed_group_is_spared", spared),
        trial("a_damaged_veth_pod_is_taken_down_all_the_same", damaged),
        trial("a_node_tells_of_its_veth_pods", observed),
    ]
}

async fn nothing_left() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let vpc = Vpc::new("b").await;
        let pod = vpc.pod("a", 11, hairpin).await;
        // A link that was up once has another queue.
        sh(&vpc.node, "ip link set eth1 up; ip link set eth1 down");
        sh(pod.netns.path(), "ip link set lo up");
        let before = (vpc.whole(), inside(&pod));
        vpc.programmer.setup_node(&vpc.node_plan(hairpin)).await.unwrap();
        let node = vpc.whole();
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
        assert_eq!((vpc.whole(), inside(&pod)), (node, before.1.clone()));
        vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
        vpc.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
        assert_eq!((vpc.whole(), inside(&pod)), before);
    }
}

async fn silenced() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let pod = &pods[0];
    let mut silenced = vpc.programmer.silence_pod(&pod.plan).await.unwrap().unwrap();
    let names = links(&vpc.node);
    assert!(!names.contains(&"vnica11".to_owned()), "{names:?}");
    let aside = names.iter().find(|name| name.starts_with("hnx")).unwrap();
    assert_eq!(ip(&vpc.node, &["link", "show", aside])[0]["group"], "6844024");
    let view = vpc.programmer.observe().await.unwrap();
    assert!(view.veths[0].silenced);
    assert_ne!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
    silenced.give_back().await.unwrap();
    silenced.give_back().await.unwrap();
    // Whoever finds the NIC knows whose flows are still to be forgotten.
    assert_eq!(links(&vpc.node), ["eth0", "hostnic_311"]);
    let left = &vpc.programmer.observe().await.unwrap().veths[0];
    assert_eq!((left.silenced, &left.addresses), (true, &vec![pod.plan.address.addr()]));
    silenced.forget().await.unwrap();
    silenced.forget().await.unwrap();
    assert_eq!(links(&vpc.node), ["eth0", "eth1"]);
    assert_eq!(vpc.programmer.observe().await.unwrap().veths, []);
    assert!(vpc.programmer.silence_pod(&pod.plan).await.unwrap().is_none());
}

async fn set_up_again() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let pod = &pods[0];
    let before = (vpc.whole(), inside(pod));
    drop(vpc.programmer.silence_pod(&pod.plan).await.unwrap().unwrap());
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    assert_eq!((vpc.whole(), inside(pod)), before);
    let to = std::net::SocketAddr::new(pod.address(), super::world::PORT);
    talk(&vpc.node, pod.netns.path(), to).await;
}

async fn marked() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::On, &[11, 12]).await;
    let pod = &pods[0];
    let netns = NetnsPath::new(pod.netns.path()).unwrap();
    let freed = vpc.programmer.teardown_marked(&pod.plan.mark, &netns).await.unwrap();
    assert_eq!(freed, Some(pod.plan.mac));
    assert_eq!(links(&vpc.node), ["eth0", "eth1", "hostnic_312", "vnica12"]);
    assert_eq!(links(pod.netns.path()), [""; 0]);
    assert_eq!(vpc.programmer.teardown_marked(&pod.plan.mark, &netns).await.unwrap(), None);
    assert_eq!(vpc.programmer.check_pod(&pods[1].plan).await.unwrap(), []);
    assert_eq!(vpc.programmer.check_node(&vpc.node_plan(Hairpin::On)).await.unwrap(), []);
}

async fn namespace_ended() {
    let (vpc, mut pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let pod = pods.remove(0);
    pod.netns.remove().unwrap();
    eventually("the veth ends with its pod", || !links(&vpc.node).contains(&"vnica11".to_owned())).await;
    let view = vpc.programmer.observe().await.unwrap();
    let veth = &view.veths[0];
    assert_eq!((&veth.nic, &veth.host_ifname, &veth.pod), (&Some(pod.plan.mac), &None, &None));
    let drifts = vpc.programmer.check_pod(&pod.plan).await.unwrap();
    let gone = |drift: &&Drift| drift.object.starts_with("network namespace");
    assert_eq!(drifts.iter().filter(gone).count(), 1, "{drifts:?}");
    vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
    assert_eq!(links(&vpc.node), ["eth0", "eth1"]);
    assert_eq!(vpc.programmer.observe().await.unwrap().veths, []);
    assert_eq!(vpc.programmer.check_node(&vpc.node_plan(Hairpin::Off)).await.unwrap(), []);
}

async fn spared() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11, 12]).await;
    sh(&vpc.node, "ip link add foreign group 6844024 type bridge; ip link add br0 group 6844024 type bridge");
    let mut first = vpc.programmer.silence_pod(&pods[0].plan).await.unwrap().unwrap();
    drop(vpc.programmer.silence_pod(&pods[1].plan).await.unwrap().unwrap());
    first.give_back().await.unwrap();
    first.forget().await.unwrap();
    // Both veths went together; the other NIC waits for its own turn.
    assert_eq!(links(&vpc.node), ["br0", "eth0", "eth1", "foreign", "hostnic_312"]);
    assert_eq!(ip(&vpc.node, &["link", "show", "foreign"])[0]["group"], "default");
    vpc.programmer.teardown_pod(&pods[1].plan).await.unwrap();
    assert_eq!(links(&vpc.node), ["br0", "eth0", "eth1", "eth2", "foreign"]);
}

async fn damaged() {
    for damage in [
        "ip link set hostnic_311 alias ''",
        "ip link set vnica11 alias ''",
        "ip link set hostnic_311 alias ''; ip link del vnica11",
        "ip link set hostnic_311 down; ip link set hostnic_311 name other",
        "ip address flush dev hostnic_311",
    ] {
        let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
        sh(&vpc.node, damage);
        vpc.programmer.teardown_pod(&pods[0].plan).await.unwrap();
        vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
        assert_eq!(links(&vpc.node), ["eth0", "eth1"], "{damage}");
        let nic = &ip(&vpc.node, &["-4", "address", "show", "eth1"]);
        assert_eq!(nic.as_array().unwrap().len(), 0, "{damage}");
        let rules = super::world::text(&vpc.node, &["ip", "rule"]);
        let of_pods = rules.lines().filter(|rule| rule.contains("hostnic_") || rule.contains("10.1.0.11"));
        assert_eq!(of_pods.count(), 0, "{damage}: {rules}");
    }
}

async fn observed() {
    let (vpc, mut pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let plan = &mut pods[0].plan;
    plan.routes = vec![
        Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: Some("10.1.0.9".parse().unwrap()) },
        Route { destination: "10.8.0.0/16".parse().unwrap(), next_hop: None },
    ];
    plan.mtu = Some(1400);
    let link = vpc.programmer.setup_pod(plan).await.unwrap();
    let view = vpc.programmer.observe().await.unwrap();
    let expected = MarkedVeth {
        mark: plan.mark.clone(),
        nic: Some(plan.mac),
        table: Some(NicTable::new(311).unwrap()),
        addresses: vec![plan.address.addr()],
        subnet: Some(plan.address.trunc()),
        gateway: Some(plan.gateway),
        routes: plan.routes.iter().rev().cloned().collect(),
        host_ifname: Some("vnica11".parse().unwrap()),
        mtu: Some(1400),
        pod: Some(MarkedVethEnd {
            mark: plan.mark.clone(),
            mac: link.mac,
            ifname: plan.ifname.clone(),
            netns: plan.netns.clone(),
            sandbox: plan.sandbox,
        }),
        silenced: false,
    };
    assert_eq!(view.veths, [expected]);
    assert_eq!(view.pods, []);
    let names: Vec<&str> = view.host.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["eth0", "hostnic_311"]);
    assert!(view.host.iter().all(|link| link.in_use));
}
