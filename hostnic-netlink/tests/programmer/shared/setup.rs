//! Setting up NICs and the pods that share them.

use std::time::Duration;

use hostnic_core::route::{NodePlan, PodPlan, Route, SharedNicPlan, SharedRoutes};
use hostnic_core::{ErrorKind, RouteProgrammer};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::world::{Node, Vpc, address};
use crate::trial;
use crate::veth::world::{PODS, inside_of, sh, text};
use crate::world::{ip, links};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_shared_nic_and_its_pods_have_exactly_what_they_need", exactly),
        trial("a_node_has_as_many_rules_for_one_pod_that_shares_a_nic_as_for_fifty", as_many_rules),
        trial("setting_shared_nics_and_their_pods_up_again_changes_nothing", again),
        trial("a_shared_nic_has_the_routes_of_its_plan_and_its_pods_the_mtu_of_theirs", mtu_and_routes),
        trial("the_table_of_a_shared_nic_that_others_fill_is_not_touched", others_routes),
        trial("a_shared_nic_or_its_pod_that_cannot_be_set_up_leaves_nothing", taken_back),
        trial("what_others_have_is_not_taken_for_a_shared_nic_or_its_pod", refused),
        trial("a_shared_nic_is_set_up_again_while_its_pods_come_and_go", meanwhile),
        trial("a_newer_pod_that_shares_a_nic_takes_the_name_of_an_older_one", superseded),
    ]
}

/// Rules of ours, as `ip` writes them.
fn rules(node: &Node) -> Vec<String> {
    let all = text(&node.path, &["ip", "rule", "show"]);
    let ours = all.lines().filter(|line| line.contains("proto 104"));
    ours.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace(" proto 104", "")).collect()
}

