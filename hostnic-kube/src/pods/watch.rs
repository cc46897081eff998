//! Keeps the cache as the API server has it.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use kube::Client;
use kube::runtime::watcher::{Config, Event};

use super::Cache;
use super::object;
use crate::config::NodeName;
use crate::follow::events_of;

/// Follows the pods that are bound to the node, for ever.
pub(crate) async fn follow(client: Client, node: NodeName, cache: Arc<Cache>) {
    let config = Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = std::pin::pin!(events_of(object::all(client), config, "the pods of this node"));
    let mut listed = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => Cache::gather(&mut listed, &pod),
            Event::InitDone => cache.replace(std::mem::take(&mut listed)),
            Event::Apply(pod) => cache.put(&pod),
            Event::Delete(pod) => cache.remove(&pod),
        }
    }
}
