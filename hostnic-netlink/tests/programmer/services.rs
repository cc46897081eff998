//! Pods that their NICs are moved into, and that reach services by a veth beside.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hostnic_core::attachment::NetnsPath;
use hostnic_core::route::{Hairpin, NodePlan, PodDatapath};
use hostnic_core::{ErrorKind, RouteProgrammer};
use libtest_mimic::Trial;
use serde_json::json;

use crate::trial;
use crate::veth::world::{
    PORT, Pod, SERVICES, Vpc, inside, listen, next_heard, service, sh, speak, talk, text,
};
use crate::world::{eventually, ip, links};

const SERVICE: &str = "10.96.0.1:80";
/// The table of the routes to such pods.
const TABLE: &str = "10000001";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("a_pod_with_a_veth_to_services_has_exactly_what_it_needs", exactly),
        trial("a_veth_to_services_is_set_up_once", again),
        trial("whatever_is_done_to_a_veth_to_services_is_found_and_repaired", repaired),
        trial("a_pod_with_a_veth_to_services_taken_down_leaves_nothing", nothing_left),
        trial("a_silenced_pod_with_a_veth_to_services_can_be_set_up_again", silenced),
        trial("a_veth_to_services_ends_with_its_pods_namespace", namespace_ended),
        trial("a_veth_to_services_that_cannot_be_made_leaves_the_nic_in_the_node", refused),
        trial("what_is_not_for_a_service_does_not_pass_by_a_veth_to_services", only_services),
        trial("nobody_sends_as_another_by_a_veth_to_services", spoofing),
    ];
    for (primary, words) in [("a", "the_same"), ("b", "another")] {
        for (hairpin, mode) in [(Hairpin::Off, "without"), (Hairpin::On, "with")] {
            let name = |what| format!("{what}_{mode}_hairpin_and_the_node_in_{words}_subnet");
            let reached = move || reached(primary, hairpin);
            trials.push(trial(&name("a_passthrough_pod_reaches_services_wherever_they_are"), reached));
            let directly = move || directly(primary, hairpin);
            trials.push(trial(&name("all_else_goes_by_a_passthrough_pods_nic"), directly));
        }
    }
    trials
}

async fn with_a_pod(primary: &str, hairpin: Hairpin) -> (Vpc, Pod) {
    let vpc = Vpc::new(primary).await;
    vpc.programmer.setup_node(&vpc.node_plan(hairpin)).await.unwrap();
    let pod = vpc.passthrough("a", 11).await;
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    (vpc, pod)
}

/// The node has its own NIC and the pod's, and the pod has nothing.
fn back_in_the_node(vpc: &Vpc, pod: &Pod) {
    let there = links(&vpc.node);
    assert!(there.len() == 2 && there.iter().all(|name| name.starts_with("eth")), "{there:?}");
    assert_eq!(links(pod.netns.path()), [""; 0]);
}

