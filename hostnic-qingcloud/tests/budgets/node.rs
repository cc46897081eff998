//! A node: agent, pool and layers as the daemon has them.

use std::num::NonZeroU32;
use std::sync::Arc;

use hostnic_core::NicProvider;
use hostnic_core::agent::{AddRequest, Agent, AgentConfig, AgentParts, ByHost};
use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::clock::{Clock, TokioClock};
use hostnic_core::layer::{Concurrency, Deadline, Rate, RateLimit, RetryConfig, Stack};
use hostnic_core::ledger::{AddressState, NicState};
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::sim::Kernel;
use hostnic_core::store::MemoryStore;

use crate::account::Account;
use crate::secs;

/// What lives on when its agent does not.
pub(crate) struct Node {
    provider: Arc<dyn NicProvider>,
    kernel: Kernel,
    store: MemoryStore,
    clock: TokioClock,
    pool: PoolConfig,
    seed: u64,
}

impl Node {
    /// The account's node `n`, with this pool.
    pub(crate) async fn new(account: &Account, n: usize, pool: PoolConfig) -> Self {
        let seed = 1000 * n as u64;
        Self {
            provider: layers(seed).around(Arc::new(account.provider(n).await)),
            kernel: account.kernels[n].clone(),
            store: MemoryStore::default(),
            clock: TokioClock::new(),
            pool,
            seed,
        }
    }

    pub(crate) async fn start(&mut self) -> Agent {
        self.seed += 1;
        let parts = AgentParts {
            provider: self.provider.clone(),
            forwarding: None,
            tagging: None,
            programmer: Arc::new(self.kernel.clone()),
            addresses: None,
            enforcer: None,
            store: Arc::new(self.store.clone()),
            clock: Arc::new(self.clock),
            seed: self.seed,
        };
        Agent::start(parts, AgentConfig::new(self.pool.clone())).await.unwrap()
    }

    /// Starts, and waits until the pool is filled.
    pub(crate) async fn warm(&mut self) -> Agent {
        let agent = self.start().await;
        agent.ready().await;
        self.filled(&agent).await;
        agent
    }

    /// Waits until the pool has what it wants, or the node carries all it may, and nothing is under way.
    pub(crate) async fn filled(&self, agent: &Agent) {
        let mut changes = agent.changes();
        let filled = || {
            let nics = agent.nics();
            let free = nics.iter().flat_map(|nic| &nic.addresses);
            let free = free.filter(|address| matches!(address.state, AddressState::Free { .. })).count();
            nics.iter().all(|nic| nic.state == NicState::Ready)
                && (free >= self.pool.low as usize || nics.len() >= self.pool.max_nics as usize)
        };
        let wait = async {
            while !filled() {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(secs(600), wait).await.is_err() {
            panic!("the pool is not filled: {:?}", agent.nics());
        }
    }

    /// One pod.
    pub(crate) async fn add(&self, agent: &Agent, pod: usize) {
        let netns = NetnsPath::new(format!("/run/netns/p{pod}")).unwrap();
        self.kernel.add_sandbox(&netns);
        let key = AttachmentKey {
            network: "net".parse().unwrap(),
            container: format!("p{pod}").parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let started = self.clock.now();
        let (routes, patience) = (Vec::new(), secs(60));
        agent
            .add(AddRequest {
                key,
                netns,
                pod: None,
                wishes: PodWishes::default(),
                routes,
                by_host: ByHost::default(),
                mtu: None,
                started,
                patience,
            })
            .await
            .unwrap();
    }

    /// So many pods, all at once.
    pub(crate) async fn add_pods(&self, agent: &Agent, count: usize) {
        futures::future::join_all((0..count).map(|pod| self.add(agent, pod))).await;
    }
}

/// The layers that the daemon puts around its provider: five calls a second, twenty at once after a quiet time, eight
/// at a time.
fn layers(seed: u64) -> Stack {
    let number = |n| NonZeroU32::new(n).unwrap();
    Stack::new()
        .trace()
        .retry(RetryConfig::default().with_seed(seed))
        .concurrency(Concurrency::new(number(8)))
        .rate_limit(RateLimit::new(Rate::new(number(5), secs(1), number(20)).unwrap()))
        .deadline(Deadline::default())
}

/// The usual pool over these vxnets.
pub(crate) fn pool(vxnets: &[String]) -> PoolConfig {
    let id = |vxnet: &String| vxnet.split('=').next().unwrap().parse().unwrap();
    PoolConfig::new(vxnets.iter().map(id).collect())
}

/// Two vxnets.
pub(crate) fn two_vxnets() -> Vec<String> {
    ["vxnet-a=192.168.1.0/24", "vxnet-b=192.168.2.0/24"].map(str::to_owned).into()
}
