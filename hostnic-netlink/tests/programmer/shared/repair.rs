//! What is broken by hand is found by a check, and repaired.

use hostnic_core::RouteProgrammer;
use libtest_mimic::Trial;

use super::world::Vpc;
use crate::trial;
use crate::veth::world::{PODS, inside_of, sh};
use crate::world::eventually;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("whatever_is_done_to_a_shared_nic_is_found_and_repaired", of_nic),
        trial("whatever_is_done_to_a_pod_that_shares_a_nic_is_found_and_repaired", of_pod),
        trial("what_answers_for_no_pod_that_shares_the_nic_is_found_and_taken_away", strays),
        trial("what_is_left_of_a_shared_nic_that_was_unplugged_is_found_and_taken_away", unplugged),
    ]
}

async fn of_nic() {
    let (vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let plan = node.nic_plan("a");
    let before = (node.whole(), inside_of(pods[0].path()));
    let mut damages: Vec<String> = [
        "ip link set hostnic_a down",
        "ip link set hostnic_a down; ip link set hostnic_a up",
        "ip link set hostnic_a alias ''",
        "ip link set hostnic_a alias hostnic-shared:262",
        "ip link set hostnic_a down; ip link set hostnic_a name other; ip link set other up",
        "ip address del 10.1.0.250/32 dev hostnic_a",
        "ip address add 10.1.0.99/24 dev hostnic_a",
        "ip route add local 10.1.0.250 dev hostnic_a table local proto kernel scope host",
        "ip ntable change name arp_cache dev hostnic_a proxy_delay 800",
        "ip route flush table 261",
        "ip route del default table 261",
        "ip route replace default via 10.1.0.77 dev hostnic_a onlink table 261 proto 104",
        "ip route add 10.5.0.0/16 dev hostnic_a table 261 proto 104",
        "ip rule del pref 1535 iif hostnic_a",
        "ip rule del pref 1537 from 10.1.0.0/24",
        "ip rule add pref 1537 from 10.1.0.0/24 lookup 312 proto 104",
        "ip rule add pref 1537 from 10.9.0.0/24 lookup 261 proto 104",
        "ip neigh del proxy 10.1.0.101 dev hostnic_a",
        "ip neigh add proxy 10.1.0.120 dev hostnic_a proto 104",
    ]
    .map(str::to_owned)
    .into();
    for (setting, value) in [
        ("forwarding", 0),
        ("send_redirects", 1),
        ("rp_filter", 1),
        ("accept_local", 1),
        ("arp_ignore", 0),
        ("arp_announce", 0),
    ] {
        damages.push(format!("sysctl -qw net.ipv4.conf.hostnic_a.{setting}={value}"));
    }
    for damage in damages {
        sh(&node.path, &damage);
        assert_ne!(node.programmer.check_shared_nic(&plan).await.unwrap(), [], "{damage}");
        node.programmer.setup_shared_nic(&plan).await.unwrap();
        assert_eq!(node.programmer.check_shared_nic(&plan).await.unwrap(), [], "{damage}");
        assert_eq!((node.whole(), inside_of(pods[0].path())), before, "{damage}");
    }
    node.is_sound(&[&pods[0], &pods[1]]).await;
    vpc.nothing_policed().await;
}

async fn of_pod() {
    let (_vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let pod = &pods[0];
    let before = (node.whole(), inside_of(pod.path()));
    let mut damages: Vec<(_, String)> = [
        "ip neigh del proxy 10.1.0.101 dev hostnic_a",
        "ip neigh del 10.1.0.101 dev vnica101",
        "ip link set vnica101 alias ''",
        "ip link set vnica101 down; ip link set vnica101 name other; ip link set other up",
        "ip link set vnica101 address 02:00:00:00:00:01",
        "ip link set vnica101 mtu 1400",
        "ip link set vnica101 down",
        "ip link set vnica101 group 6844024",
        "ip link del vnica101",
        "sysctl -qw net.ipv4.conf.vnica101.rp_filter=0",
        "sysctl -qw net.ipv4.conf.vnica101.src_valid_mark=0",
        "ip route add 10.1.0.101 dev vnica101 table 1043 proto 104 scope link",
    ]
    .map(|damage| (&node.path, damage.to_owned()))
    .into();
    damages.push((&node.path, format!("ip route del 10.1.0.101 table {PODS}")));
    let wrong = AsAlias(&pod.plan.mark.alias()).at("10.1.0.109");
    damages.push((&node.path, format!("ip link set vnica101 alias '{wrong}'")));
    let inside = pod.path().to_path_buf();
    for damage in [
        "ip link set lo down",
        "ip link set eth0 alias ''",
        "ip address del 10.1.0.101/32 dev eth0",
        "ip link set eth0 down",
        "ip route flush dev eth0",
        "ip neigh del 169.254.1.1 dev eth0",
        "ip link del eth0",
    ] {
        damages.push((&inside, damage.to_owned()));
    }
    for (place, damage) in damages {
        sh(place, &damage);
        assert_ne!(node.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        node.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(node.programmer.check_pod(&pod.plan).await.unwrap(), [], "{damage}");
        assert_eq!((node.whole(), inside_of(pod.path())), before, "{damage}");
    }
    node.is_sound(&[&pods[0], &pods[1]]).await;
}

/// What is written on the node's end of a veth.
struct AsAlias<'a>(&'a str);

impl AsAlias<'_> {
    fn at(&self, address: &str) -> String {
        format!("{} shared-host address {address}", self.0)
    }
}

async fn strays() {
    let (_vpc, node, mut pods) = Vpc::with_pods(&[101, 102]).await;
    sh(&node.path, "ip neigh add proxy 10.1.0.120 dev hostnic_a");
    let gone = pods.remove(0);
    gone.netns.remove().unwrap();
    eventually("the veth ends with its pod", || {
        !crate::world::links(&node.path).contains(&"vnica101".to_owned())
    })
    .await;
    let view = node.programmer.observe().await.unwrap();
    assert_eq!((view.shared_pods.len(), &view.veths, &view.pods), (1, &Vec::new(), &Vec::new()));
    assert_eq!(view.shared_nics[0].answers_for, [gone.plan.address.addr(), pods[0].address()]);
    let plan = node.nic_plan("a");
    let drift = node.programmer.check_shared_nic(&plan).await.unwrap();
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert_eq!(drift[0].to_string(), "answer to ARP for 10.1.0.101 by NIC hostnic_a: the pod is gone");
    node.programmer.setup_shared_nic(&plan).await.unwrap();
    assert_eq!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
    let view = node.programmer.observe().await.unwrap();
    assert_eq!(view.shared_nics[0].answers_for, [pods[0].address()]);
    let proxies = crate::world::ip(&node.path, &["neigh", "show", "proxy"]);
    assert_eq!(proxies.as_array().unwrap().len(), 2, "somebody else's stays: {proxies}");
    node.is_sound(&[&pods[0]]).await;
}

async fn unplugged() {
    let (vpc, node, pods) = Vpc::with_pods(&[101]).await;
    vpc.detach(&node, "a").await;
    let view = node.programmer.observe().await.unwrap();
    assert_eq!(view.shared_nics, []);
    assert_eq!((view.shared_pods.len(), view.shared_pods[0].nic), (1, None));
    assert_ne!(node.programmer.check_shared_nic(&node.nic_plan("a")).await.unwrap(), []);
    assert_ne!(node.programmer.check_pod(&pods[0].plan).await.unwrap(), []);
    assert_eq!(node.programmer.check_node(&node.plan()).await.unwrap().len(), 2);
    node.programmer.setup_node(&node.plan()).await.unwrap();
    assert_eq!(node.programmer.check_node(&node.plan()).await.unwrap(), []);
    node.programmer.teardown_pod(&pods[0].plan).await.unwrap();
    node.programmer.teardown_shared_nic(node.mac("a")).await.unwrap();
    assert_eq!(node.programmer.observe().await.unwrap().shared_pods, []);
}
