//! Whether the cluster has a VxNetPool that counts: its nodes share NICs then.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::watcher::{Config, Event};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::Asker;
use crate::follow::events_of;
use crate::ipam::resources::{V_POOL, VxNetPool};

/// How often a cluster is asked that does not know of such objects.
const NONE_YET: Duration = Duration::from_secs(30);
/// How soon it is asked again when it could not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether there is a VxNetPool `v-pool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VPool {
    /// The API server has not said so yet.
    Unknown,
    /// There is none, or the cluster does not know of such objects.
    Absent,
    /// There is one.
    Present,
}

/// Follows it. Never ends.
pub(crate) async fn follow(asker: Asker, told: watch::Sender<VPool>) {
    let api: Api<PartialObjectMeta<VxNetPool>> = Api::all(asker.client.clone());
    let only = format!("metadata.name={V_POOL}");
    // A watch does not tell that there is nothing to watch.
    while let Err(kube::Error::Api(status)) = asker.ask(api.list(&ListParams::default().fields(&only))).await
    {
        if matches!(status.code, 403 | 404) {
            told.send_replace(VPool::Absent);
            sleep(NONE_YET).await;
        } else {
            sleep(AGAIN).await;
        }
    }
    let config = Config::default().fields(&only);
    let mut events = pin!(events_of(api, config, "VxNetPool v-pool"));
    let mut listed = VPool::Absent;
    while let Some(event) = events.next().await {
        let now = match event {
            Event::Init => {
                listed = VPool::Absent;
                continue;
            }
            Event::InitApply(_) => {
                listed = VPool::Present;
                continue;
            }
            Event::InitDone => listed,
            Event::Apply(_) => VPool::Present,
            Event::Delete(_) => VPool::Absent,
        };
        told.send_if_modified(|known| std::mem::replace(known, now) != now);
    }
}
