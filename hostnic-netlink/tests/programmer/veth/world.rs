//! A policed VPC with a node, hosts of the VPC, and pods behind veths.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hostnic_core::RouteProgrammer;
use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::cloud::{Nic, NicAttachment};
use hostnic_core::id::{InstanceId, MacAddr};
use hostnic_core::route::{
    Hairpin, NatMark, NicTable, NodePlan, PodDatapath, PodPlan, PodsTable, ServiceVeth, VethNode, VethPlan,
};
use hostnic_core::sim::Plug;
use hostnic_netlink::fabric::{Fabric, PortDrops};
use hostnic_netlink::{NamedNetns, NetlinkProgrammer, Netns};
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::world::{ip, run};

/// How long anything here may take on a busy machine; what succeeds takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After this a question is asked again: the first packets after a link came up may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(100);
pub(crate) const PORT: u16 = 7000;
pub(crate) const PODS: u32 = 1042;
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The number of the node's own NIC; its address ends with it.
const NODE: u8 = 10;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Subnet `a` is 10.1.0.0/24, `b` is 10.2.0.0/24, each with the router at .1. The node's own NIC is in one of them.
pub(crate) struct Vpc {
    folder: PathBuf,
    pub(crate) fabric: Fabric,
    pub(crate) node: PathBuf,
    pub(crate) address: IpAddr,
    pub(crate) programmer: NetlinkProgrammer,
}

/// A pod, its namespace and its plan.
pub(crate) struct Pod {
    pub(crate) netns: NamedNetns,
    pub(crate) plan: PodPlan,
}

impl Pod {
    pub(crate) fn address(&self) -> IpAddr {
        self.plan.address.addr()
    }

    pub(crate) fn veth(&mut self) -> &mut VethPlan {
        match &mut self.plan.datapath {
            PodDatapath::Veth(veth) => veth,
            other => panic!("{other:?}"),
        }
    }
}