async fn exactly() {
    let (vpc, pod) = with_a_pod("b", Hairpin::Off).await;
    assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
    assert_eq!(vpc.programmer.check_node(&vpc.node_plan(Hairpin::Off)).await.unwrap(), []);
    let netns = pod.netns.path();
    assert_eq!(
        (links(&vpc.node), links(netns)),
        (vec!["eth0".into(), "vnica11".into()], vec!["eth0".to_owned(), "veth1".into()])
    );
    let host = &ip(&vpc.node, &["link", "show", "vnica11"])[0];
    assert_eq!(host["ifalias"], format!("hostnic:{} service-host", pod.plan.mark));
    assert_eq!(host["group"], "6844019");
    let veth = &ip(netns, &["address", "show", "veth1"])[0];
    assert_eq!(veth["ifalias"], format!("hostnic:{} service-pod", pod.plan.mark));
    let of_ipv4: Vec<_> =
        veth["addr_info"].as_array().unwrap().iter().filter(|a| a["family"] == "inet").collect();
    assert_eq!(of_ipv4.len(), 0, "{veth:#}");
    let routes = text(netns, &["ip", "route", "show", "dev", "veth1"]);
    let routes: Vec<&str> = routes.lines().map(str::trim).collect();
    assert_eq!(
        routes,
        ["10.96.0.0/16 via 169.254.1.1 proto 104 src 10.1.0.11", "169.254.1.1 proto 104 scope link"]
    );
    let known = |netns: &Path, link: &str| {
        let known = ip(netns, &["-4", "neigh", "show", "dev", link, "nud", "permanent"]);
        (known[0]["dst"].clone(), known[0]["lladdr"].clone())
    };
    assert_eq!(known(netns, "veth1"), (json!("169.254.1.1"), host["address"].clone()));
    assert_eq!(known(&vpc.node, "vnica11"), (json!("10.1.0.11"), veth["address"].clone()));
    let routes = text(&vpc.node, &["ip", "route", "show", "table", TABLE]);
    assert_eq!(routes.trim(), "10.1.0.11 dev vnica11 proto 104 scope link");
    let rules = text(&vpc.node, &["ip", "rule"]);
    assert_eq!(rules.matches("10.1.0.11").count(), 0, "{rules}");
    // It is no NIC, and the pod is told of once.
    let view = vpc.programmer.observe().await.unwrap();
    let names: Vec<&str> = view.host.iter().map(|link| link.name.as_str()).collect();
    assert_eq!((names, view.pods.len(), view.veths.len()), (vec!["eth0"], 1, 0));
    assert_eq!(view.pods[0].ifname.as_str(), "eth0");
    let PodDatapath::PassthroughWithServices(planned) = &pod.plan.datapath else { panic!("{:?}", pod.plan) };
    assert_eq!(view.pods[0].services.as_ref(), Some(planned));
}

async fn again() {
    let (vpc, pod) = with_a_pod("b", Hairpin::Off).await;
    let index = || ip(&vpc.node, &["link", "show", "vnica11"])[0]["ifindex"].clone();
    let before = (vpc.whole(), inside(&pod), index());
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
    assert_eq!((vpc.whole(), inside(&pod), index()), before);
}

async fn repaired() {
    let (vpc, pod) = with_a_pod("b", Hairpin::Off).await;
    let before = (vpc.whole(), inside(&pod));
    for (place, damage) in [
        (vpc.node.as_path(), "ip link del vnica11"),
        (&vpc.node, "ip link set vnica11 group 0"),
        (&vpc.node, "ip link set vnica11 alias ''"),
        (&vpc.node, "ip link set vnica11 down"),
        (&vpc.node, "ip link set vnica11 down; ip link set vnica11 name other; ip link set other up"),
        (&vpc.node, "ip link set vnica11 mtu 1400"),
        (&vpc.node, "ip route flush table 10000001"),
        (&vpc.node, "ip neigh del 10.1.0.11 dev vnica11"),
        (&vpc.node, "sysctl -qw net.ipv4.conf.vnica11.rp_filter=0"),
        (pod.netns.path(), "ip route del 10.96.0.0/16"),
        (pod.netns.path(), "ip link set veth1 down"),
        (pod.netns.path(), "ip link del veth1"),
        (pod.netns.path(), "ip neigh del 169.254.1.1 dev veth1"),
    ] {
        sh(place, damage);
        assert_ne!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        assert_eq!((vpc.whole(), inside(&pod)), before, "{damage}");
    }
}

async fn nothing_left() {
    for by_its_mark in [false, true] {
        let vpc = Vpc::new("b").await;
        let pod = vpc.passthrough("a", 11).await;
        // A link that was up once has another queue.
        sh(&vpc.node, "ip link set eth1 up; ip link set eth1 down");
        sh(pod.netns.path(), "ip link set lo up");
        vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
        sh(&vpc.node, "ip link set eth1 addrgenmode eui64");
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
        let before = (vpc.whole(), inside(&pod));
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        if by_its_mark {
            let netns = NetnsPath::new(pod.netns.path()).unwrap();
            let freed = vpc.programmer.teardown_marked(&pod.plan.mark, &netns).await.unwrap();
            assert_eq!(freed, Some(pod.plan.mac));
        } else {
            vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
        }
        assert_eq!((vpc.whole(), inside(&pod)), before);
        back_in_the_node(&vpc, &pod);
        vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
        vpc.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
        let rules = text(&vpc.node, &["ip", "rule"]);
        assert_eq!(rules.matches("proto 104").count(), 0, "{rules}");
    }
}

