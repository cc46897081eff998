//! Setting up the node and pods behind veths.

use std::time::Duration;

use hostnic_core::route::{Hairpin, NodePlan, Route};
use hostnic_core::{ErrorKind, RouteProgrammer};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::world::{PODS, Vpc, inside, sh, text};
use crate::trial;
use crate::world::{ip, links};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_veth_pod_has_exactly_what_it_needs", exactly),
        trial("a_node_for_veth_pods_has_exactly_what_it_needs", node),
        trial("setting_veth_pods_up_again_changes_nothing", again),
        trial("a_veth_pod_has_the_mtu_and_routes_of_its_plan", mtu_and_routes),
        trial("a_veth_pods_address_is_announced", announced),
        trial("a_veth_pod_that_cannot_be_set_up_leaves_nothing", taken_back),
        trial("what_others_have_is_not_taken_for_a_veth_pod", refused),
        trial("a_newer_veth_pod_takes_the_name_of_an_older_one", superseded),
        trial("many_veth_pods_are_set_up_and_taken_down_at_once", many),
    ]
}

/// Rules of ours, as `ip` writes them.
fn rules(vpc: &Vpc) -> Vec<String> {
    let all = text(&vpc.node, &["ip", "rule", "show"]);
    let ours = all.lines().filter(|line| line.contains("proto 104"));
    ours.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace(" proto 104", "")).collect()
}

fn settings(vpc: &Vpc, link: &str) -> Vec<i32> {
    let names = ["forwarding", "send_redirects", "rp_filter", "accept_local", "arp_ignore", "arp_announce"];
    let path = |name: &&str| format!("/proc/sys/net/ipv4/conf/{link}/{name}");
    names.iter().map(|name| text(&vpc.node, &["cat", &path(name)]).trim().parse().unwrap()).collect()
}

fn routes(vpc: &Vpc, table: u32) -> Vec<String> {
    let listed = text(&vpc.node, &["ip", "route", "show", "table", &table.to_string()]);
    listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

async fn exactly() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let vpc = Vpc::new("b").await;
        let pod = vpc.pod("a", 11, hairpin).await;
        let link = vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);

        assert_eq!(links(&vpc.node), ["eth0", "hostnic_311", "vnica11"]);
        let nic = &ip(&vpc.node, &["address", "show", "hostnic_311"])[0];
        assert_eq!(nic["ifalias"], format!("hostnic:{} nic mtu 1500", pod.plan.mark));
        let addresses: Vec<&Value> =
            nic["addr_info"].as_array().unwrap().iter().filter(|a| a["family"] == "inet").collect();
        assert_eq!(addresses.len(), 1, "{nic:#}");
        let address = addresses[0];
        assert_eq!((&address["local"], &address["prefixlen"]), (&json!("10.1.0.11"), &json!(32)));
        assert_eq!((&address["scope"], &address["noprefixroute"]), (&json!("link"), &json!(true)));
        let local = routes(&vpc, 255);
        assert!(!local.iter().any(|route| route.contains("10.1.0.11")), "{local:?}");
        let accepts = i32::from(hairpin == Hairpin::On);
        assert_eq!(settings(&vpc, "hostnic_311"), [1, 0, 0, accepts, 1, 2]);
        let delay = "/proc/sys/net/ipv4/neigh/hostnic_311/proxy_delay";
        assert_eq!(text(&vpc.node, &["cat", delay]).trim(), "0");
        let table = [
            "default via 10.1.0.1 dev hostnic_311 proto 104 onlink",
            "10.1.0.0/24 dev hostnic_311 proto 104 scope link",
        ];
        assert_eq!(routes(&vpc, 311), table);
        let proxies = ip(&vpc.node, &["neigh", "show", "proxy"]);
        assert_eq!(proxies[0]["dst"], "10.1.0.11");
        assert_eq!((&proxies[0]["dev"], proxies.as_array().unwrap().len()), (&json!("hostnic_311"), 1));

        let veth = &ip(&vpc.node, &["link", "show", "vnica11"])[0];
        assert_eq!(veth["ifalias"], format!("hostnic:{} host", pod.plan.mark));
        let rp_filter = settings(&vpc, "vnica11")[2];
        assert_eq!(rp_filter, 1);
        assert_eq!(
            routes(&vpc, PODS),
            [format!("10.1.0.11 dev vnica11 proto 104 scope link src {}", vpc.address)]
        );
        let known = ip(&vpc.node, &["neigh", "show", "dev", "vnica11", "nud", "permanent"]);
        assert_eq!(
            (&known[0]["dst"], &known[0]["lladdr"]),
            (&json!("10.1.0.11"), &json!(link.mac.to_string()))
        );
        let expected = match hairpin {
            Hairpin::Off => {
                vec![
                    "1535: from all iif hostnic_311 blackhole".to_owned(),
                    "1536: from 10.1.0.11 lookup 311".to_owned(),
                ]
            }
            Hairpin::On => vec![
                format!("1529: from all to 10.1.0.11 iif hostnic_311 lookup {PODS} suppress_prefixlength 31"),
                "1535: from all iif hostnic_311 blackhole".to_owned(),
                "1536: from 10.1.0.11 iif vnica11 lookup 311".to_owned(),
            ],
        };
        assert_eq!(rules(&vpc), expected);

        let netns = pod.netns.path();
        let eth0 = &ip(netns, &["-4", "address", "show", "eth0"])[0];
        assert_eq!((&eth0["address"], &eth0["mtu"]), (&json!(link.mac.to_string()), &json!(link.mtu)));
        assert_eq!(eth0["ifalias"], format!("hostnic:{} pod", pod.plan.mark));
        let address = &eth0["addr_info"][0];
        assert_eq!((&address["local"], &address["prefixlen"]), (&json!("10.1.0.11"), &json!(32)));
        let inside = text(netns, &["ip", "route"]);
        let inside: Vec<&str> = inside.lines().map(str::trim).collect();
        assert_eq!(
            inside,
            ["default via 169.254.1.1 dev eth0 proto 104", "169.254.1.1 dev eth0 proto 104 scope link"]
        );
        let known = ip(netns, &["neigh", "show", "nud", "permanent"]);
        assert_eq!((&known[0]["dst"], &known[0]["lladdr"]), (&json!("169.254.1.1"), &veth["address"]));
        // Given when the link was made: so nobody thinks that it wants another one.
        for (place, link) in [(vpc.node.as_path(), "vnica11"), (netns, "eth0")] {
            let given = run_in_sysfs(place, link);
            assert_eq!(given, "3", "addr_assign_type of {link}");
        }
    }
}

