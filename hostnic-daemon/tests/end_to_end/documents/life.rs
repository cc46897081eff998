//! The lives of pods by a document's configuration, from ADD to DEL.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::Value;

use super::desk::Desk;
use crate::pod::Pod;
use crate::services::{PORT, Server, connect};
use crate::witness;

/// What takes the place of `kubernetes service cidr`.
pub(crate) const SERVICES: &str = "10.96.0.0/12";
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const CONNECTIONS: usize = 20;

/// A pod that was given its interface.
struct Living {
    pod: Pod,
    address: Ipv4Addr,
    routes: Vec<String>,
}

impl Living {
    /// Adds a pod and makes sure that its kernel has what the answer says.
    async fn add(desk: &Desk, name: &str) -> Self {
        let pod = desk.machine().pod(name).await;
        let result = desk.call("ADD", &pod).await.unwrap();
        let link = pod.link("eth0").unwrap();
        assert_eq!(link["address"], result["interfaces"][0]["mac"], "{result:#}");
        let address = result["ips"][0]["address"].as_str().unwrap();
        let has = link["addr_info"].as_array().unwrap().iter().find(|info| info["family"] == "inet").unwrap();
        assert_eq!(format!("{}/{}", has["local"].as_str().unwrap(), has["prefixlen"]), address);
        let macs = desk.api().macs().await;
        assert!(macs.contains(link["address"].as_str().unwrap()), "the cloud has that NIC: {macs:?}");
        let address = address.split('/').next().unwrap().parse().unwrap();
        let routes = witness::routes(pod.path());
        Self { pod, address, routes }
    }

    /// By whom a destination is reached.
    fn next_hop(&self, destination: &str) -> Ipv4Addr {
        let route = self.routes.iter().find(|route| route.starts_with(&format!("{destination} via ")));
        let route = route.unwrap_or_else(|| panic!("{destination} is missing: {:?}", self.routes));
        route.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// In words whose the address is.
fn whose(desk: &Desk, address: Ipv4Addr, pod: Ipv4Addr) -> String {
    if address == crate::lifecycle::gateway(pod) {
        return "by the VPC's router".to_owned();
    }
    let links = witness::ip(desk.machine().netns(), &["address", "show"]);
    let has = |link: &&Value| {
        link["addr_info"].as_array().unwrap().iter().any(|info| info["local"] == address.to_string())
    };
    let link = links.as_array().unwrap().iter().find(has).unwrap_or_else(|| panic!("whose is {address}?"));
    match link["ifname"].as_str().unwrap() {
        "eth0" => "by the host's own address".to_owned(),
        made => {
            assert!(made.starts_with("hostnic"), "{made}");
            "by a NIC that the host was given for it".to_owned()
        }
    }
}

/// Sends what comes for the service on to a pod, as kube-proxy does, and masquerades nothing.
fn serve(node: &Path, back_end: Ipv4Addr) {
    witness::run(node, &["nft", "add table ip standin"]);
    let chain = "add chain ip standin services { type nat hook prerouting priority dstnat; }";
    witness::run(node, &["nft", chain]);
    let rule =
        format!("add rule ip standin services ip daddr {SERVICE} tcp dport 80 dnat to {back_end}:{PORT}");
    witness::run(node, &["nft", &rule]);
}

/// Two pods by the first configuration of the desk: one calls the other, by its address and as a service, and both are
/// deleted. Answers what was seen, in words.
pub(crate) async fn of_two_pods(desk: &Desk) -> String {
    let [one, other] = [Living::add(desk, "one").await, Living::add(desk, "other").await];
    let other_vxnet = Ipv4Addr::new(192, 168, if one.address.octets()[2] == 3 { 4 } else { 3 }, 1);
    for target in [crate::lifecycle::gateway(one.address), other_vxnet, other.address] {
        one.pod.ping(target).await;
    }
    let service = whose(desk, one.next_hop(SERVICES), one.address);
    let default = whose(desk, one.next_hop("default"), one.address);
    let node = desk.machine().netns();
    serve(node, other.address);
    let server = Server::start(other.pod.path()).await;
    connect(one.pod.path(), (SERVICE, 80).into(), CONNECTIONS).await;
    server.end().await;
    witness::run(node, &["nft", "delete table ip standin"]);
    for living in [&one, &other] {
        assert_eq!(desk.call("DEL", &living.pod).await, Ok(Value::Null));
    }
    desk.machine().until_released().await;
    for living in [&one, &other] {
        living.pod.is_empty();
    }
    format!(
        "two pods get a NIC each and ping the VPC's routers and each other; everything goes {default}, {SERVICES} {service}; \
         {CONNECTIONS} of {CONNECTIONS} connections to a service are answered; DEL leaves nothing"
    )
}

/// A pod whose plugin finds nobody at the unix socket.
pub(crate) async fn by_tcp(desk: &Desk) -> String {
    let [socket, aside] = ["hostnic.sock", "aside"].map(|name| desk.file("/run").join(name));
    std::fs::rename(&socket, &aside).unwrap();
    let living = Living::add(desk, "tcp").await;
    assert_eq!(desk.call("DEL", &living.pod).await, Ok(Value::Null));
    std::fs::rename(&aside, &socket).unwrap();
    desk.machine().until_released().await;
    living.pod.is_empty();
    "a pod is added and deleted by TCP".to_owned()
}

/// What an ADD by the first configuration of the desk is refused with.
pub(crate) async fn refused(desk: &Desk, name: &str) -> String {
    let pod = desk.machine().pod(name).await;
    let refused = desk.call("ADD", &pod).await.unwrap_err();
    pod.is_empty();
    refused
}
