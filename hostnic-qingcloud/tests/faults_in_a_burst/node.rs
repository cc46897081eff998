//! One node: an agent over the provider, its layers and HTTP to a simulator that plugs into a simulated kernel.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::Result;
use hostnic_core::agent::{Agent, AgentConfig, AgentParts};
use hostnic_core::clock::TokioClock;
use hostnic_core::id::NicId;
use hostnic_core::layer::{Concurrency, Deadline, Rate, RateLimit, RetryConfig, Stack};
use hostnic_core::ledger::{State, Write};
use hostnic_core::pool::PoolConfig;
use hostnic_core::sim::{Durations, Kernel};
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};
use hostnic_qingcloud::{Client, Config};

use crate::door::Door;
use crate::support::{InMemory, provider};

pub(crate) const KEY: &str = "AK";

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All that a cell looks at.
pub(crate) struct Node {
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) door: Arc<Door>,
    /// For whoever looks at the cloud from outside; the agent has its own way.
    pub(crate) client: Arc<Client>,
    pub(crate) kernel: Kernel,
    pub(crate) store: Arc<Witness>,
    pub(crate) clock: TokioClock,
    pub(crate) agent: Agent,
}

impl Node {
    /// Starts everything; `spoil` comes after the simulator and before the first call.
    pub(crate) async fn start(spoil: impl FnOnce(&Simulator, &Door)) -> Self {
        let kernel = Kernel::new();
        let simulator = Arc::new(Simulator::start(cloud(&kernel)).await.unwrap());
        let door = Arc::new(Door::before(Arc::new(InMemory::to(simulator.clone()))));
        spoil(&simulator, &door);
        let config = Config::with_key(KEY, "SK", "sim1");
        let provider = provider(door.clone(), config, "i-node1".parse().unwrap()).await;
        let client = provider.client().clone();
        let (store, clock) = (Arc::new(Witness::default()), TokioClock::new());
        let parts = AgentParts {
            provider: stack().around(Arc::new(provider)),
            forwarding: None,
            tagging: None,
            programmer: Arc::new(kernel.clone()),
            addresses: None,
            enforcer: None,
            store: store.clone(),
            clock: Arc::new(clock),
            seed: 1,
        };
        let agent = Agent::start(parts, AgentConfig::new(pool())).await.unwrap();
        Self { simulator, door, client, kernel, store, clock, agent }
    }
}

/// Three vxnets; calls take a moment, so that several are under way at once, and jobs longer.
fn cloud(kernel: &Kernel) -> SimulatorConfig {
    let mut config = SimulatorConfig::new("sim1", KEY, "SK".into());
    for vxnet in ["vxnet-1=192.168.1.0/24", "vxnet-2=192.168.2.0/24", "vxnet-3=192.168.3.0/24"] {
        config.vxnets.push(vxnet.parse().unwrap());
    }
    config.instances.push("i-node1".parse().unwrap());
    config.durations = Durations { attach: secs(3), detach: secs(2), reserve: secs(1) };
    for action in crate::expected::ACTIONS {
        config.latencies.insert(action.to_owned(), Duration::from_millis(100));
    }
    config.plug = Some(Arc::new(kernel.clone()));
    config
}

/// As for a real account.
fn stack() -> Stack {
    let [four, fifty] = [4, 50].map(|n| NonZeroU32::new(n).unwrap());
    Stack::new()
        .trace()
        .retry(RetryConfig::default())
        .concurrency(Concurrency::new(four))
        .rate_limit(RateLimit::new(Rate::new(fifty, secs(1), fifty).unwrap()))
        .deadline(Deadline::default())
}

/// What a pod waits for is longer than what the cloud may take for a job.
fn pool() -> PoolConfig {
    let subnets = ["vxnet-1", "vxnet-2", "vxnet-3"].map(|id| id.parse().unwrap()).to_vec();
    PoolConfig { job_deadline: secs(20), cooling: secs(5), ..PoolConfig::new(subnets) }
}

/// A store that remembers every NIC that was ever recorded.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    inner: MemoryStore,
    seen: Mutex<BTreeSet<NicId>>,
}

impl Witness {
    pub(crate) fn seen(&self) -> BTreeSet<NicId> {
        self.seen.lock().unwrap().clone()
    }
}

#[async_trait]
impl StateStore for Witness {
    async fn load(&self) -> Result<State> {
        self.inner.load().await
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let put = |write: &Write| if let Write::PutNic(nic) = write { Some(nic.id.clone()) } else { None };
        self.seen.lock().unwrap().extend(writes.iter().filter_map(put));
        self.inner.commit(writes).await
    }
}
