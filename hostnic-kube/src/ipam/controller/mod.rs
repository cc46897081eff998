//! Keeps a pool, with its blocks, for each vxnet of `v-pool`, and what the cloud must do for that.

mod blocks;
mod cloud;
mod lost;
mod namespaces;
mod objects;
mod plan;
mod reconcile;
mod report;
mod store;
mod take_out;
mod telling;

use std::collections::BTreeSet;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use hostnic_core::capability::{AddressReservation, SecurityRules};
use hostnic_core::{NicProvider, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Resource;
use kube::api::Api;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::mapping::CONFIG;
use super::resources::{IpPool, VxNetPool};
use crate::client::connect;
use crate::config::Access;
use crate::error::ConnectError;
use crate::events::{Notice, Speaker, Teller, Told, write};
use crate::facts::KUBE_SYSTEM;
use crate::follow::events_of;
use blocks::{Blocks, follow};
use cloud::CloudView;
use namespaces::Shares;
use reconcile::Reconciler;
use store::Store;
use telling::Telling;

/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// The cloud, as far as vxnets and their addresses go.
#[derive(Debug, Clone)]
pub struct PoolCloud {
    /// Tells of vxnets and jobs.
    pub provider: Arc<dyn NicProvider>,
    /// Claims addresses, so that the cloud gives them to nobody else.
    pub addresses: Arc<dyn AddressReservation>,
    /// What lets pods' packets into the cluster's machines, and who tells which group these are in; `None` where nothing is to.
    pub security: Option<(Arc<dyn SecurityRules>, Arc<dyn ClusterGroup>)>,
}

/// Tells which security group a cluster's machines are in.
#[async_trait]
pub trait ClusterGroup: Send + Sync + fmt::Debug {
    /// The group as it is now; `None` where there is none. It is asked for when the first vxnet is prepared, and then believed. Without
    /// effect.
    ///
    /// # Errors
    /// Those of the cloud, where it has to be asked. Only the vxnets wait then, and say so.
    async fn group(&self) -> Result<Option<String>>;
}

/// One that is known.
#[async_trait]
impl ClusterGroup for String {
    async fn group(&self) -> Result<Option<String>> {
        Ok(Some(self.clone()))
    }
}

/// Makes of each vxnet of the VxNetPool `v-pool` an IPPool and IPAMBlocks, after it has claimed the vxnet's addresses, and takes them
/// away when a vxnet is no longer there and nobody uses it. Where `subnet-auto-assign` is on, it also says which namespace has
/// which blocks.
///
/// Everything is found again in the cloud and the cluster, so it can be ended at any moment. There should be only one at work in a
/// cluster; two get in each other's way and do no harm.
pub struct PoolController {
    store: Store,
    blocks: Arc<Blocks>,
    reconciler: Reconciler,
    told: mpsc::Receiver<Told>,
}

impl fmt::Debug for PoolController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolController").finish_non_exhaustive()
    }
}

impl PoolController {
    /// Reads how to reach the API server. Waits for no answer of it. `first` is told by events on `v-pool` as soon as that is there.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn new(access: &Access, cloud: PoolCloud, first: Vec<Notice>) -> Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        let (store, blocks) = (Store { asker }, Arc::new(Blocks::default()));
        let (teller, told) = Teller::new();
        let reconciler = Reconciler {
            store: store.clone(),
            blocks: blocks.clone(),
            cloud: CloudView::new(cloud),
            shares: Shares::default(),
            telling: Telling::new(teller, first),
            said: String::new(),
            emptied: BTreeSet::new(),
        };
        Ok(Self { store, blocks, reconciler, told })
    }

    /// Works until `stop`. What fails is logged, told in the status of `v-pool`, and tried again. Dropping the future ends it at
    /// once, and all that it does.
    pub async fn run(mut self, stop: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(write(self.store.asker.clone(), Speaker::Controller, self.told));
        tasks.spawn(follow(self.store.clone(), self.blocks, changed.clone()));
        let every = watcher::Config::default;
        tasks.spawn(tell(self.store.all::<VxNetPool>(), every(), "VxNetPools", changed.clone()));
        tasks.spawn(tell(self.store.all::<IpPool>(), every(), "IPPools", changed.clone()));
        tasks.spawn(tell(self.store.all::<Namespace>(), every(), "namespaces", changed.clone()));
        let configs = Api::<ConfigMap>::namespaced(self.store.asker.client.clone(), KUBE_SYSTEM);
        let config = every().fields(&format!("metadata.name={CONFIG}"));
        tasks.spawn(tell(configs, config, "ConfigMap hostnic-ipam-config", changed.clone()));
        loop {
            let pause = tokio::select! {
                pause = self.reconciler.reconcile() => pause,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Tells of each change of these objects.
async fn tell<K>(objects: Api<K>, which: watcher::Config, what: &'static str, changed: Arc<Notify>)
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let mut events = pin!(events_of(objects, which, what));
    while events.next().await.is_some() {
        changed.notify_one();
    }
}