async fn silenced() {
    let (vpc, pod) = with_a_pod("b", Hairpin::Off).await;
    let before = (vpc.whole(), inside(&pod));
    drop(vpc.programmer.silence_pod(&pod.plan).await.unwrap().unwrap());
    assert!(!links(&vpc.node).contains(&"vnica11".to_owned()));
    assert!(!links(pod.netns.path()).contains(&"eth0".to_owned()));
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    assert_eq!((vpc.whole(), inside(&pod)), before);
    let mut silenced = vpc.programmer.silence_pod(&pod.plan).await.unwrap().unwrap();
    for _ in 0..2 {
        silenced.give_back().await.unwrap();
        silenced.forget().await.unwrap();
    }
    back_in_the_node(&vpc, &pod);
}

async fn namespace_ended() {
    let (vpc, pod) = with_a_pod("b", Hairpin::Off).await;
    let plan = pod.plan.clone();
    pod.netns.remove().unwrap();
    eventually("the veth ends with its pod", || !links(&vpc.node).contains(&"vnica11".to_owned())).await;
    vpc.programmer.teardown_pod(&plan).await.unwrap();
    assert_eq!(vpc.programmer.check_node(&vpc.node_plan(Hairpin::Off)).await.unwrap(), []);
}

async fn refused() {
    let vpc = Vpc::new("b").await;
    vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
    let pod = vpc.passthrough("a", 11).await;
    for (place, foreign) in [(vpc.node.as_path(), "vnica11"), (pod.netns.path(), "veth1")] {
        sh(place, &format!("ip link add {foreign} type bridge"));
        let error = vpc.programmer.setup_pod(&pod.plan).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
        assert!(error.to_string().contains(foreign), "{error}");
        sh(place, &format!("ip link del {foreign}"));
        back_in_the_node(&vpc, &pod);
    }
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    // An older attachment of the same pod, whose DEL is still to come.
    let mut newer = vpc.passthrough("a", 12).await;
    newer.plan.datapath = pod.plan.datapath.clone();
    vpc.programmer.setup_pod(&newer.plan).await.unwrap();
    vpc.programmer.teardown_pod(&pod.plan).await.unwrap();
    assert_eq!(vpc.programmer.check_pod(&newer.plan).await.unwrap(), []);
}

/// From the pod to a service with a back end in each place, and what the back end sees.
async fn reached(primary: &str, hairpin: Hairpin) {
    let (vpc, pod) = with_a_pod(primary, hairpin).await;
    let veth = vpc.pod("a", 12, hairpin).await;
    let other = vpc.passthrough("b", 13).await;
    for pod in [&veth, &other] {
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    }
    let (near, far) = (vpc.host("a", 20).await, vpc.host("b", 21).await);
    let asker = pod.netns.path();
    for (what, place, address) in [
        ("a pod behind a veth", veth.netns.path(), veth.address()),
        ("another passthrough pod", other.netns.path(), other.address()),
        ("the node itself", &vpc.node, vpc.address),
        ("another machine in the pod's subnet", &near.0, near.1),
        ("another machine in another subnet", &far.0, far.1),
        ("itself", asker, pod.address()),
    ] {
        service(&vpc.node, SERVICE, address);
        let seen = talk(asker, place, SERVICE.parse().unwrap()).await;
        let expected = match what {
            "the node itself" => pod.address(),
            "another passthrough pod" | "itself" => IpAddr::from([169, 254, 1, 1]),
            _ => vpc.address,
        };
        assert_eq!(seen, expected, "by {what}");
        sh(&vpc.node, "nft delete table ip kube");
    }
    vpc.nothing_policed().await;
}

