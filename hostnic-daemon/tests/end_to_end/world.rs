//! A VPC with two subnets and some nodes, and the judgement at the end of a trial.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hostnic_core::agent::AgentConfig;
use hostnic_core::attachment::NetnsPath;
use hostnic_core::id::InstanceId;
use hostnic_core::policy::PolicyName;
use hostnic_core::pool::PoolConfig;
use hostnic_daemon::{SimSubnet, SimulatedCloud, seed};

use crate::host::Host;
use crate::witness;

/// Worlds of different trials have different names.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A job that nobody should have to wait for.
const QUICK: Duration = Duration::from_millis(20);

/// Everything that is set up for one trial.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) cloud: SimulatedCloud,
    folder: PathBuf,
    subnets: Vec<SimSubnet>,
    instances: Vec<InstanceId>,
    before: Vec<(PathBuf, BTreeSet<String>)>,
}

impl World {
    /// A VPC and `nodes` nodes without daemons, whose NICs are plugged in at once.
    pub(crate) async fn new(nodes: usize) -> Self {
        Self::with_jobs(nodes, QUICK).await
    }

    /// A cloud whose attach and detach jobs take this long.
    pub(crate) async fn with_jobs(nodes: usize, job: Duration) -> Self {
        let folder = PathBuf::from(format!("/run/world{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let subnets = ["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.51.0/24"];
        let subnets: Vec<SimSubnet> = subnets.iter().map(|s| s.parse().unwrap()).collect();
        let instances: Vec<InstanceId> = (1..=nodes).map(|n| format!("i-{n}").parse().unwrap()).collect();
        let vpc = folder.join("vpc");
        let cloud = SimulatedCloud::start(&vpc, &subnets, &instances, job, seed().unwrap()).await.unwrap();
        Self { cloud, folder, subnets, instances, before: Vec::new() }
    }

    /// The settings of a small, warm pool that waits for nothing longer than it must.
    pub(crate) fn config(&self) -> AgentConfig {
        let pool = PoolConfig {
            low: 1,
            high: 8,
            policy: PolicyName::RoundRotate,
            cooling: Duration::ZERO,
            least_cooling: Duration::ZERO,
            attach_gather: Duration::from_millis(20),
            job_poll_first: Duration::from_millis(20),
            job_poll: Duration::from_millis(100),
            ..PoolConfig::new(self.subnets.iter().map(|s| s.id.clone()).collect())
        };
        AgentConfig { grace: Duration::ZERO, ..AgentConfig::new(pool) }
    }

    /// All nodes with their daemons, whose pools are filled.
    pub(crate) async fn hosts(&mut self, config: &AgentConfig) -> Vec<Host> {
        self.hosts_with(|_| config.clone()).await
    }

    /// The same, each node with its own settings.
    pub(crate) async fn hosts_with(&mut self, config: impl Fn(usize) -> AgentConfig) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (number, instance) in self.instances.clone().into_iter().enumerate() {
            let netns = self.cloud.add_node(instance.clone()).await.unwrap();
            hosts.push(self.host(instance, netns, config(number)));
        }
        self.remember(&hosts);
        for host in &mut hosts {
            host.start(&self.cloud).await;
        }
        hosts
    }

    /// The only node, with its daemon.
    pub(crate) async fn only_host(&mut self, config: &AgentConfig) -> Host {
        let mut hosts = self.hosts(config).await;
        assert_eq!(hosts.len(), 1);
        hosts.remove(0)
    }

    fn host(&self, instance: InstanceId, netns: NetnsPath, config: AgentConfig) -> Host {
        let folder = self.folder.join(instance.as_str());
        let pods = folder.join("pods");
        Host::new(instance, netns, folder, pods, config)
    }

    fn remember(&mut self, hosts: &[Host]) {
        let vpc = self.cloud.fabric().vpc_path().to_owned();
        let places = hosts.iter().map(|host| host.netns().to_owned()).chain([vpc]);
        self.before = places.map(|place| (place.clone(), witness::everything(&place))).collect();
    }

    /// Makes sure that everything was given back and that no frame was sent that a cloud drops.
    pub(crate) async fn end(self, hosts: impl IntoIterator<Item = Host>) {
        for mut host in hosts {
            host.end().await;
        }
        let left = self.cloud.cloud().snapshot();
        assert!(left.is_empty(), "NICs are left in the cloud: {left:#?}");
        assert_eq!(self.cloud.fabric().police_drops().await.unwrap(), [], "a cloud would have dropped these");
        for (place, before) in &self.before {
            let now = witness::everything(place);
            witness::assert_same(before, &now, &format!("after the end, in {}", place.display()));
        }
        self.cloud.fabric().shutdown().await.unwrap();
    }
}