fn routes(node: &Node, table: u32) -> Vec<String> {
    let listed = text(&node.path, &["ip", "route", "show", "table", &table.to_string()]);
    listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn setting(node: &Node, name: &str) -> String {
    text(&node.path, &["cat", &format!("/proc/sys/net/ipv4/{name}")]).trim().to_owned()
}

async fn exactly() {
    let (vpc, node, pods) = Vpc::with_pods(&[101]).await;
    let pod = &pods[0];
    node.is_sound(&[pod]).await;
    assert_eq!(links(&node.path), ["eth0", "hostnic_a", "vnica101"]);

    let nic = &ip(&node.path, &["address", "show", "hostnic_a"])[0];
    assert_eq!(nic["ifalias"], "hostnic-shared:261");
    let addresses: Vec<&Value> =
        nic["addr_info"].as_array().unwrap().iter().filter(|a| a["family"] == "inet").collect();
    assert_eq!(addresses.len(), 1, "{nic:#}");
    assert_eq!((&addresses[0]["local"], &addresses[0]["prefixlen"]), (&json!("10.1.0.250"), &json!(32)));
    assert_eq!((&addresses[0]["scope"], &addresses[0]["noprefixroute"]), (&json!("link"), &json!(true)));
    let local = routes(&node, 255);
    assert!(!local.iter().any(|route| route.contains("10.1.0.")), "{local:?}");
    for (name, value) in [
        ("forwarding", "1"),
        ("send_redirects", "0"),
        ("rp_filter", "0"),
        ("accept_local", "0"),
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
    ] {
        assert_eq!(setting(&node, &format!("conf/hostnic_a/{name}")), value, "{name}");
    }
    assert_eq!(setting(&node, "neigh/hostnic_a/proxy_delay"), "0");
    let table = [
        "default via 10.1.0.1 dev hostnic_a proto 104 onlink",
        "10.1.0.0/24 dev hostnic_a proto 104 scope link",
    ];
    assert_eq!(routes(&node, 261), table);
    let proxies = ip(&node.path, &["neigh", "show", "proxy"]);
    assert_eq!((&proxies[0]["dst"], &proxies[0]["dev"]), (&json!("10.1.0.101"), &json!("hostnic_a")));
    assert_eq!(proxies.as_array().unwrap().len(), 1);

    let veth = &ip(&node.path, &["link", "show", "vnica101"])[0];
    assert_eq!(veth["ifalias"], format!("hostnic:{} shared-host address 10.1.0.101", pod.plan.mark));
    assert_eq!(setting(&node, "conf/vnica101/rp_filter"), "1");
    assert_eq!(
        routes(&node, PODS),
        [format!("10.1.0.101 dev vnica101 proto 104 scope link src {}", node.address)]
    );
    assert_eq!(
        rules(&node),
        [
            "1519: from all fwmark 0x20000/0x20000 lookup 10000001 suppress_prefixlength 31".to_owned(),
            format!("1523: from all lookup {PODS} suppress_prefixlength 31"),
            "1526: from all fwmark 0x20000/0x20000 lookup main".to_owned(),
            "1533: from all fwmark 0x10000/0x10000 lookup main".to_owned(),
            "1534: from all iif lo lookup main".to_owned(),
            "1535: from all iif hostnic_a blackhole".to_owned(),
            "1537: from 10.1.0.0/24 lookup 261".to_owned(),
        ]
    );

    let eth0 = &ip(pod.path(), &["-4", "address", "show", "eth0"])[0];
    assert_eq!(eth0["ifalias"], format!("hostnic:{} pod", pod.plan.mark));
    assert_eq!((&eth0["addr_info"][0]["local"], &eth0["mtu"]), (&json!("10.1.0.101"), &json!(1500)));
    let inside = text(pod.path(), &["ip", "route"]);
    let inside: Vec<&str> = inside.lines().map(str::trim).collect();
    assert_eq!(
        inside,
        ["default via 169.254.1.1 dev eth0 proto 104", "169.254.1.1 dev eth0 proto 104 scope link"]
    );
    let known = ip(pod.path(), &["neigh", "show", "nud", "permanent"]);
    assert_eq!((&known[0]["dst"], &known[0]["lladdr"]), (&json!("169.254.1.1"), &veth["address"]));
    vpc.nothing_policed().await;
}

async fn as_many_rules() {
    let (vpc, node, mut pods) = Vpc::with_pods(&[101]).await;
    let listed = || {
        let of = |command: &[&str]| text(&node.path, command);
        (of(&["ip", "rule", "show"]), of(&["nft", "--stateless", "list", "ruleset"]))
    };
    let for_one = listed();
    let mut others = Vec::new();
    for number in 102..=150 {
        others.push(node.pod("a", number).await);
    }
    let up = others.iter().map(async |pod| node.programmer.setup_pod(&pod.plan).await.map(drop));
    futures::future::join_all(up).await.into_iter().for_each(|done| done.unwrap());
    pods.extend(others);
    assert_eq!(listed(), for_one);
    let all: Vec<_> = pods.iter().collect();
    node.is_sound(&all).await;
    let view = node.programmer.observe().await.unwrap();
    assert_eq!((view.shared_pods.len(), view.shared_nics[0].answers_for.len()), (50, 50));
    let down = pods.iter().map(async |pod| node.programmer.teardown_pod(&pod.plan).await);
    futures::future::join_all(down).await.into_iter().for_each(|done| done.unwrap());
    assert_eq!(listed(), for_one);
    assert_eq!(links(&node.path), ["eth0", "hostnic_a"]);
    node.is_sound(&[]).await;
    vpc.nothing_policed().await;
}

async fn again() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let before = (node.whole(), inside_of(pods[0].path()));
    let veth = || ip(&node.path, &["link", "show", "vnica101"])[0]["ifindex"].clone();
    let made = veth();
    node.programmer.setup_node(&node.plan()).await.unwrap();
    node.programmer.setup_shared_nic(&node.nic_plan("a")).await.unwrap();
    for pod in &pods {
        node.programmer.setup_pod(&pod.plan).await.unwrap();
        node.programmer.announce_pod(&pod.plan).await.unwrap();
    }
    assert_eq!((node.whole(), inside_of(pods[0].path())), before);
    assert_eq!(veth(), made, "the veth was made anew");
}

