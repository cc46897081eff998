//! The node's object as the API server has it.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use kube::api::{Api, ApiResource, Object};
use kube::runtime::watcher::{Config, Event};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::sync::watch;

use super::plan::{CONDITION, RESOURCE, says_scarce};
use crate::annotation::VXNET;
use crate::config::NodeName;
use crate::follow::events_of;

/// What is known of the node's object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeView {
    /// The API server has not been reached yet.
    Unknown,
    /// There is none.
    Missing,
    Seen(Box<Seen>),
}

impl NodeView {
    /// Whether the object says that the node is short of NICs; `None` while it is not known.
    pub(crate) fn scarce(&self) -> Option<bool> {
        match self {
            Self::Seen(seen) => Some(says_scarce(&seen.taints)),
            Self::Unknown | Self::Missing => None,
        }
    }
}

/// What is read of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) annotation: Option<String>,
    pub(super) version: Option<String>,
    /// Whole, also what is unknown here: a list of taints is written as a whole.
    pub(super) taints: Vec<Value>,
    pub(super) condition: Option<NodeCondition>,
    pub(super) capacity: Option<String>,
    pub(super) allocatable: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Spec {
    #[serde(default)]
    taints: Vec<Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<NodeCondition>,
    #[serde(default)]
    capacity: BTreeMap<String, Quantity>,
    #[serde(default)]
    allocatable: BTreeMap<String, Quantity>,
}

type OwnNode = Object<Spec, Status>;

fn seen(node: OwnNode) -> Seen {
    let status = node.status.unwrap_or_default();
    let amount = |mut all: BTreeMap<String, Quantity>| all.remove(RESOURCE).map(|amount| amount.0);
    Seen {
        annotation: node.metadata.annotations.and_then(|mut all| all.remove(VXNET)),
        version: node.metadata.resource_version,
        taints: node.spec.taints,
        condition: status.conditions.into_iter().find(|condition| condition.type_ == CONDITION),
        capacity: amount(status.capacity),
        allocatable: amount(status.allocatable),
    }
}

/// Follows the node's own object, for ever.
pub(crate) async fn follow(client: Client, node: NodeName, view: watch::Sender<NodeView>) {
    let nodes: Api<OwnNode> = Api::all_with(client, &ApiResource::erase::<Node>(&()));
    let config = Config::default().fields(&format!("metadata.name={node}"));
    let mut events = std::pin::pin!(events_of(nodes, config, "this node's object"));
    let mut listed = None;
    let tell = |now: NodeView| {
        view.send_if_modified(|was| {
            let news = *was != now;
            *was = now;
            news
        });
    };
    while let Some(event) = events.next().await {
        match event {
            Event::Init => listed = None,
            Event::InitApply(node) => listed = Some(Box::new(seen(node))),
            Event::InitDone => tell(listed.take().map_or(NodeView::Missing, NodeView::Seen)),
            Event::Apply(node) => tell(NodeView::Seen(Box::new(seen(node)))),
            Event::Delete(_) => tell(NodeView::Missing),
        }
    }
}
