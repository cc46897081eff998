//! What is broken by hand is found by a check, and repaired.

use hostnic_core::RouteProgrammer;
use hostnic_core::route::Hairpin;
use libtest_mimic::Trial;

use super::world::{PODS, Vpc, inside, sh};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("whatever_is_done_to_a_veth_pod_in_the_node_is_found_and_repaired", || in_node(Hairpin::Off)),
        trial("whatever_is_done_to_a_veth_pod_with_hairpin_is_found_and_repaired", || in_node(Hairpin::On)),
        trial("whatever_is_done_in_a_veth_pod_is_found_and_repaired", in_pod),
        trial("whatever_is_done_to_a_node_of_veth_pods_is_found_and_repaired", of_node),
        trial("what_belongs_to_no_veth_pod_is_found_and_taken_away", strays),
    ]
}

async fn in_node(hairpin: Hairpin) {
    let (vpc, pods) = Vpc::with_pods("b", hairpin, &[11, 12]).await;
    let pod = &pods[0];
    let before = (vpc.whole(), inside(pod));
    let mut damages: Vec<String> = [
        "ip link set hostnic_311 down",
        "ip link set hostnic_311 down; ip link set hostnic_311 up",
        "ip link set hostnic_311 alias ''",
        "ip link set hostnic_311 down; ip link set hostnic_311 name other; ip link set other up",
        "ip link set hostnic_311 mtu 1400",
        "ip address del 10.1.0.11/32 dev hostnic_311",
        "ip address add 10.1.0.11/24 dev hostnic_311",
        "ip route add local 10.1.0.11 dev hostnic_311 table local proto kernel scope host",
        "ip ntable change name arp_cache dev hostnic_311 proxy_delay 800",
        "ip route flush table 311",
        "ip route del default table 311",
        "ip route replace default via 10.1.0.77 dev hostnic_311 onlink table 311 proto 104",
        "ip route add 10.5.0.0/16 dev hostnic_311 table 311 proto 104",
        "ip rule del pref 1535 iif hostnic_311",
        "ip rule del pref 1536 from 10.1.0.11",
        "ip rule add pref 1536 from 10.1.0.11 lookup 312 proto 104",
        "ip neigh del proxy 10.1.0.11 dev hostnic_311",
        "ip neigh del 10.1.0.11 dev vnica11",
        "ip neigh replace 10.1.0.11 lladdr 02:00:00:00:00:01 dev vnica11",
        "ip link set vnica11 alias ''",
        "ip link set vnica11 down; ip link set vnica11 name other; ip link set other up",
        "ip link set vnica11 address 02:00:00:00:00:01",
        "ip link set vnica11 mtu 1400",
        "ip link set vnica11 down",
        "ip link set vnica11 group 6844024",
        "ip link del vnica11",
    ]
    .map(str::to_owned)
    .into();
    damages.push(format!("ip route del 10.1.0.11 table {PODS}"));
    damages.push(format!("ip route replace 10.1.0.11 dev vnica11 table {PODS} proto 104 scope link"));
    damages.push("ip route add 10.1.0.11 dev vnica11 table 1043 proto 104 scope link".to_owned());
    for (link, setting, value) in [
        ("hostnic_311", "forwarding", 0),
        ("hostnic_311", "send_redirects", 1),
        ("hostnic_311", "rp_filter", 1),
        ("hostnic_311", "arp_ignore", 0),
        ("hostnic_311", "arp_announce", 0),
        ("vnica11", "rp_filter", 0),
        ("vnica11", "forwarding", 0),
        ("vnica11", "src_valid_mark", 0),
    ] {
        damages.push(format!("sysctl -qw net.ipv4.conf.{link}.{setting}={value}"));
    }
    match hairpin {
        Hairpin::Off => damages.push("sysctl -qw net.ipv4.conf.hostnic_311.accept_local=1".to_owned()),
        Hairpin::On => damages.extend(
            [
                "sysctl -qw net.ipv4.conf.hostnic_311.accept_local=0",
                "ip rule del pref 1529 iif hostnic_311",
                "nft delete element ip hostnic-hairpin pods '{ 10.1.0.11 . 10.1.0.11 }'",
            ]
            .map(str::to_owned),
        ),
    }
    for damage in damages {
        sh(&vpc.node, &damage);
        assert_ne!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        assert_eq!((vpc.whole(), inside(pod)), before, "{damage}");
    }
    assert_eq!(vpc.programmer.check_pod(&pods[1].plan).await.unwrap(), []);
}