async fn meanwhile() {
    let (vpc, node, stays) = Vpc::with_pods(&[101]).await;
    let mut pods = Vec::new();
    for number in 102..122 {
        pods.push(node.pod("a", number).await);
    }
    let come_and_go = async {
        for _ in 0..3 {
            let up = pods.iter().map(async |pod| node.programmer.setup_pod(&pod.plan).await.map(drop));
            futures::future::join_all(up).await.into_iter().for_each(|done| done.unwrap());
            let silenced = pods.iter().map(async |pod| node.programmer.silence_pod(&pod.plan).await);
            for silenced in futures::future::join_all(silenced).await {
                silenced.unwrap().unwrap().give_back().await.unwrap();
            }
        }
        for pod in &pods {
            node.programmer.setup_pod(&pod.plan).await.unwrap();
        }
    };
    let (plan, over) = (node.nic_plan("a"), std::cell::Cell::new(false));
    let again = async {
        let mut rounds = 0;
        while !over.get() {
            node.programmer.setup_shared_nic(&plan).await.unwrap();
            rounds += 1;
        }
        rounds
    };
    let ((), rounds) = futures::join!(
        async {
            come_and_go.await;
            over.set(true);
        },
        again
    );
    assert!(rounds > 10, "{rounds}");
    let all: Vec<_> = pods.iter().chain(&stays).collect();
    node.is_sound(&all).await;
    vpc.nothing_policed().await;
}

async fn mtu_and_routes() {
    let (_vpc, node) = Vpc::with_a_node().await;
    let destination = "10.10.0.0/16".parse().unwrap();
    let others = vec![Route { destination, next_hop: Some(address("a", 9)) }];
    let mut plan = node.nic_plan("a");
    plan.routes = SharedRoutes::Ours { gateway: address("a", 1), others };
    assert_ne!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
    node.programmer.setup_shared_nic(&plan).await.unwrap();
    assert_eq!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
    let there = routes(&node, 261);
    let route = "10.10.0.0/16 via 10.1.0.9 dev hostnic_a proto 104 onlink".to_owned();
    assert!(there.len() == 3 && there.contains(&route), "{there:?}");
    for (number, planned, at_most, expected) in
        [(101, Some(1400), None, 1400), (102, None, Some(1450), 1450), (103, None, None, 1500)]
    {
        let mut pod = node.pod("a", number).await;
        pod.plan.mtu = planned;
        pod.shared().mtu_at_most = at_most;
        assert_eq!(node.programmer.setup_pod(&pod.plan).await.unwrap().mtu, expected);
        assert_eq!(node.programmer.check_pod(&pod.plan).await.unwrap(), []);
        assert_eq!(ip(pod.path(), &["link", "show", "eth0"])[0]["mtu"], expected);
        assert_eq!(ip(&node.path, &["link", "show", "hostnic_a"])[0]["mtu"], 1500);
    }
}

async fn others_routes() {
    let (_vpc, node) = Vpc::with_a_node().await;
    let plan = SharedNicPlan { routes: SharedRoutes::Vlan, ..node.nic_plan("a") };
    sh(&node.path, "ip route add 10.77.0.0/16 dev hostnic_a table 261");
    node.programmer.setup_shared_nic(&plan).await.unwrap();
    assert_eq!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
    assert_eq!(routes(&node, 261), ["10.77.0.0/16 dev hostnic_a scope link"], "what is not ours stays");
    sh(&node.path, "ip route flush table 261");
    assert_eq!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
    node.programmer.setup_shared_nic(&plan).await.unwrap();
    assert_eq!(routes(&node, 261), [""; 0]);
}

