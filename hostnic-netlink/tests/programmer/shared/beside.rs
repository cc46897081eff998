//! Pods that share a NIC beside pods with NICs of their own, on one node and in one subnet.

use std::net::IpAddr;
use std::path::Path;

use hostnic_core::RouteProgrammer;
use hostnic_core::route::{PodDatapath, ServiceVeth};
use libtest_mimic::Trial;

use super::traffic::all_talk;
use super::world::{Pod, Vpc};
use crate::veth::world::{SERVICES, service, sh, talk};
use crate::world::links;
use crate::{by_gateway, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("pods_with_and_without_nics_of_their_own_in_one_subnet_reach_everybody", in_one_subnet),
        trial("pods_that_share_a_nic_and_passthrough_pods_serve_each_other", served),
        trial("a_back_end_that_shares_a_nic_is_reached_by_a_gateway", reached_by_gateway),
        trial("repairs_of_one_sort_of_pods_leave_the_other_alone", repaired),
    ]
}

/// Whatever is set up first, as rules of one place are asked in the order in which they came.
async fn in_one_subnet() {
    for own_first in [false, true] {
        let vpc = Vpc::new().await;
        let mut node = vpc.node(10, "a").await;
        let own = vpc.own_nic(&node, "a", 50).await;
        if own_first {
            node.programmer.setup_pod(&own.plan).await.unwrap();
        }
        vpc.share(&mut node, "a").await;
        let sharing = [node.started("a", 101).await, node.started("a", 102).await];
        if !own_first {
            node.programmer.setup_pod(&own.plan).await.unwrap();
        }
        let mut passthrough: Pod = vpc.own_nic(&node, "a", 51).await;
        passthrough.plan.datapath = PodDatapath::Passthrough;
        node.programmer.setup_pod(&passthrough.plan).await.unwrap();
        let (same, other) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
        let mut places: Vec<(String, &Path, IpAddr)> = vec![
            ("host in a".into(), &same.0, same.1),
            ("host in b".into(), &other.0, other.1),
            ("node".into(), &node.path, node.address),
        ];
        let pods = [&sharing[0], &sharing[1], &own, &passthrough];
        places.extend(pods.iter().map(|pod| (pod.address().to_string(), pod.path(), pod.address())));
        all_talk(&places).await;
        node.is_sound(&pods).await;
        vpc.nothing_policed().await;
    }
}

/// A passthrough pod reaches services by a veth beside its NIC; back ends see the node. One that shares a NIC reaches them
/// like all others.
async fn served() {
    let (vpc, node, sharing) = Vpc::with_pods(&[101]).await;
    let mut passthrough = vpc.own_nic(&node, "a", 51).await;
    passthrough.plan.datapath = PodDatapath::PassthroughWithServices(ServiceVeth {
        host_ifname: "vnica51".parse().unwrap(),
        services: vec![SERVICES.parse().unwrap()],
    });
    node.programmer.setup_pod(&passthrough.plan).await.unwrap();
    service(&node.path, "10.96.0.1:80", sharing[0].address());
    service(&node.path, "10.96.0.2:80", passthrough.address());
    let far = vpc.host("b", 31).await;
    service(&node.path, "10.96.0.3:80", far.1);
    let seen = talk(passthrough.path(), sharing[0].path(), "10.96.0.1:80".parse().unwrap()).await;
    assert_eq!(seen, node.address);
    let seen = talk(sharing[0].path(), passthrough.path(), "10.96.0.2:80".parse().unwrap()).await;
    assert_eq!(seen, sharing[0].address());
    let seen = talk(passthrough.path(), &far.0, "10.96.0.3:80".parse().unwrap()).await;
    assert_eq!(seen, node.address);
    node.is_sound(&[&sharing[0], &passthrough]).await;
    vpc.nothing_policed().await;
}

/// The answer of a back end on the gateway's own node goes back by the gateway, and not by the back end's NIC. A request to
/// another machine does not leave by the NIC that pods of its sender's subnet share.
async fn reached_by_gateway() {
    let (vpc, node, sharing) = Vpc::with_pods(&[101]).await;
    let own = vpc.own_nic(&node, "a", 52).await;
    node.programmer.setup_pod(&own.plan).await.unwrap();
    let gateway = by_gateway::plug(&vpc.fabric, 10).await;
    node.programmer.setup_gateways(std::slice::from_ref(&gateway)).await.unwrap();
    let mut passthrough = vpc.own_nic(&node, "a", 51).await;
    passthrough.plan.datapath = PodDatapath::Passthrough;
    passthrough.plan.routes = vec![by_gateway::to_services(gateway.address.addr())];
    node.programmer.setup_pod(&passthrough.plan).await.unwrap();
    let (near, far) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
    for (service_address, place, back_end) in [
        ("10.96.0.1:80", own.path(), own.address()),
        ("10.96.0.2:80", sharing[0].path(), sharing[0].address()),
        ("10.96.0.3:80", &node.path, node.address),
        ("10.96.0.4:80", &near.0, near.1),
        ("10.96.0.5:80", &far.0, far.1),
    ] {
        service(&node.path, service_address, back_end);
        talk(passthrough.path(), place, service_address.parse().unwrap()).await;
        vpc.nothing_policed().await;
    }
}

async fn repaired() {
    let (vpc, node, sharing) = Vpc::with_pods(&[101]).await;
    let own = vpc.own_nic(&node, "a", 50).await;
    node.programmer.setup_pod(&own.plan).await.unwrap();
    let before = node.whole();
    for damage in [
        "ip rule del pref 1537",
        "ip rule del pref 1536",
        "ip rule del pref 1535; ip rule del pref 1535",
        "ip neigh del proxy 10.1.0.101 dev hostnic_a; ip neigh del proxy 10.1.0.50 dev hostnic_350",
    ] {
        sh(&node.path, damage);
        node.programmer.setup_node(&node.plan()).await.unwrap();
        node.programmer.setup_shared_nic(&node.nic_plan("a")).await.unwrap();
        node.programmer.setup_pod(&own.plan).await.unwrap();
        node.is_sound(&[&sharing[0], &own]).await;
        assert_eq!(node.whole(), before, "{damage}");
    }
    node.programmer.teardown_pod(&own.plan).await.unwrap();
    node.is_sound(&[&sharing[0]]).await;
    node.programmer.setup_pod(&own.plan).await.unwrap();
    node.programmer.teardown_pod(&sharing[0].plan).await.unwrap();
    node.programmer.teardown_shared_nic(node.mac("a")).await.unwrap();
    assert_eq!(node.programmer.check_pod(&own.plan).await.unwrap(), []);
    assert_eq!(links(&node.path), ["eth0", "eth1", "hostnic_350", "vnica50"]);
    assert_eq!(node.programmer.check_node(&node.plan()).await.unwrap(), []);
}