/// How the link came by its MAC address: 3 is "given".
fn run_in_sysfs(netns: &std::path::Path, link: &str) -> String {
    let read = format!("mount -t sysfs sysfs /sys && cat /sys/class/net/{link}/addr_assign_type");
    text(netns, &["unshare", "-m", "sh", "-c", &read]).trim().to_owned()
}

async fn node() {
    let vpc = Vpc::new("b").await;
    sh(
        &vpc.node,
        "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.all.send_redirects=1",
    );
    let before = vpc.whole();
    for hairpin in [Hairpin::Off, Hairpin::On, Hairpin::Off] {
        let plan = vpc.node_plan(hairpin);
        assert_ne!(vpc.programmer.check_node(&plan).await.unwrap(), []);
        vpc.programmer.setup_node(&plan).await.unwrap();
        assert_eq!(vpc.programmer.check_node(&plan).await.unwrap(), []);
        let suppressed = format!("lookup {PODS} suppress_prefixlength 31");
        let served = "from all fwmark 0x20000/0x20000 lookup";
        let mut expected = vec![format!("1519: {served} 10000001 suppress_prefixlength 31")];
        expected.extend(match hairpin {
            Hairpin::Off => vec![format!("1523: from all {suppressed}")],
            Hairpin::On => vec![
                format!("1520: {served} {PODS} suppress_prefixlength 31"),
                format!("1521: from all iif lo {suppressed}"),
                format!("1522: from all fwmark 0x10000/0x10000 {suppressed}"),
            ],
        });
        expected.push(format!("1526: {served} main"));
        expected.push("1533: from all fwmark 0x10000/0x10000 lookup main".to_owned());
        expected.push("1534: from all iif lo lookup main".to_owned());
        assert_eq!(rules(&vpc), expected);
        for (name, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/all/send_redirects", "0")]
        {
            assert_eq!(
                text(&vpc.node, &["cat", &format!("/proc/sys/net/ipv4/{name}")]).trim(),
                value,
                "{name}"
            );
        }
        let tables = text(&vpc.node, &["nft", "--stateless", "list", "ruleset"]);
        for line in [
            "type filter hook prerouting priority mangle; policy accept;",
            "ct original ip daddr 10.2.0.10 counter meta mark set meta mark | 0x00010000",
            "type route hook output priority mangle; policy accept;",
            "ct original ip daddr 10.96.0.0/16 counter meta mark set meta mark | 0x00010000",
            "iifgroup 6844019 ct original ip daddr 10.96.0.0/16 counter ct mark set ct mark | 0x00020000",
            "iifgroup 6844019 ct mark & 0x00020000 == 0x00000000 counter drop",
            "ct mark & 0x00020000 == 0x00020000 counter meta mark set meta mark | 0x00020000",
            "type nat hook postrouting priority srcnat - 1; policy accept;",
            "oifgroup 6844019 ct status & dnat == dnat counter snat to 169.254.1.1",
            "ct mark & 0x00020000 == 0x00020000 ct original ip daddr 10.96.0.0/16 counter masquerade",
        ] {
            assert!(tables.contains(line), "{line:?} is not in {tables}");
        }
        for line in
            ["type ipv4_addr . ipv4_addr", "@nh,96,64 @pods counter meta mark set meta mark | 0x00010000"]
        {
            assert_eq!(tables.contains(line), hairpin == Hairpin::On, "{line:?} in {tables}");
        }
    }
    vpc.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
    assert_eq!(vpc.whole(), before);
    assert_eq!(vpc.programmer.check_node(&NodePlan::Passthrough).await.unwrap(), []);
}

async fn again() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let (vpc, pods) = Vpc::with_pods("b", hairpin, &[11, 12]).await;
        let (node, pod) = (vpc.whole(), inside(&pods[0]));
        let veth = || ip(&vpc.node, &["link", "show", "vnica11"])[0]["ifindex"].clone();
        let made = veth();
        vpc.programmer.setup_node(&vpc.node_plan(hairpin)).await.unwrap();
        for pod in &pods {
            vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        }
        assert_eq!(vpc.whole(), node);
        assert_eq!(inside(&pods[0]), pod);
        assert_eq!(veth(), made, "the veth was made anew");
    }
}