async fn taken_back() {
    let vpc = Vpc::new().await;
    let mut node = vpc.node(10, "b").await;
    vpc.attach(&mut node, "a").await;
    // A link that was up once has another queue.
    sh(&node.path, "ip link set eth1 up; ip link set eth1 down");
    let bare = node.whole();
    let mut unreachable = node.nic_plan("a");
    unreachable.routes = SharedRoutes::Ours { gateway: "0.0.0.0".parse().unwrap(), others: Vec::new() };
    let error = node.programmer.setup_shared_nic(&unreachable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    assert_eq!(node.whole(), bare);

    node.programmer.setup_shared_nic(&node.nic_plan("a")).await.unwrap();
    let mut pod = node.pod("a", 101).await;
    let before = (node.whole(), inside_of(pod.path()));
    pod.shared().source = "10.9.9.9".parse().unwrap();
    let error = node.programmer.setup_pod(&pod.plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    assert_eq!((node.whole(), inside_of(pod.path())), before);
}

async fn refused() {
    let (vpc, mut node) = Vpc::with_a_node().await;
    vpc.attach(&mut node, "b").await;
    let pod = node.pod("a", 101).await;
    let before = node.whole();
    let refused_pod = async |plan: &PodPlan, kind: ErrorKind, words: &str| {
        let error = node.programmer.setup_pod(plan).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.chain().to_string().contains(words), "{}", error.chain());
        assert_eq!(node.whole(), before);
    };
    let routed = Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: None };
    refused_pod(&PodPlan { routes: vec![routed], ..pod.plan.clone() }, ErrorKind::Invalid, "routes").await;
    let ipv6 = "2001:db8::9/64".parse().unwrap();
    refused_pod(&PodPlan { address: ipv6, ..pod.plan.clone() }, ErrorKind::Unsupported, "IPv6").await;
    let bare = PodPlan { mac: node.mac("b"), ..pod.plan.clone() };
    refused_pod(&bare, ErrorKind::Conflict, "not set up to be shared").await;
    let gone = PodPlan { mac: "52:54:00:00:00:77".parse().unwrap(), ..pod.plan.clone() };
    refused_pod(&gone, ErrorKind::NotFound, "no link").await;
    let passthrough = hostnic_core::route::PodDatapath::Passthrough;
    refused_pod(&PodPlan { datapath: passthrough, ..pod.plan.clone() }, ErrorKind::Conflict, "shared").await;
    let own_pod = vpc.own_nic(&node, "a", 50).await;
    let mut alone = own_pod.plan.clone();
    let own = alone.mac;
    alone.mac = node.mac("a");
    let before = node.whole();
    let error = node.programmer.setup_pod(&alone).await.unwrap_err();
    assert_eq!((error.kind(), node.whole()), (ErrorKind::Conflict, before), "{}", error.chain());

    let refused_nic = async |plan: SharedNicPlan, kind: ErrorKind, words: &str| {
        let before = node.whole();
        let error = node.programmer.setup_shared_nic(&plan).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.chain().to_string().contains(words), "{}", error.chain());
        assert_eq!(node.whole(), before);
    };
    let plan = node.nic_plan("b");
    let outside = SharedNicPlan { sender: Some(address("a", 9)), ..plan.clone() };
    refused_nic(outside, ErrorKind::Invalid, "is not in").await;
    let ipv6 = SharedNicPlan { sender: "2001:db8::9".parse().ok(), ..plan.clone() };
    refused_nic(ipv6, ErrorKind::Unsupported, "IPv6").await;
    let named = SharedNicPlan { ifname: "hostnic_a".parse().unwrap(), ..plan.clone() };
    refused_nic(named, ErrorKind::Conflict, "hostnic_a").await;
    let gone = SharedNicPlan { mac: "52:54:00:00:00:77".parse().unwrap(), ..plan.clone() };
    refused_nic(gone, ErrorKind::NotFound, "no link").await;
    alone.mac = own;
    node.programmer.setup_pod(&alone).await.unwrap();
    let of_a_pod = SharedNicPlan { mac: own, ..plan };
    refused_nic(of_a_pod, ErrorKind::Conflict, "a pod's").await;
}

async fn superseded() {
    let (_vpc, node, mut pods) = Vpc::with_pods(&[101]).await;
    let older = pods.remove(0);
    let mut newer = node.pod("a", 102).await;
    newer.shared().host_ifname = "vnica101".parse().unwrap();
    node.programmer.setup_pod(&newer.plan).await.unwrap();
    node.is_sound(&[&newer]).await;
    node.programmer.teardown_pod(&older.plan).await.unwrap();
    node.is_sound(&[&newer]).await;
    assert_eq!(links(&node.path), ["eth0", "hostnic_a", "vnica101"]);
    node.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
    let left = rules(&node);
    assert_eq!(left.len(), 2, "those of the NIC stay until it is taken down: {left:?}");
    tokio::time::timeout(Duration::from_secs(5), node.programmer.setup_node(&node.plan()))
        .await
        .unwrap()
        .unwrap();
    node.is_sound(&[&newer]).await;
}
