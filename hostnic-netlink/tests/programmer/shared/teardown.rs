//! Silencing pods that share a NIC and taking them down, and what a look at the node tells of them.

use hostnic_core::RouteProgrammer;
use hostnic_core::attachment::NetnsPath;
use hostnic_core::route::{MarkedSharedNic, MarkedSharedPod, MarkedVethEnd, NicTable, NodePlan};
use libtest_mimic::Trial;

use super::world::{Vpc, address};
use crate::trial;
use crate::veth::world::{PORT, inside_of, sh, talk};
use crate::world::{eventually, ip, links};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_shared_nic_and_its_pod_taken_down_leave_nothing", nothing_left),
        trial("a_silenced_pod_that_shares_a_nic_is_answered_for_no_more", silenced),
        trial("a_silenced_pod_that_shares_a_nic_can_be_set_up_again", set_up_again),
        trial("a_pod_that_shares_a_nic_is_taken_down_by_its_mark_alone", marked),
        trial("a_silenced_pod_that_shares_a_nic_is_taken_down_by_its_mark_alone", silenced_and_marked),
        trial("a_pod_that_shares_a_nic_and_whose_namespace_ended_is_taken_down", namespace_ended),
        trial("a_damaged_pod_that_shares_a_nic_is_taken_down_all_the_same", damaged),
        trial("a_node_tells_of_its_shared_nics_and_their_pods", observed),
    ]
}

fn answers(node: &super::world::Node) -> usize {
    ip(&node.path, &["neigh", "show", "proxy"]).as_array().unwrap().len()
}

async fn nothing_left() {
    let vpc = Vpc::new().await;
    let mut node = vpc.node(10, "b").await;
    vpc.attach(&mut node, "a").await;
    // A link that was up once has another queue.
    sh(&node.path, "ip link set eth1 up; ip link set eth1 down");
    let pod = node.pod("a", 101).await;
    sh(pod.path(), "ip link set lo up");
    let before = (node.whole(), inside_of(pod.path()));
    node.programmer.setup_shared_nic(&node.nic_plan("a")).await.unwrap();
    let shared = node.whole();
    node.programmer.setup_pod(&pod.plan).await.unwrap();
    for _ in 0..2 {
        node.programmer.teardown_pod(&pod.plan).await.unwrap();
        assert_eq!((node.whole(), inside_of(pod.path())), (shared.clone(), before.1.clone()));
    }
    for _ in 0..2 {
        node.programmer.teardown_shared_nic(node.mac("a")).await.unwrap();
        assert_eq!((node.whole(), inside_of(pod.path())), before);
    }
    // Also with a pod, whose own end comes later.
    node.programmer.setup_shared_nic(&node.nic_plan("a")).await.unwrap();
    node.programmer.setup_pod(&pod.plan).await.unwrap();
    node.programmer.teardown_shared_nic(node.mac("a")).await.unwrap();
    assert_eq!(answers(&node), 0);
    node.programmer.teardown_pod(&pod.plan).await.unwrap();
    assert_eq!((node.whole(), inside_of(pod.path())), before);
    node.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
    assert_eq!(node.programmer.check_node(&NodePlan::Passthrough).await.unwrap(), []);
}

async fn silenced() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let pod = &pods[0];
    let mut silenced = node.programmer.silence_pod(&pod.plan).await.unwrap().unwrap();
    let names = links(&node.path);
    assert!(!names.contains(&"vnica101".to_owned()), "{names:?}");
    assert_eq!(answers(&node), 1, "the other pod alone is answered for");
    let routes = crate::veth::world::text(&node.path, &["ip", "route", "show", "table", "1042"]);
    assert!(!routes.contains("10.1.0.101"), "{routes}");
    let view = node.programmer.observe().await.unwrap();
    let shown = view.shared_pods.iter().find(|shown| shown.mark == pod.plan.mark).unwrap();
    assert_eq!((shown.silenced, shown.nic, shown.address), (true, None, pod.address()));
    assert_ne!(node.programmer.check_pod(&pod.plan).await.unwrap(), []);
    node.is_sound(&[&pods[1]]).await;
    silenced.give_back().await.unwrap();
    silenced.give_back().await.unwrap();
    assert_eq!(links(&node.path), ["eth0", "hostnic_a", "vnica102"]);
    silenced.forget().await.unwrap();
    silenced.forget().await.unwrap();
    assert_eq!(node.programmer.observe().await.unwrap().shared_pods.len(), 1);
    assert!(node.programmer.silence_pod(&pod.plan).await.unwrap().is_none());
    node.is_sound(&[&pods[1]]).await;
}

