//! `hostnic-daemon start`: from flags to a node that serves, until a signal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use hostnic_cni::contract::DEFAULT_SOCKET;
use hostnic_core::agent::{AgentConfig, AgentParts};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::id::InstanceId;
use hostnic_core::policy::PolicyName;
use hostnic_core::pool::PoolConfig;
use hostnic_core::store::{BootId, HostId, Identity, Opened, RedbStore};
use hostnic_core::{Error, Result};
use hostnic_netlink::programmer::POD_FOLDERS;
use hostnic_netlink::{NetlinkProgrammer, Netns};
use tokio::signal::unix::{SignalKind, signal};

use crate::simulated::{SimSubnet, SimulatedCloud};
use crate::telemetry::{self, LogFormat};
use crate::{Node, seed};

/// Where a daemon keeps its records unless told.
pub(super) const DEFAULT_STORE: &str = "/run/hostnic/state.redb";

/// How long requests that are under way may take when the daemon is told to stop.
const DRAIN: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// A cloud simulated by this process, with links and packets of this kernel.
    Sim,
}

#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// The cloud.
    #[arg(long, value_enum)]
    provider: Provider,
    /// A subnet of the simulated cloud, as in vxnet-a=192.168.50.0/24; may be repeated.
    #[arg(long = "sim-subnet", value_name = "ID=PREFIX", default_value = "vxnet-sim=192.168.50.0/24")]
    sim_subnets: Vec<SimSubnet>,
    /// How long the simulated cloud takes to attach or detach NICs, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    sim_job_ms: u64,
    /// The cloud's id of this machine.
    #[arg(long, value_name = "ID", default_value = "i-sim")]
    instance: InstanceId,
    /// Where to listen for the CNI plugin.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Where to keep records. They must survive the daemon, not the machine: a tmpfs is best.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_STORE)]
    store: PathBuf,
    /// Fewer free NICs than this, and more are made.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pool_low: u32,
    /// More free NICs than this, and some are given back.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pool_high: u32,
    /// The most NICs of this node, at most 63.
    #[arg(long, value_name = "N", default_value_t = PoolConfig::NIC_LIMIT)]
    max_nics: u32,
    /// How the subnet of the next NIC is chosen: FailRotate, RoundRotate or Random.
    #[arg(long, value_name = "NAME", default_value_t = PolicyName::FailRotate)]
    policy: PolicyName,
    /// What to log: a level, or directives such as warn,hostnic_core::pool=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// The form of a log line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

impl Start {
    pub(super) fn run(&self) -> std::result::Result<(), String> {
        telemetry::begin(&self.log_level, self.log_format)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(self.serve()).map_err(|error| error.chain().to_string())
    }

    async fn serve(&self) -> Result<()> {
        let terminate = |kind| {
            signal(kind)
                .map_err(|e| Error::new(hostnic_core::ErrorKind::Internal, "catch", "signals").source(e))
        };
        let (mut term, mut int) = (terminate(SignalKind::terminate())?, terminate(SignalKind::interrupt())?);
        let Provider::Sim = self.provider;
        let own = Netns::current()?;
        let folder = std::env::temp_dir().join(format!("hostnic-sim-{}", std::process::id()));
        let job = Duration::from_millis(self.sim_job_ms);
        let simulated = SimulatedCloud::start(
            &folder,
            &self.sim_subnets,
            std::slice::from_ref(&self.instance),
            job,
            seed()?,
        )
        .await?;
        let served = self.serve_pods(&simulated, own, async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        });
        let served = served.await;
        // Also after a failure: its namespaces would outlive the process otherwise.
        let ended = simulated.fabric().shutdown().await;
        served.and(ended)
    }

    /// Serves until `stop` ends.
    async fn serve_pods(
        &self,
        simulated: &SimulatedCloud,
        own: Netns,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        simulated.adopt_node(self.instance.clone(), own.try_clone()?).await?;
        let parts = AgentParts {
            provider: simulated.provider(&self.instance),
            programmer: Arc::new(NetlinkProgrammer::new(own, POD_FOLDERS.map(PathBuf::from).to_vec()).await?),
            store: Arc::new(self.open_store().await?),
            clock: Arc::new(SystemClock),
            seed: seed()?,
        };
        let mut node = Node::start(parts, AgentConfig::new(self.pool()), &self.socket).await?;
        tracing::info!(socket = %self.socket.display(), store = %self.store.display(), "serving");
        let failed = tokio::select! {
            () = stop => None,
            error = node.failed() => Some(error),
        };
        tracing::info!("stopping");
        node.stop(DRAIN).await;
        failed.map_or(Ok(()), Err)
    }

    async fn open_store(&self) -> Result<RedbStore> {
        let host = HostId::new(self.instance.as_str())?;
        let identity = Identity { boot: BootId::of_this_boot()?, host };
        let (store, opened) = RedbStore::open(&self.store, identity, SystemClock.now()).await?;
        if opened != Opened::Existing {
            tracing::info!(store = %self.store.display(), ?opened, "the records begin anew; pods and NICs are looked for");
        }
        Ok(store)
    }

    fn pool(&self) -> PoolConfig {
        PoolConfig {
            low: self.pool_low,
            high: self.pool_high,
            max_nics: self.max_nics,
            policy: self.policy,
            ..PoolConfig::new(self.sim_subnets.iter().map(|s| s.id.clone()).collect())
        }
    }
}
