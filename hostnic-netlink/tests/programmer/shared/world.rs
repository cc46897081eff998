//! A policed VPC of a simulated cloud, with nodes whose pods share NICs, and hosts of the VPC.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hostnic_core::RouteProgrammer;
use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::id::{MacAddr, NicId};
use hostnic_core::provider::NicAddresses;
use hostnic_core::route::{
    Hairpin, NatMark, NicTable, NodePlan, PodDatapath, PodPlan, PodsTable, SharedNicPlan, SharedPlan,
    SharedRoutes, VethNode, VethPlan,
};
use hostnic_core::sim::{Cloud, Fate, Plug, Selection};
use hostnic_netlink::fabric::{Fabric, PortDrops};
use hostnic_netlink::{NamedNetns, NetlinkProgrammer, Netns};
use tokio::time::timeout;

use crate::veth::world::{PATIENCE, PODS, SERVICES, host, instance, nic, whole};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Subnet `a` is 10.1.0.0/24, `b` is 10.2.0.0/24, each with the router at .1 and addresses for pods from .100 to .249, which
/// are reserved in the cloud. From .250 on they are the nodes' own, to ask by ARP from.
pub(crate) struct Vpc {
    folder: PathBuf,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) cloud: Cloud,
}

/// A node that is set up for pods behind veths, with a NIC of its own.
pub(crate) struct Node {
    folder: PathBuf,
    number: u8,
    pub(crate) path: PathBuf,
    pub(crate) address: IpAddr,
    pub(crate) programmer: NetlinkProgrammer,
    /// The NICs that pods share, by the subnet.
    nics: BTreeMap<&'static str, (NicId, MacAddr)>,
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

    pub(crate) fn path(&self) -> &Path {
        self.netns.path()
    }

    pub(crate) fn shared(&mut self) -> &mut SharedPlan {
        match &mut self.plan.datapath {
            PodDatapath::Shared(shared) => shared,
            other => panic!("{other:?}"),
        }
    }
}

