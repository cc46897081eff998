//! Keeps a pool, with its blocks, for each vxnet of `v-pool`, and what the cloud must do for that.

mod namespaces;
mod objects;
mod plan;
mod reconcile;
mod report;
mod store;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hostnic_core::NicProvider;
use hostnic_core::capability::{AddressReservation, SecurityRules};
use kube::Resource;
use kube::api::Api;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::resources::{IpPool, VxNetPool};
use crate::client::connect;
use crate::config::Access;
use crate::error::ConnectError;
use crate::follow::events_of;
use reconcile::Reconciler;
use store::Store;

/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// The cloud, as far as vxnets and their addresses go.
#[derive(Debug, Clone)]
pub struct PoolCloud {
    /// Tells of vxnets and jobs.
    pub provider: Arc<dyn NicProvider>,
    /// Claims addresses, so that the cloud gives them to nobody else.
    pub addresses: Arc<dyn AddressReservation>,
    /// What lets pods' packets into the cluster's machines, and the group that they are in, where it has one.
    pub security: Option<(Arc<dyn SecurityRules>, String)>,
}

/// Makes of each vxnet of the VxNetPool `v-pool` an IPPool and IPAMBlocks, after it has claimed the vxnet's addresses, and takes them
/// away when a vxnet is no longer there and nobody uses it.
///
/// Everything is found again in the cloud and the cluster, so it can be ended at any moment. There may be only one at work in a
/// cluster.
pub struct PoolController {
    store: Store,
    reconciler: Reconciler,
}

impl fmt::Debug for PoolController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolController").finish_non_exhaustive()
    }
}

impl PoolController {
    /// Reads how to reach the API server. Waits for no answer of it.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn new(access: &Access, cloud: PoolCloud) -> Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        let store = Store { asker };
        Ok(Self { reconciler: Reconciler::new(store.clone(), cloud), store })
    }

    /// Works until `stop`. What fails is logged, told in the status of `v-pool`, and tried again.
    pub async fn run(mut self, stop: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let mut watches = JoinSet::new();
        watches.spawn(tell(self.store.all::<VxNetPool>(), "VxNetPools", changed.clone()));
        watches.spawn(tell(self.store.all::<IpPool>(), "IPPools", changed.clone()));
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
async fn tell<K>(objects: Api<K>, what: &'static str, changed: Arc<Notify>)
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let mut events = pin!(events_of(objects, watcher::Config::default(), what));
    while events.next().await.is_some() {
        changed.notify_one();
    }
}
