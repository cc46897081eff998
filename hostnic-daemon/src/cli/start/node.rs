//! Serving: the node of the settings, until a signal.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::agent::{AgentConfig, AgentParts};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::id::InstanceId;
use hostnic_core::ipam::AddressSource;
use hostnic_core::ledger::LeaseRecord;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, PodDatapath};
use hostnic_core::store::{BootId, HostId, Identity, Opened, RedbStore, StateStore};
use hostnic_core::{Error, Result};
use hostnic_netlink::programmer::POD_FOLDERS;
use hostnic_netlink::{NetlinkProgrammer, Netns};

use super::capabilities;
use super::cloud::Cloud;
use super::company::Company;
use super::earlier;
use super::gateways::gateways;
use super::kubernetes::InCluster;
use super::listeners::listeners;
use super::mode::{Mode, mode};
use super::services::Services;
use super::sysctls;
use crate::cni_file::CniFile;
use crate::facts::Facts;
use crate::settings::{ModeChoice, Settings, datapath_name};
use crate::signals::Signals;
use crate::{AddressBook, Node, Observer, Surroundings, Waiting, seed};

/// How long requests that are under way, and then the giving back of NICs, may take together when the daemon is told to
/// stop.
const DRAIN: Duration = Duration::from_secs(120);

/// What a daemon on Kubernetes waits for first.
const ASKED: &str = "the API server is asked which cluster this is";

/// Serves until a signal.
pub(super) async fn serve(
    cloud: &Cloud,
    settings: &Settings,
    mut pool: PoolConfig,
    observer: Arc<Observer>,
    signals: &mut Signals,
    company: &mut Company,
) -> Result<()> {
    let (socket, store) = (&settings.socket.value, &settings.store.value);
    capabilities::check()?;
    let cni_file = cni_file(settings)?;
    let mut cluster = match settings.kubernetes.enabled.value {
        true => Some(InCluster::connect(settings).await?),
        false => None,
    };
    let listeners = listeners(settings).await?;
    let (cluster_id, services, v_pool, waiting) = match &mut cluster {
        Some(cluster) => {
            earlier::tell();
            let waiting = Waiting::listen(&listeners, observer.clone(), ASKED).await?;
            let known = tokio::select! {
                known = told(cluster, settings, &waiting) => Some(known),
                () = signals.next() => None,
                () = waiting.told_to_end() => None,
            };
            let Some(known) = known else {
                waiting.end().await;
                return Ok(());
            };
            (Some(known.id), known.services, known.v_pool, Some(waiting))
        }
        None => (None, Services::of(settings), false, None),
    };
    let records = open_store(store, cloud.instance(), cluster_id.as_deref()).await?;
    let leases: Vec<LeaseRecord> = records.load().await?.leases.into_values().collect();
    let Mode { datapath, veth, because } = mode(settings, &services, &leases, v_pool);
    tracing::info!(mode = datapath_name(datapath), %because, "how pods are joined to their NICs");
    sysctls::tell(veth.is_some());
    match &mut cluster {
        // What is shared is made when a pod needs it.
        _ if datapath == Datapath::Shared => (pool.low, pool.high, pool.subnets) = (0, 0, Vec::new()),
        Some(cluster) => tokio::select! {
            subnets = cluster.first_subnets() => pool.subnets = subnets,
            () = signals.next() => return Ok(()),
        },
        None => {}
    }
    let may_change = settings.mode.value == ModeChoice::Auto && datapath != Datapath::Shared;
    // Pods that share NICs may be left of a mode before this one.
    let shares = |lease: &LeaseRecord| matches!(lease.plan.datapath, PodDatapath::Shared(_));
    let addresses = match &mut cluster {
        Some(cluster) if datapath == Datapath::Shared || leases.iter().any(shares) => tokio::select! {
            addresses = cluster.addresses(waiting.as_ref()) => Some(addresses),
            () = signals.next() => return Ok(()),
        },
        _ => None,
    };
    if addresses.is_some() {
        capabilities::check_shared()?;
    }
    let book = addresses.as_ref().map(|addresses| Arc::new(addresses.figures()) as Arc<dyn AddressBook>);
    let folders = POD_FOLDERS.map(PathBuf::from).to_vec();
    let programmer = NetlinkProgrammer::new(Netns::current()?, folders).await?.wherever_mounted();
    let parts = AgentParts {
        provider: cloud.provider(),
        forwarding: Some(cloud.forwarding()),
        tagging: Some(cloud.tagging()),
        programmer: Arc::new(programmer),
        addresses: addresses.map(|addresses| Arc::new(addresses) as Arc<dyn AddressSource>),
        enforcer: cluster.as_ref().and_then(|cluster| cluster.enforcer(settings)),
        store: Arc::new(records),
        clock: Arc::new(SystemClock),
        seed: seed()?,
    };
    let config = AgentConfig {
        datapath,
        veth,
        gateways: Some(gateways(settings)),
        node_sync: settings.node_sync.value,
        policy_fail_open: settings.kubernetes.policy_fail_open.value,
        ..AgentConfig::new(pool)
    };
    let surroundings = Surroundings {
        pods: cluster.as_ref().map(InCluster::pods),
        mode_because: because,
        addresses: book,
        ..Surroundings::new(observer)
    };
    if let Some(waiting) = waiting {
        waiting.end().await;
    }
    let mut node = Node::start_in(parts, config, listeners, surroundings).await?;
    let [tcp, manage] = [node.tcp_address(), node.manage_address()].map(in_words);
    tracing::info!(socket = %socket.display(), tcp, manage, store = %store.display(), "serving");
    let facts = node.facts().clone();
    let failed = tokio::select! {
        () = signals.next() => None,
        () = node.told_to_end() => None,
        error = node.failed() => Some(error),
        error = in_step(cluster.as_mut(), &facts, may_change) => Some(error),
        never = keep(cni_file.as_ref(), &facts) => match never {},
        never = company.keep(&facts) => match never {},
    };
    company.part();
    if let Some(cluster) = cluster {
        cluster.end().await;
    }
    tracing::info!("stopping");
    if settings.cleanup_cache_on_exit.value && failed.is_none() {
        give_back(node, signals).await;
    } else {
        node.stop(DRAIN).await;
    }
    failed.map_or(Ok(()), Err)
}