async fn in_pod() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let pod = &pods[0];
    let before = (vpc.whole(), inside(pod));
    for damage in [
        "ip link set lo down",
        "ip link set eth0 alias ''",
        "ip link set eth0 down; ip link set eth0 name eth9; ip link set eth9 up",
        "ip link set eth0 address 02:00:00:00:00:01",
        "ip link set eth0 mtu 1400",
        "ip address del 10.1.0.11/32 dev eth0",
        "ip link set eth0 down",
        "ip route del default",
        "ip route flush dev eth0",
        "ip neigh del 169.254.1.1 dev eth0",
        "ip link del eth0",
    ] {
        sh(pod.netns.path(), damage);
        assert_ne!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        assert_eq!((vpc.whole(), inside(pod)), before, "{damage}");
    }
}

async fn of_node() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let (vpc, _pods) = Vpc::with_pods("b", hairpin, &[11]).await;
        let plan = vpc.node_plan(hairpin);
        let before = vpc.whole();
        let mut damages = vec![
            "sysctl -qw net.ipv4.conf.all.rp_filter=1",
            "sysctl -qw net.ipv4.conf.all.send_redirects=1",
            "ip rule del pref 1519",
            "ip rule del pref 1526",
            "ip rule del pref 1533",
            "ip rule del pref 1534",
            "ip rule add pref 1522 fwmark 0x20000/0x20000 lookup 9 proto 104",
            "nft delete table ip hostnic-node",
            "nft flush chain ip hostnic-node output",
            "nft add rule ip hostnic-node prerouting counter drop comment stray",
        ];
        match hairpin {
            Hairpin::Off => damages.extend([
                "ip rule del pref 1523",
                "nft add table ip hostnic-hairpin; nft add chain ip hostnic-hairpin prerouting; \
                 nft add rule ip hostnic-hairpin prerouting counter",
            ]),
            Hairpin::On => damages.extend([
                "ip rule del pref 1521",
                "ip rule del pref 1522",
                "nft flush chain ip hostnic-hairpin prerouting",
                "nft add element ip hostnic-hairpin pods '{ 10.1.0.99 . 10.1.0.99 }'",
            ]),
        }
        for damage in damages {
            sh(&vpc.node, damage);
            assert_ne!(vpc.programmer.check_node(&plan).await.unwrap(), [], "{damage}");
            vpc.programmer.setup_node(&plan).await.unwrap();
            assert_eq!(vpc.programmer.check_node(&plan).await.unwrap(), [], "{damage}");
            assert_eq!(vpc.whole(), before, "{damage}");
        }
        // Not forwarding changes the setting of every link, and so what pods have.
        sh(&vpc.node, "sysctl -qw net.ipv4.ip_forward=0");
        assert_ne!(vpc.programmer.check_node(&plan).await.unwrap(), []);
        vpc.programmer.setup_node(&plan).await.unwrap();
        assert_eq!(vpc.programmer.check_node(&plan).await.unwrap(), []);
    }
}

async fn strays() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::On, &[11, 12]).await;
    let plan = vpc.node_plan(Hairpin::On);
    sh(
        &vpc.node,
        "ip rule add pref 1535 iif hostnic_999 blackhole; ip rule add pref 1536 from 10.9.9.9 lookup 999",
    );
    let before = vpc.whole();
    for stray in [
        "ip rule add pref 1529 to 10.1.0.99 iif hostnic_399 lookup 1042 proto 104",
        "ip rule add pref 1535 iif hostnic_399 blackhole proto 104",
        "ip rule add pref 1536 from 10.1.0.99 lookup 399 proto 104",
    ] {
        sh(&vpc.node, stray);
        assert_ne!(vpc.programmer.check_node(&plan).await.unwrap(), [], "{stray}");
        vpc.programmer.setup_node(&plan).await.unwrap();
        assert_eq!(vpc.whole(), before, "{stray}");
    }
    for pod in &pods {
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
    }
}
