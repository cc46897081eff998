//! Passthrough pods that reach services by a gateway of a node that has pods behind veths, too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hostnic_core::RouteProgrammer;
use hostnic_core::cloud::Nic;
use hostnic_core::gateway::GatewayNumber;
use hostnic_core::route::{GatewayPlan, Hairpin, Masquerade, OwnGateway, PodDatapath, Route};
use hostnic_core::sim::Plug;
use hostnic_netlink::fabric::Fabric;
use libtest_mimic::Trial;

use crate::trial;
use crate::veth::world::{PORT, Pod, SERVICES, Vpc, instance, nic, service, sh, talk, talk_from};

pub(crate) const SERVICE: &str = "10.96.0.1:80";
/// The number of the gateway's NIC; its address ends with it.
const GATEWAY: u8 = 60;
/// Stands for any sender, where the cloud lets a NIC forward.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (hairpin, mode) in [(Hairpin::Off, "without"), (Hairpin::On, "with")] {
        let name = |what| format!("{what}_beside_veth_pods_{mode}_hairpin");
        let ours = move || reached("b", hairpin);
        trials.push(trial(&name("a_pod_reaches_services_by_a_gateway"), ours));
        let operators = move || reached("a", hairpin);
        trials.push(trial(&name("a_pod_reaches_services_by_the_operators_nic"), operators));
        let itself = move || itself(hairpin);
        trials.push(trial(&name("a_gateway_answers_from_its_own_address"), itself));
    }
    trials
}

/// Plugs the gateway's NIC into the node of that number. The cloud lets it forward.
pub(crate) async fn plug(fabric: &Fabric, node: u8) -> GatewayPlan {
    let gateway = nic("a", GATEWAY);
    let sources = [gateway.addresses[0], ANY];
    fabric.plug(&instance(node), &gateway, &sources).await.unwrap();
    let own = OwnGateway {
        number: GatewayNumber(0),
        ifname: "hostnic0".parse().unwrap(),
        table: 200,
        router: "10.1.0.1".parse().unwrap(),
    };
    plan(&gateway, Some(own))
}

/// The node's only NIC is the gateway, where it is in the pods' subnet.
async fn operators(vpc: &Vpc) -> GatewayPlan {
    let gateway = nic("a", 10);
    vpc.fabric.set_sources(&gateway.id, &[gateway.addresses[0], ANY]).await.unwrap();
    plan(&gateway, None)
}

fn plan(gateway: &Nic, own: Option<OwnGateway>) -> GatewayPlan {
    let address = ipnet::IpNet::new(gateway.addresses[0], 24).unwrap();
    GatewayPlan { mac: gateway.mac, address, masquerade: Masquerade::Services, own }
}

/// The route of pods that reach services by the gateway at that address.
pub(crate) fn to_services(gateway: IpAddr) -> Route {
    Route { destination: SERVICES.parse().unwrap(), next_hop: Some(gateway) }
}

/// A passthrough pod with such a route, set up.
async fn asking(vpc: &Vpc, gateway: IpAddr) -> Pod {
    let mut pod = vpc.pod("a", 51, Hairpin::Off).await;
    pod.plan.datapath = PodDatapath::Passthrough;
    pod.plan.routes = vec![to_services(gateway)];
    vpc.programmer.setup_pod(&pod.plan).await.unwrap();
    pod
}

/// A node whose own NIC is in that subnet, with a gateway in subnet `a`, a veth pod, and a pod that uses the gateway.
pub(crate) async fn world(primary: &str, hairpin: Hairpin) -> (Vpc, GatewayPlan, Pod, Pod) {
    let (vpc, mut pods) = Vpc::with_pods(primary, hairpin, &[11]).await;
    let gateway = if primary == "a" { operators(&vpc).await } else { plug(&vpc.fabric, 10).await };
    vpc.programmer.setup_gateways(std::slice::from_ref(&gateway)).await.unwrap();
    let pod = asking(&vpc, gateway.address.addr()).await;
    (vpc, gateway, pods.remove(0), pod)
}

/// Back ends in each place, one after the other.
async fn reached(primary: &str, hairpin: Hairpin) {
    let (vpc, _, veth, pod) = world(primary, hairpin).await;
    let mut other = vpc.pod("b", 13, hairpin).await;
    other.plan.datapath = PodDatapath::Passthrough;
    vpc.programmer.setup_pod(&other.plan).await.unwrap();
    let (near, far) = (vpc.host("a", 20).await, vpc.host("b", 21).await);
    for (what, place, address) in [
        ("a pod behind a veth", veth.netns.path(), veth.address()),
        ("another passthrough pod", other.netns.path(), other.address()),
        ("the node itself", &vpc.node, vpc.address),
        ("another machine in the pod's subnet", &near.0, near.1),
        ("another machine in another subnet", &far.0, far.1),
        ("itself", pod.netns.path(), pod.address()),
    ] {
        service(&vpc.node, SERVICE, address);
        let seen = talk(pod.netns.path(), place, SERVICE.parse().unwrap()).await;
        // What answers the pod past the node is of no use to it.
        assert!(seen != pod.address() || what == "the node itself", "{what} sees {seen}");
        vpc.nothing_policed().await;
        sh(&vpc.node, "nft delete table ip kube");
    }
    // By a node's port, which has a mark of its own.
    if primary != "a" {
        sh(pod.netns.path(), &format!("ip route add {} via 10.1.0.{GATEWAY}", vpc.address));
    }
    service(&vpc.node, &format!("{}:30000", vpc.address), veth.address());
    talk(pod.netns.path(), veth.netns.path(), SocketAddr::new(vpc.address, 30000)).await;
    vpc.nothing_policed().await;
}

/// What the node itself sends from the gateway's address leaves by the gateway, and to its own pods by their veths.
async fn itself(hairpin: Hairpin) {
    let (vpc, _, veth, pod) = world("b", hairpin).await;
    let address = nic("a", GATEWAY).addresses[0];
    let (near, far) = (vpc.host("a", 20).await, vpc.host("b", 21).await);
    let places = [&near.0, &far.0, veth.netns.path(), pod.netns.path()];
    for asker in places {
        talk_from(asker, &vpc.node, SocketAddr::new(address, PORT)).await;
        vpc.nothing_policed().await;
    }
}
