//! A fabric with two subnets and two nodes, pods that NICs are moved into, and the means to send packets from them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hostnic_core::cloud::{Nic, NicAttachment};
use hostnic_core::id::{InstanceId, MacAddr};
use hostnic_core::sim::Plug;
use hostnic_netlink::address::Address;
use hostnic_netlink::fabric::{DropReason, Fabric, PortDrops};
use hostnic_netlink::link::{Link, LinkChange, LinkIndex};
use hostnic_netlink::neighbour::{Neighbour, NeighbourEntry};
use hostnic_netlink::route::KernelRoute;
use hostnic_netlink::{Connection, NamedNetns, Netns};
use ipnet::IpNet;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long anything here may take on a busy machine; what succeeds takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After this a question is asked again: the first packets after a link came up may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(100);
pub(crate) const PORT: u16 = 7000;

/// Folders of different trials have different names.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The fabric: subnet `a` is 10.1.0.0/24, `b` is 10.2.0.0/24, each with the router at .1; the nodes are `i-1` and `i-2`.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) fabric: Fabric,
    pub(crate) nodes: [PathBuf; 2],
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = PathBuf::from(format!("/run/fabric{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let fabric = Fabric::new(folder.join("vpc")).await.unwrap();
        for (subnet, number) in [("a", 1), ("b", 2)] {
            let prefix = format!("10.{number}.0.0/24").parse().unwrap();
            let gateway = format!("10.{number}.0.1").parse().unwrap();
            fabric.add_subnet(subnet.parse().unwrap(), prefix, gateway).await.unwrap();
        }
        let nodes =
            [fabric.add_node(instance(1)).await.unwrap(), fabric.add_node(instance(2)).await.unwrap()];
        Self { folder, fabric, nodes }
    }

    pub(crate) fn node(&self, number: usize) -> Netns {
        Netns::open(&self.nodes[number - 1]).unwrap()
    }

    pub(crate) async fn plug(&self, number: usize, nic: &Nic) {
        self.fabric.plug(&instance(number), nic, &nic.addresses).await.unwrap();
    }

    /// Plugs `nic` into a node and moves it into a new pod there, which it is configured in.
    pub(crate) async fn pod(&self, number: usize, nic: &Nic) -> Pod {
        self.plug(number, nic).await;
        let name = NamedNetns::create(self.folder.join(format!("pod-{}", nic.id))).await.unwrap();
        let netns = name.open().unwrap();
        let node = Connection::open(&self.node(number)).await.unwrap();
        let link = find(&node, nic.mac).await.unwrap();
        node.change_link(link.index, LinkChange::new().move_to(&netns).rename("eth0").up()).await.unwrap();
        node.close().await;
        let connection = Connection::open(&netns).await.unwrap();
        let link = find(&connection, nic.mac).await.unwrap().index;
        let pod = Pod { name, netns, connection, link, address: nic.addresses[0] };
        pod.add_address(&format!("{}/24", pod.address)).await;
        let everywhere = KernelRoute::everywhere(pod.address);
        let default = KernelRoute::new(everywhere, link).via(gateway_of(nic));
        pod.connection.add_route(&default).await.unwrap();
        pod
    }

    /// What was dropped, by NIC and reason.
    pub(crate) async fn drops(&self) -> Vec<(String, DropReason, u64)> {
        let drops = self.fabric.police_drops().await.unwrap();
        drops
            .into_iter()
            .map(|PortDrops { nic, reason, packets }| (nic.to_string(), reason, packets))
            .collect()
    }
}

/// A namespace with one NIC.
pub(crate) struct Pod {
    name: NamedNetns,
    pub(crate) netns: Netns,
    pub(crate) connection: Connection,
    pub(crate) link: LinkIndex,
    pub(crate) address: IpAddr,
}

impl Pod {
    pub(crate) async fn add_address(&self, address: &str) {
        let address: IpNet = address.parse().unwrap();
        self.connection.add_address(&Address::new(self.link, address)).await.unwrap();
    }

    /// Tells the pod where `other` is, so that it need not ask by ARP.
    pub(crate) async fn knows(&self, other: &str, mac: MacAddr) {
        let entry = NeighbourEntry::Permanent(mac);
        let neighbour = Neighbour { link: self.link, address: other.parse().unwrap(), entry };
        self.connection.set_neighbour(&neighbour).await.unwrap();
    }

    /// A socket that hears what is sent to any of the pod's addresses.
    pub(crate) async fn listen(&self) -> UdpSocket {
        socket(&self.netns, SocketAddr::new([0, 0, 0, 0].into(), PORT)).await
    }

    /// A socket that sends from one of the pod's addresses.
    pub(crate) async fn sender(&self, address: &str) -> UdpSocket {
        socket(&self.netns, SocketAddr::new(address.parse().unwrap(), 0)).await
    }

    /// Ends the pod, with what is in its namespace.
    pub(crate) async fn end(self) {
        self.connection.close().await;
        drop(self.netns);
        self.name.remove().unwrap();
    }
}

pub(crate) fn instance(number: usize) -> InstanceId {
    format!("i-{number}").parse().unwrap()
}

/// The NIC with this number in subnet `a` or `b`: its address ends with it, and its MAC address too.
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

fn gateway_of(nic: &Nic) -> IpAddr {
    match nic.addresses[0] {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 1])
        }
        IpAddr::V6(address) => panic!("{address} is of IPv6"),
    }
}

pub(crate) async fn find(connection: &Connection, mac: MacAddr) -> Option<Link> {
    connection.links().await.unwrap().into_iter().find(|link| link.mac == Some(mac))
}

pub(crate) async fn socket(netns: &Netns, address: SocketAddr) -> UdpSocket {
    let socket = netns.run(move || std::net::UdpSocket::bind(address)).await.unwrap().unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Asks until there is an answer, which the other side sends back to where the question came from.
pub(crate) async fn talk(asker: &UdpSocket, answerer: &UdpSocket, to: SocketAddr) {
    let ask = async {
        loop {
            asker.send_to(b"question", to).await.unwrap();
            let mut buffer = [0; 64];
            if let Ok(answer) = timeout(ASK_AGAIN, asker.recv_from(&mut buffer)).await {
                let (length, from) = answer.unwrap();
                assert_eq!((&buffer[..length], from), (&b"answer"[..], to));
                return;
            }
        }
    };
    let answer = async {
        loop {
            let mut buffer = [0; 64];
            let (_, from) = answerer.recv_from(&mut buffer).await.unwrap();
            answerer.send_to(b"answer", from).await.unwrap();
        }
    };
    tokio::select! {
        asked = timeout(PATIENCE, ask) => asked.unwrap_or_else(|_| panic!("no answer from {to}")),
        () = answer => {}
    }
}