impl Vpc {
    /// A VPC whose node has its own NIC in `subnet`.
    pub(crate) async fn new(subnet: &str) -> Self {
        let folder = PathBuf::from(format!("/run/veths{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let fabric = Fabric::new(folder.join("vpc")).await.unwrap();
        for (subnet, number) in [("a", 1), ("b", 2)] {
            let prefix = format!("10.{number}.0.0/24").parse().unwrap();
            let gateway = format!("10.{number}.0.1").parse().unwrap();
            fabric.add_subnet(subnet.parse().unwrap(), prefix, gateway).await.unwrap();
        }
        let node = host(&fabric, NODE, subnet).await;
        let opened = Netns::open(&node).unwrap();
        let programmer = NetlinkProgrammer::new(opened, vec![folder.join("pods")]).await.unwrap();
        let address = nic(subnet, NODE).addresses[0];
        Self { folder, fabric, node, address, programmer }
    }

    /// A host of the VPC that is no node of ours: a machine with one NIC.
    pub(crate) async fn host(&self, subnet: &str, number: u8) -> (PathBuf, IpAddr) {
        (host(&self.fabric, number, subnet).await, nic(subnet, number).addresses[0])
    }

    /// Plugs a NIC into the node.
    pub(crate) async fn plug(&self, subnet: &str, number: u8) {
        let nic = nic(subnet, number);
        self.fabric.plug(&instance(NODE), &nic, &nic.addresses).await.unwrap();
    }

    /// A pod that is not set up yet, whose NIC, of that number, is plugged into the node.
    pub(crate) async fn pod(&self, subnet: &str, number: u8, hairpin: Hairpin) -> Pod {
        self.plug(subnet, number).await;
        let netns = NamedNetns::create(self.folder.join(format!("pods/{subnet}{number}"))).await.unwrap();
        let plan = self.plan(&netns, subnet, number, hairpin);
        Pod { netns, plan }
    }

    /// A pod that is not set up yet, whose NIC is to be moved into it, with a veth to services beside.
    pub(crate) async fn passthrough(&self, subnet: &str, number: u8) -> Pod {
        let mut pod = self.pod(subnet, number, Hairpin::Off).await;
        pod.plan.datapath = PodDatapath::PassthroughWithServices(ServiceVeth {
            host_ifname: format!("vnic{subnet}{number}").parse().unwrap(),
            services: vec![SERVICES.parse().unwrap()],
        });
        pod
    }

    pub(crate) fn plan(&self, netns: &NamedNetns, subnet: &str, number: u8, hairpin: Hairpin) -> PodPlan {
        let nic = nic(subnet, number);
        let key = AttachmentKey {
            network: "net".parse().unwrap(),
            container: format!("c{subnet}{number}").parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let address = ipnet::IpNet::new(nic.addresses[0], 24).unwrap();
        PodPlan {
            datapath: PodDatapath::Veth(VethPlan {
                table: NicTable::new(table(subnet, number)).unwrap(),
                pods: PodsTable::new(PODS).unwrap(),
                host_ifname: format!("vnic{subnet}{number}").parse().unwrap(),
                source: self.address,
                hairpin,
                mtu_at_most: None,
            }),
            mark: key.mark(),
            netns: NetnsPath::new(netns.path()).unwrap(),
            sandbox: netns.open().unwrap().sandbox(),
            ifname: key.ifname,
            mac: nic.mac,
            address,
            gateway: address.hosts().next().unwrap(),
            routes: Vec::new(),
            mtu: None,
        }
    }

    pub(crate) fn node_plan(&self, hairpin: Hairpin) -> NodePlan {
        NodePlan::Veth(VethNode {
            hairpin,
            pods: PodsTable::new(PODS).unwrap(),
            nat_mark: NatMark::new(0x1_0000).unwrap(),
            services: vec![SERVICES.parse().unwrap()],
            addresses: vec![self.address],
        })
    }

    /// The node and pods of subnet `a`, set up.
    pub(crate) async fn with_pods(subnet: &str, hairpin: Hairpin, numbers: &[u8]) -> (Self, Vec<Pod>) {
        let vpc = Self::new(subnet).await;
        vpc.programmer.setup_node(&vpc.node_plan(hairpin)).await.unwrap();
        let mut pods = Vec::new();
        for number in numbers {
            let pod = vpc.pod("a", *number, hairpin).await;
            vpc.programmer.setup_pod(&pod.plan).await.unwrap();
            pods.push(pod);
        }
        (vpc, pods)
    }

    /// Nothing was dropped by the cloud.
    pub(crate) async fn nothing_policed(&self) {
        let drops: Vec<PortDrops> = self.fabric.police_drops().await.unwrap();
        assert_eq!(drops, []);
    }

    /// All that the programmer is about in the node, as `ip` and `nft` have it, without what the kernel learns, and
    /// without numbers of links that are made anew.
    pub(crate) fn whole(&self) -> String {
        whole(&self.node)
    }
}

/// The same of any node.
pub(crate) fn whole(node: &Path) -> String {
    let lists = [
        &["link", "show"][..],
        &["-4", "address", "show"],
        &["-4", "route", "show", "table", "all"],
        &["rule", "show"],
        &["-4", "neigh", "show", "nud", "permanent"],
        &["-4", "neigh", "show", "proxy"],
    ];
    let mut whole = lists.map(|arguments| tidy(ip(node, arguments))).join("\n");
    // Tables are listed in the order in which they were made.
    let rules = text(node, &["nft", "--stateless", "list", "ruleset"]);
    let mut tables: Vec<&str> = rules.split("\n}\n").collect();
    tables.sort_unstable();
    whole.push_str(&tables.join("\n"));
    whole
}

/// All that the programmer is about in a pod.
pub(crate) fn inside(pod: &Pod) -> String {
    inside_of(pod.netns.path())
}

/// The same by the pod's namespace.
pub(crate) fn inside_of(netns: &Path) -> String {
    let lists = [
        &["link", "show"][..],
        &["-4", "address", "show"],
        &["-4", "route", "show", "table", "all"],
        &["-4", "neigh", "show", "nud", "permanent"],
    ];
    lists.map(|arguments| tidy(ip(netns, arguments))).join("\n")
}

/// A list in an order of its own, without what changes when a link is made anew.
fn tidy(mut list: Value) -> String {
    let mut lines = Vec::new();
    for item in list.as_array_mut().unwrap() {
        let Some(item) = item.as_object_mut() else { continue };
        if let Some(flags) = item.get("flags").and_then(Value::as_array) {
            let up = flags.contains(&Value::from("UP"));
            item.insert("flags".to_owned(), up.into());
        }
        for field in ["ifindex", "link_index", "link_netnsid", "link", "operstate"] {
            item.remove(field);
        }
        lines.push(format!("{}", Value::Object(item.clone())));
    }
    lines.sort();
    lines.join("\n")
}

pub(crate) fn text(netns: &Path, command: &[&str]) -> String {
    String::from_utf8(run(netns, command).stdout).unwrap()
}

pub(crate) fn sh(netns: &Path, command: &str) {
    run(netns, &["sh", "-c", command]);
}

pub(crate) fn table(subnet: &str, number: u8) -> u32 {
    if subnet == "a" { 300 + u32::from(number) } else { 600 + u32::from(number) }
}

pub(crate) fn instance(number: u8) -> InstanceId {
    format!("i-{number}").parse().unwrap()
}

/// The NIC with this number: its address ends with it, and its MAC address too.
pub(crate) fn nic(subnet: &str, number: u8) -> Nic {
    let net = if subnet == "a" { 1 } else { 2 };
    Nic {
        id: format!("nic-{subnet}{number}").parse().unwrap(),
        mac: MacAddr::new([0x52, 0x54, 0, 0, net, number]).unwrap(),
        name: String::new(),
        subnet: subnet.parse().unwrap(),
        addresses: vec![IpAddr::from([10, net, 0, number])],
        attachment: NicAttachment::Available,
    }
}

/// A machine of the VPC with one NIC, which is configured as its image would do it.
pub(crate) async fn host(fabric: &Fabric, number: u8, subnet: &str) -> PathBuf {
    let path = fabric.add_node(instance(number)).await.unwrap();
    let nic = nic(subnet, number);
    fabric.plug(&instance(number), &nic, &nic.addresses).await.unwrap();
    let address = nic.addresses[0];
    let router = format!("10.{}.0.1", if subnet == "a" { 1 } else { 2 });
    sh(&path, &format!("ip link set lo up; ip address add {address}/24 dev eth0; ip link set eth0 up"));
    sh(&path, &format!("ip route add default via {router}"));
    path
}

/// A socket at that address.
pub(crate) async fn socket(netns: &Path, address: SocketAddr) -> UdpSocket {
    let netns = Netns::open(netns).unwrap();
    // A child that another trial is just starting has our closed sockets open until its program begins.
    let socket = loop {
        match netns.run(move || std::net::UdpSocket::bind(address)).await.unwrap() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::task::yield_now().await,
            bound => break bound.unwrap(),
        }
    };
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// A socket that hears what is sent to any of a namespace's addresses.
pub(crate) async fn listen(netns: &Path) -> UdpSocket {
    socket(netns, SocketAddr::new([0, 0, 0, 0].into(), PORT)).await
}

/// A socket that sends from `address`.
pub(crate) async fn speak(netns: &Path, address: &str) -> UdpSocket {
    socket(netns, SocketAddr::new(address.parse().unwrap(), 0)).await
}

/// Asks `to` until whoever listens in `answerer` has answered; returns the address that the question came from.
pub(crate) async fn talk(asker: &Path, answerer: &Path, to: SocketAddr) -> IpAddr {
    ask(asker, &listen(answerer).await, to).await
}

/// The same of somebody who listens at that address alone, and answers from it.
pub(crate) async fn talk_from(asker: &Path, answerer: &Path, to: SocketAddr) -> IpAddr {
    ask(asker, &socket(answerer, to).await, to).await
}

async fn ask(asker: &Path, ear: &UdpSocket, to: SocketAddr) -> IpAddr {
    let mouth = speak(asker, "0.0.0.0").await;
    mouth.connect(to).await.unwrap();
    exchange(&mouth, ear).await
}

/// Has `mouth` ask until `ear` has heard it and answered; returns the address that the question came from.
pub(crate) async fn exchange(mouth: &UdpSocket, ear: &UdpSocket) -> IpAddr {
    let to = mouth.peer_addr().unwrap();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let ask = async {
        loop {
            // An earlier question may have been refused.
            let _ = mouth.send(b"question").await;
            let mut buffer = [0; 16];
            if let Ok(Ok(_)) = timeout(ASK_AGAIN, mouth.recv(&mut buffer)).await {
                return;
            }
        }
    };
    let answer = async {
        loop {
            let mut buffer = [0; 16];
            let (_, from) = ear.recv_from(&mut buffer).await.unwrap();
            sender.send(from.ip()).unwrap();
            ear.send_to(b"answer", from).await.unwrap();
        }
    };
    tokio::select! {
        asked = timeout(PATIENCE, ask) => asked.unwrap_or_else(|_| panic!("no answer from {to}")),
        () = answer => {}
    }
    seen.try_recv().unwrap()
}

/// Lets the node send flows to `from` on to `to`, as kube-proxy does.
pub(crate) fn service(node: &Path, from: &str, to: IpAddr) {
    let (host, port) = from.split_once(':').unwrap();
    let masquerade = format!("add rule ip kube post ip saddr {to} ip daddr {to} masquerade");
    sh(
        node,
        &format!(
            "nft 'add table ip kube; \
             add chain ip kube pre {{ type nat hook prerouting priority dstnat; }}; \
             add chain ip kube out {{ type nat hook output priority -100; }}; \
             add chain ip kube post {{ type nat hook postrouting priority srcnat; }}; \
             add rule ip kube pre ip daddr {host} udp dport {port} dnat to {to}:{PORT}; \
             add rule ip kube out ip daddr {host} udp dport {port} dnat to {to}:{PORT}; {masquerade}'"
        ),
    );
}

/// The next that is heard beside questions.
pub(crate) async fn next_heard(ear: &UdpSocket) -> Vec<u8> {
    loop {
        let mut buffer = [0; 16];
        let (length, _) = timeout(PATIENCE, ear.recv_from(&mut buffer)).await.unwrap().unwrap();
        if buffer[..length] != *b"question" {
            return buffer[..length].to_vec();
        }
    }
}
