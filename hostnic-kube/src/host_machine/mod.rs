//! The label that says which machine of the cloud a node runs on, so that pods can be spread over machines.

mod plan;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use hostnic_core::Result;
use hostnic_core::capability::HostMachines;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, Object, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::client::{Asker, connect};
use crate::config::{Access, NodeName};
use crate::error::{ConnectError, api_error};
use crate::events::{About, Notice, Severity, Speaker, Teller, write};
use crate::follow::events_of;
use plan::{Change, LABEL, Seen, changes};

/// How often the cloud is asked: a node may be moved to another machine while it runs.
const EVERY: Duration = Duration::from_secs(30 * 60);
/// How soon after a node has come or was started, and how soon again after a failure. Nodes that come together are one question.
const SOON: Duration = Duration::from_secs(30);
/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Spec {}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    addresses: Vec<Address>,
    #[serde(default)]
    node_info: Info,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Address {
    #[serde(rename = "type")]
    of: String,
    address: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Info {
    #[serde(rename = "bootID", default)]
    boot: String,
}

type AnyNode = Object<Spec, Status>;

fn seen(node: AnyNode) -> (String, Seen) {
    let status = node.status.unwrap_or_default();
    let own = status.addresses.iter().filter(|address| address.of == "InternalIP");
    let seen = Seen {
        addresses: own.filter_map(|address| address.address.parse().ok()).collect(),
        boot: status.node_info.boot,
        label: node.metadata.labels.and_then(|mut labels| labels.remove(LABEL)),
    };
    (node.metadata.name.unwrap_or_default(), seen)
}

/// Keeps the label `topology.kubernetes.io/hostmachine` of the cluster's nodes as the cloud says it is.
///
/// The cloud is asked when this begins, every half hour, and soon after a node has come or was started anew. What the cloud says wins
/// over what stands there, which is told by an event on the node; where it says nothing, the label stays as it is.
pub struct HostLabels {
    asker: Asker,
    cloud: Arc<dyn HostMachines>,
    cluster: String,
}

impl fmt::Debug for HostLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostLabels").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl HostLabels {
    /// For the nodes of a cluster, by the cloud's name for it. Asks nobody yet.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn new(
        access: &Access,
        cloud: Arc<dyn HostMachines>,
        cluster: impl Into<String>,
    ) -> Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        Ok(Self { asker, cloud, cluster: cluster.into() })
    }

    /// Does it. What fails is logged and tried again. Dropping the future ends it; a write that is under way is done or not.
    pub async fn keep(self) -> Infallible {
        let (teller, told) = Teller::new();
        let nodes: Api<AnyNode> = Api::all_with(self.asker.client.clone(), &ApiResource::erase::<Node>(&()));
        let events = pin!(events_of(nodes, Config::default(), "nodes"));
        tokio::select! {
            never = self.follow(events, &teller) => never,
            // It ends with the teller.
            () = write(self.asker.clone(), Speaker::Controller, told) => std::future::pending().await,
        }
    }

    async fn follow(
        &self,
        mut events: impl Stream<Item = Event<AnyNode>> + Unpin,
        teller: &Teller,
    ) -> Infallible {
        let mut nodes: BTreeMap<String, Seen> = BTreeMap::new();
        let mut listing = None;
        let mut due: Option<Instant> = None;
        loop {
            let sooner = |due: Option<Instant>| {
                let soon = Instant::now() + SOON;
                Some(due.map_or(soon, |due| due.min(soon)))
            };
            tokio::select! {
                Some(event) = events.next() => match event {
                    Event::Init => listing = Some(BTreeMap::new()),
                    Event::InitApply(node) => {
                        if let Some(listing) = &mut listing {
                            let (name, seen) = seen(node);
                            listing.insert(name, seen);
                        }
                    }
                    Event::InitDone => {
                        let before = std::mem::replace(&mut nodes, listing.take().unwrap_or_default());
                        let news = nodes.iter().any(|(name, seen)| seen.is_new(before.get(name)));
                        due = if before.is_empty() { Some(Instant::now()) } else if news { sooner(due) } else { due };
                    }
                    Event::Apply(node) => {
                        let (name, seen) = seen(node);
                        if seen.is_new(nodes.get(&name)) {
                            due = sooner(due);
                        }
                        nodes.insert(name, seen);
                    }
                    Event::Delete(node) => drop(nodes.remove(&node.metadata.name.unwrap_or_default())),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let next = match self.look(&nodes, teller).await {
                        Ok(()) => EVERY,
                        Err(error) => {
                            tracing::warn!(error = %error.chain(), "the host machines of nodes are not known; trying again");
                            SOON
                        }
                    };
                    due = Some(Instant::now() + next);
                }
            }
        }
    }

    /// Asks the cloud once, and labels the nodes that differ.
    async fn look(&self, nodes: &BTreeMap<String, Seen>, teller: &Teller) -> Result<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        let machines: BTreeMap<IpAddr, String> = self.cloud.host_machines(&self.cluster).await?;
        for Change { node, machine, before } in changes(nodes, &machines) {
            self.label(&node, &machine).await?;
            tracing::info!(%node, %machine, before = before.as_deref().unwrap_or("-"), "the node's host machine is labelled");
            if let (Some(before), Ok(name)) = (before, NodeName::new(&node)) {
                let message = format!("the node runs on host machine {machine} now; its label said {before}");
                let notice = Notice { severity: Severity::Normal, reason: "HostMachineChanged", message };
                teller.event(About::node(&name), notice);
            }
        }
        Ok(())
    }

    async fn label(&self, node: &str, machine: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.asker.client.clone());
        let patch = Patch::Merge(json!({ "metadata": { "labels": { LABEL: machine } } }));
        match self.asker.ask(nodes.patch_metadata(node, &PatchParams::default(), &patch)).await {
            // It left meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done.map(drop).map_err(|error| api_error("label", format_args!("node {node}"), error)),
        }
    }
}
