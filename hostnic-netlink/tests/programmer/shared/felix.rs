//! Calico's Felix on the same node, which enforces policies alone: what is ours is not its own to it, and what it does to pods' veths is
//! no damage. There is no Felix here; what it does was read in its sources (felix/routetable, felix/routerule and
//! felix/dataplane/linux/endpoint_mgr.go of Calico 3).

use std::path::Path;

use hostnic_core::RouteProgrammer;
use libtest_mimic::Trial;
use serde_json::Value;

use super::traffic::all_talk;
use super::world::{Node, Pod, Vpc};
use crate::trial;
use crate::veth::world::sh;
use crate::world::ip;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("felix_leaves_what_is_ours_and_harms_no_pod", beside_felix)]
}

/// What marks a route to a pod's veth as Felix's own, where it does not remove those of others: 3 (boot), its `DeviceRouteProtocol`
/// unless told, and 80, which later releases have beside it.
const ITS_PROTOCOLS: [&str; 3] = ["boot", "80", "3"];
/// The tables that are Felix's, and all rules that lead to them (`RouteTableRange`, unless told).
const ITS_TABLES: std::ops::RangeInclusive<u64> = 1..=250;

fn list(netns: &Path, arguments: &[&str]) -> Vec<Value> {
    ip(netns, arguments).as_array().unwrap().clone()
}

/// Routes that lead to pods' veths, of any table since `rt2Pod` may be the main one, and rules, that Felix would take for its own.
fn mistaken(node: &Node) -> Vec<Value> {
    let mut routes = list(&node.path, &["-4", "-N", "route", "show", "table", "all"]);
    routes.retain(|route| route["dev"].as_str().is_some_and(|link| link.starts_with("vnic")));
    assert!(!routes.is_empty());
    routes
        .retain(|route| route["protocol"].as_str().is_none_or(|protocol| ITS_PROTOCOLS.contains(&protocol)));
    let mut rules = list(&node.path, &["-4", "-N", "rule", "show"]);
    rules.retain(|rule| {
        let number = rule["table"].as_str().and_then(|table| table.parse::<u64>().ok());
        number.is_some_and(|number| ITS_TABLES.contains(&number))
    });
    [routes, rules].concat()
}

/// What Felix does for a pod of which it knows: a route of its own, and settings of the veth's end in the node.
fn programmed(node: &Node, pod: &Pod, veth: &str) {
    let settings = [
        ("conf", "rp_filter", 1),
        ("conf", "route_localnet", 1),
        ("conf", "proxy_arp", 1),
        ("conf", "forwarding", 1),
        ("neigh", "proxy_delay", 0),
    ];
    for (folder, name, value) in settings {
        sh(&node.path, &format!("sysctl -qw net.ipv4.{folder}.{veth}.{name}={value}"));
    }
    sh(&node.path, &format!("ip route add {}/32 dev {veth} scope link proto boot", pod.address()));
}

async fn beside_felix() {
    let (vpc, node, sharing) = Vpc::with_pods(&[101, 102]).await;
    let own = vpc.own_nic(&node, "a", 50).await;
    node.programmer.setup_pod(&own.plan).await.unwrap();
    assert_eq!(mistaken(&node), Vec::<Value>::new());
    let before = node.whole();
    let pods = [(&sharing[0], "vnica101"), (&sharing[1], "vnica102"), (&own, "vnica50")];
    for (pod, veth) in pods {
        programmed(&node, pod, veth);
    }
    node.is_sound(&[&sharing[0], &sharing[1], &own]).await;
    let (same, other) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
    let mut places = vec![
        ("host in a".to_owned(), &*same.0, same.1),
        ("host in b".to_owned(), &*other.0, other.1),
        ("node".to_owned(), &*node.path, node.address),
    ];
    places.extend(pods.map(|(pod, veth)| (veth.to_owned(), pod.path(), pod.address())));
    all_talk(&places).await;
    vpc.nothing_policed().await;
    // Felix ends a pod's route before its veth is gone, or does not get to it.
    sh(&node.path, &format!("ip route del {}/32 dev vnica101 proto boot", sharing[0].address()));
    sh(&node.path, "ip route flush proto boot dev vnica102; ip route flush proto boot dev vnica50");
    node.is_sound(&[&sharing[0], &sharing[1], &own]).await;
    all_talk(&places).await;
    for (pod, veth) in pods {
        assert_eq!(node.programmer.check_pod(&pod.plan).await.unwrap(), [], "{veth}");
    }
    assert_eq!(node.whole(), before);
}
