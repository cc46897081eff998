//! A node over a simulated cloud and kernel.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostnic_cni::contract::{Add, Call};
use hostnic_core::agent::{Agent, AgentConfig, AgentParts, VethConfig};
use hostnic_core::attachment::{AttachmentKey, NetnsPath, PodRef};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::id::InstanceId;
use hostnic_core::ipam::AddressSource;
use hostnic_core::layer::Stack;
use hostnic_core::ledger::AddressState;
use hostnic_core::pods::PodDirectory;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;
use hostnic_core::sim::{Cloud, Durations, Kernel, SimAddresses};
use hostnic_core::store::MemoryStore;
use hostnic_core::{NicProvider, Result};
use hostnic_daemon::{AddressBook, Listeners, Node, Observer, Surroundings};
use tempfile::TempDir;

/// How long anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Any free port of the loopback.
pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) kernel: Kernel,
    pub(crate) folder: TempDir,
    pub(crate) config: AgentConfig,
    /// Where addresses come from; `None` where NICs have their own.
    pub(crate) addresses: Option<SimAddresses>,
    /// What metrics tell of them.
    pub(crate) book: Option<Arc<dyn AddressBook>>,
}

impl World {
    /// Two subnets, and jobs that are over at once.
    pub(crate) fn new() -> Self {
        let kernel = Kernel::new();
        let quick = Duration::from_millis(10);
        let cloud = Cloud::builder()
            .subnet("vxnet-a", "192.168.1.0/24")
            .subnet("vxnet-b", "192.168.2.0/24")
            .instance("i-1")
            .durations(Durations { attach: quick, detach: quick, reserve: quick })
            .plug(Arc::new(kernel.clone()))
            .build()
            .unwrap();
        let pool = PoolConfig {
            low: 2,
            cooling: Duration::ZERO,
            least_cooling: Duration::ZERO,
            job_poll_first: quick,
            job_poll: quick,
            ..PoolConfig::new(vec!["vxnet-a".parse().unwrap(), "vxnet-b".parse().unwrap()])
        };
        let config = AgentConfig::new(pool);
        Self { cloud, kernel, folder: tempfile::tempdir().unwrap(), config, addresses: None, book: None }
    }

    /// Pods share NICs, and all namespaces have addresses of vxnet-a.
    pub(crate) fn sharing() -> Self {
        let mut world = Self::new();
        let pool = PoolConfig { low: 0, high: 0, ..world.config.pool };
        world.config = AgentConfig {
            datapath: Datapath::Shared,
            veth: Some(VethConfig::new(vec!["10.96.0.0/12".parse().unwrap()])),
            ..AgentConfig::new(pool)
        };
        let mac = "52:54:00:00:00:01".parse().unwrap();
        world.kernel.add_host_link(mac, true);
        world.kernel.configure_host_link(mac, "10.0.0.2/24".parse().unwrap(), true);
        let cluster = SimAddresses::new();
        let (prefix, gateway) = ("192.168.1.0/24".parse().unwrap(), "192.168.1.1".parse().unwrap());
        cluster.add("", "vxnet-a", prefix, gateway, 100..=199);
        world.addresses = Some(cluster);
        world
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("hostnic.sock")
    }

    pub(crate) fn listeners(&self) -> Listeners {
        Listeners { manage: Some(LOOPBACK), ..Listeners::new(self.socket()) }
    }

    /// A node that has just been started.
    pub(crate) async fn cold(&self, listeners: Listeners) -> Result<Node> {
        self.cold_asking(listeners, None).await
    }

    /// The same, which asks what pods want where there is somebody to ask.
    pub(crate) async fn cold_asking(
        &self,
        listeners: Listeners,
        pods: Option<Arc<dyn PodDirectory>>,
    ) -> Result<Node> {
        let observer = Arc::new(Observer::new("node-1"));
        let instance: InstanceId = "i-1".parse().unwrap();
        let provider: Arc<dyn NicProvider> = Arc::new(self.cloud.node(&instance));
        let parts = AgentParts {
            provider: Stack::new().metrics(observer.recorder()).around(provider),
            forwarding: None,
            tagging: None,
            programmer: Arc::new(self.kernel.clone()),
            addresses: self.addresses.as_ref().map(|all| Arc::new(all.node("i-1")) as Arc<dyn AddressSource>),
            enforcer: None,
            store: Arc::new(MemoryStore::default()),
            clock: Arc::new(SystemClock),
            seed: 1,
        };
        let surroundings = Surroundings { pods, addresses: self.book.clone(), ..Surroundings::new(observer) };
        Node::start_in(parts, self.config.clone(), listeners, surroundings).await
    }

    /// A node whose pool is filled.
    pub(crate) async fn node(&self, listeners: Listeners) -> Node {
        let node = self.cold(listeners).await.unwrap();
        let low = usize::try_from(self.config.pool.low).unwrap();
        until(node.agent(), |agent| free(agent) == low).await;
        node
    }

    /// What a plugin asks for a pod, whose namespace is made.
    pub(crate) fn pod(&self, name: &str) -> Add {
        let netns = NetnsPath::new(format!("/run/netns/{name}")).unwrap();
        self.kernel.add_sandbox(&netns);
        Add {
            key: key(name),
            netns,
            pod: Some(PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: None }),
            routes: vec![],
            mtu: None,
            is_gateway: false,
            ip_masq: false,
            call: call(),
        }
    }
}

/// The time and the patience of a plugin that was started just now.
pub(crate) fn call() -> Call {
    Call { started_at: SystemClock.now(), remaining: Duration::from_secs(10) }
}

pub(crate) fn key(name: &str) -> AttachmentKey {
    AttachmentKey {
        network: "net".parse().unwrap(),
        container: name.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

/// How many addresses anybody could have.
pub(crate) fn free(agent: &Agent) -> usize {
    let addresses = agent.nics().into_iter().flat_map(|nic| nic.addresses);
    addresses.filter(|address| matches!(address.state, AddressState::Free { .. })).count()
}

/// Waits until the records are as wanted.
pub(crate) async fn until(agent: &Agent, holds: impl Fn(&Agent) -> bool) {
    let mut changes = agent.changes();
    let wait = async {
        loop {
            changes.borrow_and_update();
            if holds(agent) {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("not within {PATIENCE:?}; NICs {:#?}", agent.nics());
    }
}