/// What a node has to know of its cluster before it can be set up.
#[derive(Debug)]
struct Known {
    id: String,
    services: Services,
    /// Whether the cluster has vxnets whose NICs pods share.
    v_pool: bool,
}

async fn told(cluster: &mut InCluster, settings: &Settings, waiting: &Waiting) -> Known {
    let id = cluster.identity(waiting).await;
    waiting
        .waits_for("the API server is asked which vxnet is this node's, and which addresses services have");
    let services = match Services::are_asked_for(settings) {
        true => cluster.services().await,
        false => Services::of(settings),
    };
    Known { id, services, v_pool: cluster.has_v_pool().await }
}

/// Stops with as few NICs as there are pods. Whoever cannot wait for that sends another signal.
async fn give_back(node: Node, signals: &mut Signals) {
    tokio::select! {
        left = node.stop_emptied(DRAIN) => match left {
            0 => tracing::info!("the NICs that no pod has are given back"),
            left => tracing::warn!(left, "NICs that no pod has could not be given back in time; the next start finds them"),
        },
        () = signals.next() => {
            tracing::warn!("told to stop again: NICs that are not given back yet are kept for the next start")
        }
    }
}

/// The CNI file of the settings, which is none of another boot from now on; `None` where none is asked for.
fn cni_file(settings: &Settings) -> Result<Option<CniFile>> {
    let Some(folder) = &settings.kubernetes.cni_conf_dir.value else { return Ok(None) };
    let file = CniFile::new(folder, &settings.cni, BootId::of_this_boot()?);
    match file.clear() {
        Ok(true) => {
            tracing::info!(folder = %folder.display(), "a CNI file from before is removed until pods can be served")
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "the CNI file cannot be looked at"),
    }
    Ok(Some(file))
}

async fn keep(file: Option<&CniFile>, facts: &Facts) -> Infallible {
    match file {
        Some(file) => file.keep(facts).await,
        None => std::future::pending().await,
    }
}

async fn in_step(cluster: Option<&mut InCluster>, facts: &Facts, may_change: bool) -> Error {
    match cluster {
        Some(cluster) => cluster.keep(facts, may_change).await,
        None => std::future::pending().await,
    }
}

/// Opens the records of this host in this cluster; those of another one are history.
async fn open_store(path: &Path, instance: &InstanceId, cluster: Option<&str>) -> Result<RedbStore> {
    let host = match cluster {
        Some(cluster) => HostId::new(format!("{instance}:{cluster}"))?,
        None => HostId::new(instance.as_str())?,
    };
    let identity = Identity { boot: BootId::of_this_boot()?, host };
    let (store, opened) = RedbStore::open(path, identity, SystemClock.now()).await?;
    if opened != Opened::Existing {
        tracing::info!(store = %path.display(), ?opened, "the records begin anew; pods and NICs are looked for");
    }
    Ok(store)
}

fn in_words(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "nowhere".to_owned(), |address| address.to_string())
}