async fn set_up_again() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101]).await;
    let pod = &pods[0];
    let before = (node.whole(), inside_of(pod.path()));
    drop(node.programmer.silence_pod(&pod.plan).await.unwrap().unwrap());
    node.programmer.setup_pod(&pod.plan).await.unwrap();
    assert_eq!((node.whole(), inside_of(pod.path())), before);
    talk(&node.path, pod.path(), std::net::SocketAddr::new(pod.address(), PORT)).await;
}

async fn marked() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let pod = &pods[0];
    let netns = NetnsPath::new(pod.path()).unwrap();
    for _ in 0..2 {
        // The NIC is others', too, and so is not freed.
        assert_eq!(node.programmer.teardown_marked(&pod.plan.mark, &netns).await.unwrap(), None);
        assert_eq!(links(&node.path), ["eth0", "hostnic_a", "vnica102"]);
        assert_eq!(links(pod.path()), [""; 0]);
        assert_eq!(answers(&node), 1);
    }
    node.is_sound(&[&pods[1]]).await;
}

async fn silenced_and_marked() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101]).await;
    drop(node.programmer.silence_pod(&pods[0].plan).await.unwrap().unwrap());
    let netns = NetnsPath::new(pods[0].path()).unwrap();
    assert_eq!(node.programmer.teardown_marked(&pods[0].plan.mark, &netns).await.unwrap(), None);
    assert_eq!(links(&node.path), ["eth0", "hostnic_a"]);
    node.is_sound(&[]).await;
}

async fn namespace_ended() {
    let (_vpc, node, mut pods) = Vpc::with_pods(&[101]).await;
    let pod = pods.remove(0);
    pod.netns.remove().unwrap();
    eventually("the veth ends with its pod", || !links(&node.path).contains(&"vnica101".to_owned())).await;
    let drifts = node.programmer.check_pod(&pod.plan).await.unwrap();
    let gone = drifts.iter().filter(|drift| drift.object.starts_with("network namespace"));
    assert_eq!(gone.count(), 1, "{drifts:?}");
    assert_eq!(answers(&node), 1);
    assert!(node.programmer.silence_pod(&pod.plan).await.unwrap().is_none());
    assert_eq!(answers(&node), 0, "nothing is left to silence, and nobody answers any more");
    node.programmer.teardown_pod(&pod.plan).await.unwrap();
    node.is_sound(&[]).await;
}

async fn damaged() {
    for damage in [
        "ip link set vnica101 alias ''",
        "ip link set vnica101 down; ip link set vnica101 name other",
        "ip link del vnica101",
        "ip neigh del proxy 10.1.0.101 dev hostnic_a",
        "ip link set hostnic_a alias ''",
    ] {
        let (_vpc, node, pods) = Vpc::with_pods(&[101]).await;
        sh(&node.path, damage);
        node.programmer.teardown_pod(&pods[0].plan).await.unwrap();
        assert_eq!(links(&node.path), ["eth0", "hostnic_a"], "{damage}");
        assert_eq!(answers(&node), 0, "{damage}");
        node.programmer.setup_shared_nic(&node.nic_plan("a")).await.unwrap();
        node.is_sound(&[]).await;
    }
}

async fn observed() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101]).await;
    let plan = &pods[0].plan;
    let link = node.programmer.setup_pod(plan).await.unwrap();
    let view = node.programmer.observe().await.unwrap();
    let nic = MarkedSharedNic {
        mac: node.mac("a"),
        name: "hostnic_a".to_owned(),
        table: NicTable::new(261).unwrap(),
        subnet: Some("10.1.0.0/24".parse().unwrap()),
        senders: vec![address("a", 250)],
        answers_for: vec![plan.address.addr()],
    };
    let pod = MarkedSharedPod {
        mark: plan.mark.clone(),
        address: plan.address.addr(),
        nic: Some(node.mac("a")),
        host_ifname: "vnica101".parse().unwrap(),
        mtu: 1500,
        pod: Some(MarkedVethEnd {
            mark: plan.mark.clone(),
            mac: link.mac,
            ifname: plan.ifname.clone(),
            netns: plan.netns.clone(),
            sandbox: plan.sandbox,
        }),
        silenced: false,
    };
    assert_eq!((&view.shared_nics, &view.shared_pods), (&vec![nic], &vec![pod]));
    assert_eq!((&view.pods, &view.veths), (&Vec::new(), &Vec::new()));
    let names: Vec<&str> = view.host.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["eth0", "hostnic_a"]);
}
