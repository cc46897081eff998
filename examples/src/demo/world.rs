//! Two nodes of a simulated cloud, each with its agent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::agent::{AgentConfig, AgentParts};
use hostnic_core::attachment::NetnsPath;
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::id::InstanceId;
use hostnic_core::policy::PolicyName;
use hostnic_core::pool::PoolConfig;
use hostnic_core::store::{BootId, HostId, Identity, RedbStore};
use hostnic_core::{Error, ErrorKind, Result};
use hostnic_daemon::{Node, SimSubnet, SimulatedCloud, seed};
use hostnic_netlink::{NetlinkProgrammer, Netns};

use crate::observe;
use crate::plugin::Plugin;

/// How long the cloud takes to attach and detach NICs; a real one takes some seconds.
const JOB: Duration = Duration::from_millis(600);

/// A node and what it takes to call its plugin.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) netns: NetnsPath,
    pub(super) node: Node,
    pub(super) plugin: Plugin,
}

/// Everything that is set up.
#[derive(Debug)]
pub(super) struct World {
    pub(super) cloud: SimulatedCloud,
    pub(super) subnets: Vec<SimSubnet>,
    pub(super) folder: PathBuf,
    names: Vec<InstanceId>,
    places: Vec<NetnsPath>,
    before: BTreeSet<String>,
}

impl World {
    /// The VPC and the empty nodes.
    pub(super) async fn create(folder: &Path) -> Result<Self> {
        let subnets: Vec<SimSubnet> =
            vec!["vxnet-a=192.168.50.0/24".parse()?, "vxnet-b=192.168.51.0/24".parse()?];
        let names: Vec<InstanceId> = vec!["i-node1".parse()?, "i-node2".parse()?];
        let cloud = SimulatedCloud::start(folder.join("vpc"), &subnets, &names, JOB, seed()?).await?;
        let mut places = Vec::new();
        for name in &names {
            places.push(cloud.add_node(name.clone()).await?);
        }
        let mut world =
            Self { cloud, subnets, folder: folder.to_owned(), names, places, before: BTreeSet::new() };
        world.before = world.observe().await?;
        Ok(world)
    }

    /// An agent per node, with its pool warm.
    pub(super) async fn start_nodes(&self, plugin: &Path) -> Result<Vec<Host>> {
        let starts =
            self.names.iter().zip(&self.places).map(|(name, netns)| self.start_node(name, netns, plugin));
        futures::future::try_join_all(starts).await
    }

    async fn start_node(&self, name: &InstanceId, netns: &NetnsPath, plugin: &Path) -> Result<Host> {
        let folder = self.folder.join(name.as_str());
        let socket = folder.join("hostnic.sock");
        let identity = Identity { boot: BootId::of_this_boot()?, host: HostId::new(name.as_str())? };
        let (store, _) = RedbStore::open(folder.join("state.redb"), identity, SystemClock.now()).await?;
        let pods = vec![self.sandboxes()];
        let parts = AgentParts {
            provider: self.cloud.provider(name),
            programmer: Arc::new(NetlinkProgrammer::new(Netns::open(netns.as_path())?, pods).await?),
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            seed: seed()?,
        };
        let pool = PoolConfig {
            policy: PolicyName::RoundRotate,
            cooling: Duration::from_secs(1),
            job_poll_first: Duration::from_millis(200),
            ..PoolConfig::new(self.subnets.iter().map(|s| s.id.clone()).collect())
        };
        let node = Node::start(parts, AgentConfig::new(pool), &socket).await?;
        warm(&node, 3).await?;
        Ok(Host { name: name.to_string(), netns: netns.clone(), node, plugin: Plugin::new(plugin, &socket) })
    }

    /// Where the pods' namespaces are.
    pub(super) fn sandboxes(&self) -> PathBuf {
        self.folder.join("pods")
    }

    /// What is in the nodes and the VPC.
    async fn observe(&self) -> Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        for (name, place) in self.names.iter().zip(&self.places) {
            seen.extend(observe::everything(name.as_str(), &Netns::open(place.as_path())?).await?);
        }
        seen.extend(observe::everything("VPC", &Netns::open(self.cloud.fabric().vpc_path())?).await?);
        Ok(seen)
    }

    /// What is there now and was not there before the nodes began.
    pub(super) async fn leftovers(&self) -> Result<Vec<String>> {
        let mut left: Vec<String> = self.observe().await?.difference(&self.before).cloned().collect();
        left.extend(
            self.cloud.cloud().snapshot().values().map(|nic| format!("cloud: NIC {} {}", nic.id, nic.name)),
        );
        Ok(left)
    }
}

/// Waits until a node has that many NICs ready.
async fn warm(node: &Node, count: usize) -> Result<()> {
    let mut changes = node.agent().changes();
    let ready = async {
        loop {
            changes.borrow_and_update();
            let nics = node.agent().nics();
            if nics.iter().filter(|nic| nic.state == hostnic_core::ledger::NicState::Ready).count() >= count {
                return;
            }
            // The sender lives as long as the node, which this borrows.
            let _ = changes.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.map_err(|_| {
        Error::new(ErrorKind::Transient, "warm", "the pool").detail("no NIC became ready within 30 s")
    })
}
