//! Nodes of a policed VPC whose pods share NICs, with addresses from the API server's blocks: agents on this machine's kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::NicProvider;
use hostnic_core::agent::{
    AddAnswer, AddRequest, Agent, AgentConfig, AgentParts, ByHost, DelRequest, VethConfig,
};
use hostnic_core::attachment::{AttachmentKey, NetnsPath, PodRef};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::cloud::{Nic, NicAttachment};
use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::id::{InstanceId, MacAddr};
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;
use hostnic_core::sim::{Cloud, Plug};
use hostnic_core::store::MemoryStore;
use hostnic_kube::{Calico, Cluster};
use hostnic_netlink::fabric::Fabric;
use hostnic_netlink::{NamedNetns, NetlinkProgrammer, Netns};
use tokio::time::Instant;

use crate::proxy::{Proxy, Way};
use crate::stage::{Stage, VXNETS};
use crate::world::{World, eventually_within, make_pod, remove_pod};

/// The subnet of the nodes themselves.
const NODES: &str = "vxnet-nodes00";
const PATIENCE: Duration = Duration::from_secs(60);

/// The network of the cloud's machines.
pub(crate) async fn vpc() -> Arc<Fabric> {
    let fabric = Fabric::new("/run/bench-vpc").await.unwrap();
    for (subnet, number) in [(VXNETS[0], 3), (VXNETS[1], 4), (NODES, 9)] {
        let prefix = format!("172.16.{number}.0/24").parse().unwrap();
        fabric.add_subnet(subnet.parse().unwrap(), prefix, IpAddr::from([172, 16, number, 1])).await.unwrap();
    }
    Arc::new(fabric)
}

/// A cloud of that network.
pub(crate) fn cloud(fabric: &Arc<Fabric>, nodes: &[u8]) -> Cloud {
    let builder = Cloud::builder().router("rtr-1").instance("i-controller").security_group("sg-1");
    let builder = builder.subnet(VXNETS[0], "172.16.3.0/24").subnet(VXNETS[1], "172.16.4.0/24");
    let builder = nodes.iter().fold(builder, |builder, number| builder.instance(instance(*number).as_str()));
    builder.plug(fabric.clone()).build().unwrap()
}

fn instance(number: u8) -> InstanceId {
    format!("i-{number}").parse().unwrap()
}

/// One node, by a way of its own to the API server.
pub(crate) struct Node {
    name: String,
    folder: PathBuf,
    agent: Agent,
    cluster: Cluster,
    calico: Calico,
    pub(crate) proxy: Proxy,
    made: std::cell::Cell<u32>,
}

/// A pod that has its address.
pub(crate) struct Attached {
    pub(crate) pod: PodRef,
    netns: NamedNetns,
    key: AttachmentKey,
    pub(crate) answer: AddAnswer,
}

impl Node {
    /// A node with two pods that stay; it tells network policies of pods' addresses, or nobody.
    pub(crate) async fn start(
        world: &World,
        stage: &Stage,
        fabric: &Fabric,
        number: u8,
        policies: bool,
    ) -> Self {
        let (name, folder) = (format!("node{number}"), PathBuf::from(format!("/run/bench-pods{number}")));
        let netns = machine(fabric, number).await;
        let proxy = Proxy::start(world.server().port, Way::Open).await;
        let cluster = Cluster::connect(world.config(&name, proxy.port)).await.unwrap();
        let calico = cluster.calico();
        let cloud = Arc::new(stage.cloud.node(&instance(number)));
        let programmer = NetlinkProgrammer::new(Netns::open(&netns).unwrap(), vec![folder.clone()]).await;
        let enforcer = policies.then(|| Arc::new(cluster.calico()) as Arc<dyn PolicyEnforcer>);
        let parts = AgentParts {
            provider: cloud.clone() as Arc<dyn NicProvider>,
            forwarding: None,
            tagging: None,
            programmer: Arc::new(programmer.unwrap()),
            addresses: Some(Arc::new(cluster.addresses(&uid(&name)))),
            enforcer,
            store: Arc::new(MemoryStore::default()),
            clock: Arc::new(SystemClock),
            seed: number.into(),
        };
        let pool = PoolConfig { low: 0, high: 0, ..PoolConfig::new(Vec::new()) };
        let config = AgentConfig {
            datapath: Datapath::Shared,
            veth: Some(VethConfig::new(vec!["10.233.0.0/18".parse().unwrap()])),
            ..AgentConfig::new(pool)
        };
        let agent = Agent::start(parts, config).await.unwrap();
        let node = Self { name, folder, agent, cluster, calico, proxy, made: Default::default() };
        for _ in 0..2 {
            node.attach(stage).await;
        }
        node
    }