async fn mtu_and_routes() {
    let vpc = Vpc::new("b").await;
    for (number, own, planned, expected) in [(11, 1500, Some(1400), 1400), (12, 1450, None, 1450)] {
        let mut pod = vpc.pod("a", number, Hairpin::Off).await;
        pod.plan.mtu = planned;
        pod.plan.routes = vec![Route {
            destination: "10.10.0.0/16".parse().unwrap(),
            next_hop: Some("10.1.0.9".parse().unwrap()),
        }];
        let nic = format!(
            "ip link set $(ip -o link | grep 52:54:00:00:01:{number:02x} | cut -d: -f2 | cut -d@ -f1)"
        );
        sh(&vpc.node, &format!("{nic} mtu {own}"));
        let link = vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
        let mtu = |netns, link: &str| ip(netns, &["link", "show", link])[0]["mtu"].clone();
        let table = super::world::table("a", number);
        assert_eq!(link.mtu, expected);
        assert_eq!(mtu(&vpc.node, &format!("vnica{number}")), expected);
        assert_eq!(mtu(pod.netns.path(), "eth0"), expected);
        assert_eq!(mtu(&vpc.node, &format!("hostnic_{table}")), own);
        let route = format!("10.10.0.0/16 via 10.1.0.9 dev hostnic_{table} proto 104 onlink");
        assert!(routes(&vpc, table).contains(&route), "{:?}", routes(&vpc, table));
    }
}

async fn announced() {
    let vpc = Vpc::new("b").await;
    vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
    let pod = vpc.pod("a", 11, Hairpin::Off).await;
    let (host, _) = vpc.host("a", 20).await;
    // The address was somebody else's until now.
    sh(&host, "ip neigh replace 10.1.0.11 lladdr 02:00:00:00:00:01 dev eth0 nud reachable");
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    let before = (vpc.whole(), inside(&pod));
    let known = || ip(&host, &["neigh", "show", "10.1.0.11", "dev", "eth0"])[0]["lladdr"].clone();
    let end = Instant::now() + Duration::from_secs(5);
    // The bridge of the subnet passes nothing on until it has seen that the NIC is up.
    while known() != pod.plan.mac.to_string() {
        assert!(Instant::now() < end, "the host was not told within 5 s: {}", known());
        vpc.programmer.announce_pod(&pod.plan).await.unwrap();
    }
    assert_eq!((vpc.whole(), inside(&pod)), before);
    vpc.nothing_policed().await;
}

