//! Services for passthrough pods: their addresses, which nobody in the VPC knows, lead to the node, which rewrites them
//! and sends on in its own name.
//!
//! What rewrites them stands in for kube-proxy, and masquerades nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use hostnic_core::agent::AgentConfig;
use hostnic_core::cloud::{Nic, NicName};
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::Plug;
use hostnic_netlink::Netns;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::host::Host;
use crate::pod::Pod;
use crate::trial;
use crate::witness::{self, ip, run};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("connections_to_services_are_all_answered_whatever_the_back_end", every_back_end),
        trial("a_pod_in_the_subnet_of_the_nodes_own_nic_reaches_services_by_it", by_the_operators_nic),
        trial("pods_of_a_qingcni_configuration_reach_everything_by_their_node", everything_by_the_node),
        trial("a_gateway_outlives_its_daemon", restart),
    ]
}

/// How many connections are made to each service.
pub(crate) const CONNECTIONS: usize = 100;
/// How long one may take; each takes a small part of it.
const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const PORT: u16 = 8080;

/// Settings of a node with gateways whose pods are in this subnet.
fn config(world: &World, subnet: &str) -> AgentConfig {
    let mut config = AgentConfig { gateways: Some(GatewayConfig::new()), ..world.config() };
    config.pool.subnets = vec![subnet.parse().unwrap()];
    config
}

/// A NIC of the node's operator, which carries the node's default route.
struct Primary {
    nic: Nic,
    address: Ipv4Addr,
}

impl Primary {
    async fn plug(world: &World, host: &Host, subnet: &str) -> Self {
        let provider = world.cloud.provider(host.instance());
        let request = CreateNics {
            subnet: subnet.parse().unwrap(),
            count: 1,
            name: NicName { instance: host.instance().clone(), token: None },
            addresses: NicAddresses::Assigned(1),
        };
        let nic = provider.create_nics(&request).await.unwrap().remove(0);
        world.cloud.cloud().control().modify_nic(&nic.id, Some("primary"), None).unwrap();
        let _job = provider.attach_nics(std::slice::from_ref(&nic.id)).await.unwrap();
        let link = host.until_back(&nic.mac.to_string()).await;
        let link = link["ifname"].as_str().unwrap();
        let IpAddr::V4(address) = nic.addresses[0] else { panic!("{nic:?}") };
        let [a, b, c, _] = address.octets();
        for command in [
            format!("link set {link} name primary"),
            format!("address add {address}/24 dev primary"),
            "link set primary up".to_owned(),
            format!("route add default via {a}.{b}.{c}.1"),
        ] {
            ip(host.netns(), &command.split(' ').collect::<Vec<_>>());
        }
        Self { nic, address }
    }

    async fn unplug(self, world: &World, host: &Host) {
        let provider = world.cloud.provider(host.instance());
        let id = std::slice::from_ref(&self.nic.id);
        let _job = provider.detach_nics(id).await.unwrap();
        while witness::link_by_mac(host.netns(), &self.nic.mac.to_string()).is_some() {
            tokio::task::yield_now().await;
        }
        // The job ends a moment after the link has gone.
        while provider.delete_nics(id).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

/// Whoever connects is told the address that it came from.
pub(crate) struct Server(JoinHandle<()>);

impl Server {
    pub(crate) async fn start(netns: &Path) -> Self {
        let bind = || std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT));
        let listener = Netns::open(netns).unwrap().run(bind).await.unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        Self(tokio::spawn(async move {
            while let Ok((mut stream, peer)) = listener.accept().await {
                tokio::spawn(async move {
                    // Who hangs up has what it wanted.
                    let mut question = [0; 1];
                    let _ = stream.read_exact(&mut question).await;
                    let _ = stream.write_all(peer.ip().to_string().as_bytes()).await;
                });
            }
        }))
    }

    /// Ends it, so that nothing holds its namespace any more.
    pub(crate) async fn end(self) {
        self.0.abort();
        drop(self.0.await);
    }
}

/// Makes connections from a namespace, one after the other; answers who the servers took us for.
pub(crate) async fn connect(from: &Path, to: SocketAddr, times: usize) -> BTreeSet<String> {
    let talk = move || -> std::io::Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        for _ in 0..times {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"?")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            assert!(!answer.is_empty());
            seen.insert(answer);
        }
        Ok(seen)
    };
    let talked = Netns::open(from).unwrap().run(talk).await.unwrap();
    talked.unwrap_or_else(|error| panic!("{to}: {error}"))
}