    /// Makes a pod, and what its runtime makes of it; how long the ADD takes is what is told.
    pub(crate) async fn attach(&self, stage: &Stage) -> (Attached, Duration) {
        self.made.set(self.made.get() + 1);
        let name = format!("{}-pod{}", self.name, self.made.get());
        let pod = make_pod(&stage.admin, &self.name, &name, &[]).await;
        // Kubelet has seen it, and so has the watch.
        hostnic_core::pods::PodDirectory::wishes(&*self.cluster.pods(), &pod).await.unwrap();
        let netns = NamedNetns::create(self.folder.join(&name)).await.unwrap();
        let key = AttachmentKey {
            network: "net".parse().unwrap(),
            container: format!("sandbox-of-{name}").parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let request = AddRequest {
            key: key.clone(),
            netns: NetnsPath::new(netns.path()).unwrap(),
            pod: Some(pod.clone()),
            wishes: PodWishes::default(),
            routes: Vec::new(),
            by_host: ByHost::default(),
            mtu: None,
            started: SystemClock.now(),
            patience: PATIENCE,
        };
        let begun = Instant::now();
        let answer = self.agent.add(request).await.unwrap();
        let took = begun.elapsed();
        (Attached { pod, netns, key, answer }, took)
    }

    /// The pod ends.
    pub(crate) async fn detach(&self, stage: &Stage, attached: Attached) {
        let Attached { pod, netns, key, .. } = attached;
        let netns_path = NetnsPath::new(netns.path()).unwrap();
        let request = DelRequest { key, netns: Some(netns_path), started: SystemClock.now() };
        self.agent.del(request).await.unwrap();
        self.agent.dels_ended().await;
        drop(netns);
        remove_pod(&stage.admin, &pod.name).await;
    }

    /// How long one request takes by the same way: that which tells network policies a pod's address.
    pub(crate) async fn one_request(&self, attached: &Attached) -> Duration {
        let begun = Instant::now();
        self.calico.tell(&attached.pod, attached.answer.lease.address.addr()).await.unwrap();
        begun.elapsed()
    }

    /// Waits until all that goes on after ADDs and DELs is over: the node has its two pods' addresses, and as many in stock as it may.
    pub(crate) async fn rests(&self, stage: &Stage) {
        eventually_within(PATIENCE, &format!("{} rests", self.name), || async {
            let held = held(stage, &self.name).await;
            (held == BTreeMap::from([(false, 2), (true, 4)])).then_some(())
        })
        .await;
    }
}

fn uid(node: &str) -> String {
    format!("uid-of-{node}")
}

/// How many addresses a node has, for pods and in stock.
async fn held(stage: &Stage, node: &str) -> BTreeMap<bool, usize> {
    let mut held = BTreeMap::new();
    for block in stage.all("IPAMBlock").await {
        let spec = &block.data["spec"];
        for index in spec["allocations"].as_array().into_iter().flatten().filter_map(|index| index.as_u64()) {
            let holder = &spec["attributes"][usize::try_from(index).unwrap()];
            if holder["secondary"]["node"] == node {
                let is_stock = holder["handle_id"].as_str().unwrap().starts_with("hostnic-stock-");
                *held.entry(is_stock).or_default() += 1;
            }
        }
    }
    held
}

/// A machine of the VPC with one NIC, which is configured as its image would do it.
async fn machine(fabric: &Fabric, number: u8) -> PathBuf {
    let netns = fabric.add_node(instance(number)).await.unwrap();
    let mac = MacAddr::new([0x52, 0x54, 0, 9, 9, number]).unwrap();
    let addresses = vec![IpAddr::from([172, 16, 9, number])];
    let nic = Nic {
        id: mac.to_string().parse().unwrap(),
        mac,
        name: String::new(),
        subnet: NODES.parse().unwrap(),
        addresses: addresses.clone(),
        attachment: NicAttachment::Available,
    };
    fabric.plug(&instance(number), &nic, &addresses).await.unwrap();
    let address = format!("{}/24", addresses[0]);
    for command in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", &address, "dev", "eth0"],
        &["link", "set", "eth0", "up"],
        &["route", "add", "default", "via", "172.16.9.1"],
    ] {
        ip(&netns, command);
    }
    netns
}

fn ip(netns: &Path, arguments: &[&str]) {
    let network = format!("--net={}", netns.display());
    let output = Command::new("nsenter").arg(network).arg("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