async fn taken_back() {
    let vpc = Vpc::new("b").await;
    let mut pod = vpc.pod("a", 11, Hairpin::On).await;
    // A link that was up once has another queue.
    sh(&vpc.node, "ip link set eth1 up; ip link set eth1 down");
    let before = (vpc.whole(), inside(&pod));
    pod.veth().source = "10.9.9.9".parse().unwrap();
    let error = vpc.programmer.setup_pod(&pod.plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    // The set for pods that reach themselves stays, empty: it is the node's.
    vpc.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
    sh(&vpc.node, "nft delete table ip hostnic-hairpin 2>/dev/null || true");
    assert_eq!((vpc.whole(), inside(&pod)), before);
}

async fn refused() {
    let vpc = Vpc::new("b").await;
    let pod = vpc.pod("a", 11, Hairpin::Off).await;
    let other = vpc.pod("a", 12, Hairpin::Off).await;
    sh(pod.netns.path(), "ip link add eth0 type bridge");
    let refused = async |plan: &_, words: &str| {
        let before = vpc.whole();
        let error = vpc.programmer.setup_pod(plan).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(vpc.whole(), before);
    };
    refused(&pod.plan, "eth0").await;
    sh(pod.netns.path(), "ip link del eth0");
    sh(&vpc.node, "ip link add vnica11 type bridge");
    refused(&pod.plan, "vnica11").await;
    sh(&vpc.node, "ip link set vnica11 name hostnic_311");
    refused(&pod.plan, "hostnic_311").await;
    sh(&vpc.node, "ip link del hostnic_311");
    // The NIC of another pod.
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    let stolen = hostnic_core::route::PodPlan { mac: pod.plan.mac, ..other.plan.clone() };
    refused(&stolen, "another pod").await;

    let mut same_table = vpc.pod("a", 13, Hairpin::Off).await;
    same_table.veth().table = hostnic_core::route::NicTable::new(PODS).unwrap();
    let error = vpc.programmer.setup_pod(&same_table.plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let ipv6 =
        hostnic_core::route::PodPlan { address: "2001:db8::9/64".parse().unwrap(), ..other.plan.clone() };
    let error = vpc.programmer.setup_pod(&ipv6).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

async fn superseded() {
    let (vpc, mut pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let older = pods.remove(0);
    let mut newer = vpc.pod("a", 12, Hairpin::Off).await;
    newer.veth().host_ifname = "vnica11".parse().unwrap();
    vpc.programmer.setup_pod(&newer.plan).await.unwrap();
    assert_eq!(vpc.programmer.check_pod(&newer.plan).await.unwrap(), []);
    vpc.programmer.teardown_pod(&older.plan).await.unwrap();
    assert_eq!(vpc.programmer.check_pod(&newer.plan).await.unwrap(), []);
    assert_eq!(links(&vpc.node), ["eth0", "eth1", "hostnic_312", "vnica11"]);
}

async fn many() {
    let vpc = Vpc::new("b").await;
    vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
    let of_node = rules(&vpc);
    let mut pods = Vec::new();
    for number in 11..41 {
        pods.push(vpc.pod("a", number, Hairpin::Off).await);
    }
    let up = pods.iter().map(async |pod| vpc.programmer.setup_pod(&pod.plan).await.map(drop));
    futures::future::join_all(up).await.into_iter().for_each(|done| done.unwrap());
    for pod in &pods {
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
    }
    assert_eq!(vpc.programmer.observe().await.unwrap().veths.len(), pods.len());
    let down = pods.iter().map(async |pod| vpc.programmer.teardown_pod(&pod.plan).await);
    futures::future::join_all(down).await.into_iter().for_each(|done| done.unwrap());
    let view = vpc.programmer.observe().await.unwrap();
    assert_eq!((view.host.len(), view.veths.len()), (pods.len() + 1, 0));
    assert_eq!(rules(&vpc), of_node);
}