impl Vpc {
    /// A VPC without nodes, all of whose addresses for pods are reserved.
    pub(crate) async fn new() -> Self {
        let folder = PathBuf::from(format!("/run/shared{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let fabric = Arc::new(Fabric::new(folder.join("vpc")).await.unwrap());
        for (subnet, number) in [("a", 1), ("b", 2)] {
            let prefix = format!("10.{number}.0.0/24").parse().unwrap();
            let gateway = format!("10.{number}.0.1").parse().unwrap();
            fabric.add_subnet(subnet.parse().unwrap(), prefix, gateway).await.unwrap();
        }
        let cloud = Cloud::builder().subnet("a", "10.1.0.0/24").subnet("b", "10.2.0.0/24");
        let cloud = cloud.instance("i-10").instance("i-20").plug(fabric.clone()).build().unwrap();
        for subnet in ["a", "b"] {
            let range = Selection::Range(address(subnet, 100), address(subnet, 254));
            let id = subnet.parse().unwrap();
            drop(cloud.control().reserve(&id, "hostnic_pods", &range, Fate::Succeed).unwrap());
        }
        Self { folder, fabric, cloud }
    }

    /// One node, 10, whose own NIC is in subnet `b`, with a shared NIC in subnet `a`.
    pub(crate) async fn with_a_node() -> (Self, Node) {
        let vpc = Self::new().await;
        let mut node = vpc.node(10, "b").await;
        vpc.share(&mut node, "a").await;
        (vpc, node)
    }

    /// The same with pods of these numbers, set up.
    pub(crate) async fn with_pods(numbers: &[u8]) -> (Self, Node, Vec<Pod>) {
        let (vpc, node) = Self::with_a_node().await;
        let mut pods = Vec::new();
        for number in numbers {
            pods.push(node.started("a", *number).await);
        }
        (vpc, node, pods)
    }

    /// A node of number 10 or 20, whose own NIC is in `subnet`, set up for pods behind veths.
    pub(crate) async fn node(&self, number: u8, subnet: &str) -> Node {
        let path = host(&self.fabric, number, subnet).await;
        let folder = self.folder.join(format!("pods{number}"));
        let programmer = programmer(&path, &folder).await;
        let address = nic(subnet, number).addresses[0];
        let node = Node { folder, number, path, address, programmer, nics: BTreeMap::new() };
        node.programmer.setup_node(&node.plan()).await.unwrap();
        node
    }

    /// A host of the VPC that is no node of ours: a machine with one NIC.
    pub(crate) async fn host(&self, subnet: &str, number: u8) -> (PathBuf, IpAddr) {
        (host(&self.fabric, number, subnet).await, nic(subnet, number).addresses[0])
    }

    /// Makes a NIC without addresses in the cloud and attaches it to the node.
    pub(crate) async fn attach(&self, node: &mut Node, subnet: &'static str) -> MacAddr {
        let control = self.cloud.control();
        let id = subnet.parse().unwrap();
        let made = control.create_nics(&id, "hostnic_shared", 1, &NicAddresses::None).unwrap().remove(0);
        let instance = instance(node.number);
        drop(control.attach_nics(&instance, std::slice::from_ref(&made.id), Fate::Succeed).unwrap());
        timeout(PATIENCE, node.programmer.wait_for_nic(made.mac)).await.unwrap().unwrap();
        node.nics.insert(subnet, (made.id, made.mac));
        made.mac
    }

    /// The same, and sets it up to be shared.
    pub(crate) async fn share(&self, node: &mut Node, subnet: &'static str) {
        self.attach(node, subnet).await;
        node.programmer.setup_shared_nic(&node.nic_plan(subnet)).await.unwrap();
    }

    /// Takes the node's shared NIC out.
    pub(crate) async fn detach(&self, node: &Node, subnet: &str) {
        let id = node.nics[subnet].0.clone();
        self.cloud.vanish(&id).unwrap();
        crate::world::eventually_async("the NIC is unplugged", async || {
            node.programmer.observe().await.unwrap().host.iter().all(|link| link.mac != node.nics[subnet].1)
        })
        .await;
    }

    /// A pod with a NIC of its own in the node, which is not set up yet. Its address ends with the number.
    pub(crate) async fn own_nic(&self, node: &Node, subnet: &str, number: u8) -> Pod {
        let own = nic(subnet, number);
        self.fabric.plug(&instance(node.number), &own, &own.addresses).await.unwrap();
        let mut pod = node.pod(subnet, number).await;
        pod.plan.mac = own.mac;
        pod.plan.datapath = PodDatapath::Veth(VethPlan {
            table: NicTable::new(300 + u32::from(number)).unwrap(),
            pods: PodsTable::new(PODS).unwrap(),
            host_ifname: format!("vnic{subnet}{number}").parse().unwrap(),
            source: node.address,
            hairpin: Hairpin::Off,
            mtu_at_most: None,
        });
        pod
    }

    /// Nothing was dropped by the cloud.
    pub(crate) async fn nothing_policed(&self) {
        let drops: Vec<PortDrops> = self.fabric.police_drops().await.unwrap();
        assert_eq!(drops, []);
    }
}

async fn programmer(node: &Path, pods: &Path) -> NetlinkProgrammer {
    NetlinkProgrammer::new(Netns::open(node).unwrap(), vec![pods.to_owned()]).await.unwrap()
}

impl Node {
    /// The daemon dies, and another one comes.
    pub(crate) async fn restart(&mut self) {
        self.programmer = programmer(&self.path, &self.folder).await;
    }

    pub(crate) fn plan(&self) -> NodePlan {
        NodePlan::Veth(VethNode {
            hairpin: Hairpin::Off,
            pods: PodsTable::new(PODS).unwrap(),
            nat_mark: NatMark::new(0x1_0000).unwrap(),
            services: vec![SERVICES.parse().unwrap()],
            addresses: vec![self.address],
        })
    }

    /// The plan of the NIC that pods in `subnet` share: `hostnic_a` with table 261, or `hostnic_b` with 262.
    pub(crate) fn nic_plan(&self, subnet: &str) -> SharedNicPlan {
        let net = if subnet == "a" { 1 } else { 2 };
        SharedNicPlan {
            mac: self.mac(subnet),
            subnet: format!("10.{net}.0.0/24").parse().unwrap(),
            sender: Some(address(subnet, 249 + self.number / 10)),
            ifname: format!("hostnic_{subnet}").parse().unwrap(),
            table: NicTable::new(260 + net).unwrap(),
            routes: SharedRoutes::Ours { gateway: address(subnet, 1), others: Vec::new() },
        }
    }

    pub(crate) fn mac(&self, subnet: &str) -> MacAddr {
        self.nics.get(subnet).map_or_else(|| nic(subnet, 99).mac, |(_, mac)| *mac)
    }

    /// A pod that is to share the node's NIC, and is not set up yet. Its address ends with the number.
    pub(crate) async fn pod(&self, subnet: &str, number: u8) -> Pod {
        let netns = NamedNetns::create(self.folder.join(format!("{subnet}{number}"))).await.unwrap();
        let plan = self.pod_plan(&netns, subnet, number);
        Pod { netns, plan }
    }

    pub(crate) fn pod_plan(&self, netns: &NamedNetns, subnet: &str, number: u8) -> PodPlan {
        let nic = self.nic_plan(subnet);
        let key = AttachmentKey {
            network: "net".parse().unwrap(),
            container: format!("c{subnet}{number}").parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        PodPlan {
            datapath: PodDatapath::Shared(SharedPlan {
                table: nic.table,
                pods: PodsTable::new(PODS).unwrap(),
                host_ifname: format!("vnic{subnet}{number}").parse().unwrap(),
                source: self.address,
                mtu_at_most: None,
            }),
            mark: key.mark(),
            netns: NetnsPath::new(netns.path()).unwrap(),
            sandbox: netns.open().unwrap().sandbox(),
            ifname: key.ifname,
            mac: nic.mac,
            address: ipnet::IpNet::new(address(subnet, number), 24).unwrap(),
            gateway: address(subnet, 1),
            routes: Vec::new(),
            mtu: None,
        }
    }

    /// The same, set up.
    pub(crate) async fn started(&self, subnet: &str, number: u8) -> Pod {
        let pod = self.pod(subnet, number).await;
        self.programmer.setup_pod(&pod.plan).await.unwrap();
        pod
    }

    pub(crate) fn whole(&self) -> String {
        whole(&self.path)
    }

    /// The node, its shared NICs and these pods are as they are to be.
    pub(crate) async fn is_sound(&self, pods: &[&Pod]) {
        assert_eq!(self.programmer.check_node(&self.plan()).await.unwrap(), []);
        for subnet in self.nics.keys() {
            assert_eq!(self.programmer.check_shared_nic(&self.nic_plan(subnet)).await.unwrap(), []);
        }
        for pod in pods {
            assert_eq!(self.programmer.check_pod(&pod.plan).await.unwrap(), []);
        }
    }
}

pub(crate) fn address(subnet: &str, number: u8) -> IpAddr {
    IpAddr::from([10, if subnet == "a" { 1 } else { 2 }, 0, number])
}