/// What is no service's, in both directions.
async fn directly(primary: &str, hairpin: Hairpin) {
    let (vpc, pod) = with_a_pod(primary, hairpin).await;
    let veth = vpc.pod("a", 12, hairpin).await;
    vpc.programmer.setup_pod(&veth.plan).await.unwrap();
    let far = vpc.host("b", 21).await;
    sh(
        &vpc.node,
        "nft 'add table ip witness; add counter ip witness by_veth; \
         add chain ip witness in { type filter hook prerouting priority -300; }; \
         add chain ip witness out { type filter hook postrouting priority 300; }; \
         add rule ip witness in iifname vnica11 counter name by_veth; \
         add rule ip witness out oifname vnica11 counter name by_veth'",
    );
    let places = [(veth.netns.path(), veth.address()), (&vpc.node, vpc.address), (&far.0, far.1)];
    for (place, address) in places {
        let seen = talk(pod.netns.path(), place, SocketAddr::new(address, PORT)).await;
        assert_eq!(seen, pod.address());
        let seen = talk(place, pod.netns.path(), SocketAddr::new(pod.address(), PORT)).await;
        assert_eq!(seen, address);
    }
    let counted = text(&vpc.node, &["nft", "list", "counter", "ip", "witness", "by_veth"]);
    assert!(counted.contains("packets 0 "), "{counted}");
    vpc.nothing_policed().await;
}

async fn only_services() {
    let (vpc, pod) = with_a_pod("b", Hairpin::Off).await;
    let veth = vpc.pod("a", 12, Hairpin::Off).await;
    vpc.programmer.setup_pod(&veth.plan).await.unwrap();
    let to = SocketAddr::new(veth.address(), PORT);
    talk(pod.netns.path(), veth.netns.path(), to).await;
    let ear = listen(veth.netns.path()).await;
    sh(pod.netns.path(), "ip route add 10.1.0.12 via 169.254.1.1 dev veth1 src 10.1.0.11");
    let mouth = speak(pod.netns.path(), "10.1.0.11").await;
    for _ in 0..3 {
        mouth.send_to(b"past", to).await.unwrap();
    }
    sh(pod.netns.path(), "ip route del 10.1.0.12");
    // A service that nobody serves leaves in the node's name, and the cloud has nothing to complain of.
    mouth.send_to(b"nowhere", "10.96.9.9:80".parse::<SocketAddr>().unwrap()).await.unwrap();
    mouth.send_to(b"right", to).await.unwrap();
    assert_eq!(next_heard(&ear).await, b"right");
    vpc.nothing_policed().await;
}

async fn spoofing() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let (vpc, pod) = with_a_pod("b", hairpin).await;
        let veth = vpc.pod("a", 12, hairpin).await;
        let other = vpc.passthrough("a", 13).await;
        for pod in [&veth, &other] {
            vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        }
        service(&vpc.node, SERVICE, veth.address());
        let to: SocketAddr = SERVICE.parse().unwrap();
        let liar = pod.netns.path();
        talk(liar, veth.netns.path(), to).await;
        let ear = listen(veth.netns.path()).await;
        sh(liar, &format!("ip route replace {SERVICES} via 169.254.1.1 dev veth1"));
        for lie in ["10.1.0.12", "10.1.0.13", "10.1.0.99", "10.2.0.10"] {
            sh(liar, &format!("ip address add {lie}/32 dev lo"));
            let mouth = speak(liar, lie).await;
            for _ in 0..3 {
                mouth.send_to(b"lie", to).await.unwrap();
            }
            sh(liar, &format!("ip address del {lie}/32 dev lo"));
        }
        speak(liar, "10.1.0.11").await.send_to(b"truth", to).await.unwrap();
        assert_eq!(next_heard(&ear).await, b"truth", "with hairpin {hairpin:?}");
        vpc.nothing_policed().await;
    }
}