pub(crate) fn service(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, number)
}

/// Lets a node send what comes for a service's address on to its back end, and no more.
pub(crate) fn serve(netns: &Path, services: &[(Ipv4Addr, Ipv4Addr)]) {
    run(netns, &["nft", "add table ip standin"]);
    let chain = "add chain ip standin services { type nat hook prerouting priority dstnat; }";
    run(netns, &["nft", chain]);
    for (service, back_end) in services {
        let rule =
            format!("add rule ip standin services ip daddr {service} tcp dport 80 dnat to {back_end}:{PORT}");
        run(netns, &["nft", &rule]);
    }
}

pub(crate) fn serve_no_more(netns: &Path) {
    run(netns, &["nft", "delete table ip standin"]);
}

/// Adds a pod with a route for services by its node; answers the pod, its address and that route's next hop.
async fn add(host: &Host, id: &str, extra: &[(&str, Value)]) -> (Pod, Ipv4Addr, Ipv4Addr) {
    let pod = host.pod(id).await;
    let result = call(host, "ADD", &pod, extra).succeeds().await;
    let address = pod.agrees_with(&result).address;
    let routes = result["routes"].as_array().unwrap();
    let route = routes.iter().find(|route| route["dst"] == "10.96.0.0/12").unwrap();
    let next_hop = route["gw"].as_str().unwrap().parse().unwrap();
    (pod, address, next_hop)
}

fn call(host: &Host, command: &str, pod: &Pod, extra: &[(&str, Value)]) -> crate::plugin::Call {
    let routes = json!({"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]});
    let call = host.call(command, pod).with("ipam", routes);
    extra.iter().fold(call, |call, (key, value)| call.with(key, value.clone()))
}

async fn every_back_end() {
    let mut world = World::new(2).await;
    let configs = [config(&world, "vxnet-a"), config(&world, "vxnet-b")];
    let [one, two]: [Host; 2] = world.hosts_with(|number| configs[number].clone()).await.try_into().unwrap();
    let primary = Primary::plug(&world, &one, "vxnet-b").await;
    // From then on it is known whose the NIC is.
    one.agent().compare_now().await.unwrap();

    let (pod, address, next_hop) = add(&one, "c1", &[]).await;
    let (neighbour, near, _) = add(&one, "c2", &[]).await;
    let far_pod = two.pod("c3").await;
    let far = far_pod.agrees_with(&two.call("ADD", &far_pod).succeeds().await).address;
    let services = [1, 2, 3, 4].map(service);
    let back_ends = [near, far, primary.address, address];
    serve(one.netns(), &services.into_iter().zip(back_ends).collect::<Vec<_>>());

    let mut servers = Vec::new();
    for netns in [pod.path(), neighbour.path(), far_pod.path(), one.netns()] {
        servers.push(Server::start(netns).await);
    }
    // In the same subnet, in another one by the router, on the node itself, and the pod's own.
    let known_as = [next_hop, primary.address, address, next_hop];
    for (service, known_as) in services.into_iter().zip(known_as) {
        let seen = connect(pod.path(), (service, 80).into(), CONNECTIONS).await;
        assert_eq!(seen, BTreeSet::from([known_as.to_string()]), "{service}");
    }
    // The node's own way to the pods' subnet is not by the gateway.
    let seen = connect(one.netns(), (near, PORT).into(), CONNECTIONS).await;
    assert_eq!(seen, BTreeSet::from([primary.address.to_string()]));

    for server in servers {
        server.end().await;
    }
    serve_no_more(one.netns());
    for pod in [&pod, &neighbour] {
        call(&one, "DEL", pod, &[]).succeeds().await;
    }
    two.call("DEL", &far_pod).succeeds().await;
    primary.unplug(&world, &one).await;
    world.end([one, two]).await;
}

async fn by_the_operators_nic() {
    let mut world = World::new(1).await;
    let config = config(&world, "vxnet-a");
    let host = world.only_host(&config).await;
    let primary = Primary::plug(&world, &host, "vxnet-a").await;
    host.agent().compare_now().await.unwrap();
    let before = witness::everything(host.netns());

    let (pod, _, next_hop) = add(&host, "c1", &[]).await;
    assert_eq!(next_hop, primary.address);
    assert!(host.agent().nics().iter().all(|nic| !nic.role.is_gateway()));
    let (neighbour, near, _) = add(&host, "c2", &[]).await;
    // The operator's NIC is the operator's to speak for, in the cloud as well.
    let forwarding = world.cloud.forwarding(host.instance());
    forwarding.allow_forwarding(std::slice::from_ref(&primary.nic.id)).await.unwrap();
    // The cloud does that a moment after its answer; the first connection is not to be sooner.
    let any = [primary.address, Ipv4Addr::UNSPECIFIED].map(IpAddr::from);
    world.cloud.fabric().set_sources(&primary.nic.id, &any).await.unwrap();
    serve(host.netns(), &[(service(1), near)]);
    let server = Server::start(neighbour.path()).await;
    let seen = connect(pod.path(), (service(1), 80).into(), CONNECTIONS).await;
    assert_eq!(seen, BTreeSet::from([primary.address.to_string()]));
    server.end().await;
    serve_no_more(host.netns());
    for pod in [&pod, &neighbour] {
        call(&host, "DEL", pod, &[]).succeeds().await;
    }
    // What is left of it is in our own table, which was there before the first pod.
    host.until_at_rest().await;
    let of_primary = |things: BTreeSet<String>| -> BTreeSet<String> {
        things.into_iter().filter(|thing| thing.contains("primary")).collect()
    };
    assert_eq!(of_primary(witness::everything(host.netns())), of_primary(before));
    primary.unplug(&world, &host).await;
    host.agent().compare_now().await.unwrap();
    world.end([host]).await;
}

async fn everything_by_the_node() {
    let mut world = World::new(2).await;
    let configs = [config(&world, "vxnet-a"), config(&world, "vxnet-b")];
    let [one, two]: [Host; 2] = world.hosts_with(|number| configs[number].clone()).await.try_into().unwrap();
    let primary = Primary::plug(&world, &one, "vxnet-b").await;
    one.agent().compare_now().await.unwrap();

    let qingcni = [("type", json!("qingcni")), ("isGateway", json!(true)), ("ipMasq", json!(true))];
    let (pod, address, next_hop) = add(&one, "c1", &qingcni).await;
    assert!(witness::routes(pod.path()).contains(&format!("default via {next_hop}")));
    assert_ne!(next_hop, crate::lifecycle::gateway(address));
    let far_pod = two.pod("c2").await;
    let far = far_pod.agrees_with(&two.call("ADD", &far_pod).succeeds().await).address;
    let server = Server::start(far_pod.path()).await;
    let seen = connect(pod.path(), (far, PORT).into(), CONNECTIONS).await;
    assert_eq!(seen, BTreeSet::from([primary.address.to_string()]));
    server.end().await;
    let result = call(&one, "ADD", &pod, &qingcni).succeeds().await;
    call(&one, "CHECK", &pod, &qingcni).with("prevResult", result).succeeds().await;
    call(&one, "DEL", &pod, &qingcni).succeeds().await;
    two.call("DEL", &far_pod).succeeds().await;
    primary.unplug(&world, &one).await;
    world.end([one, two]).await;
}

async fn restart() {
    let mut world = World::new(1).await;
    let config = config(&world, "vxnet-a");
    let mut host = world.only_host(&config).await;
    let (pod, _, next_hop) = add(&host, "c1", &[]).await;
    host.until_at_rest().await;
    let before = witness::everything(host.netns());
    for lost in [false, true] {
        host.stop().await;
        if lost {
            std::fs::remove_file(host.store()).unwrap();
        }
        host.start(&world.cloud).await;
        let (another, _, again) = add(&host, "c2", &[]).await;
        assert_eq!(again, next_hop, "the store was lost: {lost}");
        call(&host, "DEL", &another, &[]).succeeds().await;
        host.until_at_rest().await;
        let gateway_of = |things: &BTreeSet<String>| -> BTreeSet<String> {
            things
                .iter()
                .filter(|thing| !thing.contains("\"eth") || thing.contains("hostnic"))
                .cloned()
                .collect()
        };
        let now = witness::everything(host.netns());
        witness::assert_same(&gateway_of(&before), &gateway_of(&now), "the gateway");
    }
    call(&host, "DEL", &pod, &[]).succeeds().await;
    world.end([host]).await;
}
