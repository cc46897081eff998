//! Follows the node's annotation, and chooses where it says nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostnic_core::error::{Error, ErrorKind, Result};
use hostnic_core::id::SubnetId;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::claims::Ledger;
use super::plan::{Member, Reading, read, settle};
use super::{ChoiceRules, NoSubnet, NodeSubnet};
use crate::annotation::VXNET;
use crate::client::Asker;
use crate::config::NodeName;
use crate::error::api_error;
use crate::events::{Notice, Reporter, Severity};
use crate::node::NodeView;

/// How often a node without a subnet looks whether there is room.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How many nodes are listed by one request.
const PAGE: u32 = 500;
/// How long one attempt may wait for its turn: then it is told that a choice is difficult, and goes on.
const CONTENTION: u32 = 60;

pub(crate) struct Chooser {
    pub(crate) asker: Asker,
    pub(crate) node: NodeName,
    pub(crate) rules: ChoiceRules,
    pub(crate) reporter: Reporter,
}

/// Keeps `told` as the node's annotation has it, and sees to an annotation where there is none. For ever.
pub(crate) async fn choose(
    chooser: Chooser,
    mut view: watch::Receiver<NodeView>,
    told: watch::Sender<NodeSubnet>,
) {
    let mut pause = Pause::default();
    loop {
        view.mark_unchanged();
        let Some(reading) = reading_of(&view, &chooser.rules) else {
            // What was in force stays in force.
            if view.changed().await.is_err() {
                return;
            }
            continue;
        };
        let before = Some(reading.clone());
        let wait = match reading {
            Reading::Use(subnet) => {
                chooser.tell(&told, NodeSubnet::Known(subnet));
                pause = Pause::default();
                None
            }
            Reading::None(why) => {
                chooser.tell(&told, NodeSubnet::None(why));
                None
            }
            Reading::Choose => Some(match chooser.attempt().await {
                // The watch will show the annotation; if it does not, this is done again, and costs nothing.
                Ok(Some(_)) => LOOK_AGAIN,
                Ok(None) => {
                    pause = Pause::default();
                    chooser.tell(&told, NodeSubnet::None(chooser.full()));
                    LOOK_AGAIN
                }
                Err(error) => {
                    let pause = pause.next();
                    warn!("no vxnet chosen yet for this node: {}", error.chain());
                    pause
                }
            }),
        };
        // A change of anything else on the node is no reason to try again at once.
        let changed = async {
            loop {
                match view.changed().await {
                    Ok(()) if reading_of(&view, &chooser.rules) == before => {}
                    outcome => return outcome.is_ok(),
                }
            }
        };
        let goes_on = match wait {
            Some(wait) => timeout(wait, changed).await.unwrap_or(true),
            None => changed.await,
        };
        if !goes_on {
            return;
        }
    }
}

fn reading_of(view: &watch::Receiver<NodeView>, rules: &ChoiceRules) -> Option<Reading> {
    match &*view.borrow() {
        NodeView::Seen(seen) => Some(read(seen.annotation.as_deref(), rules)),
        NodeView::Unknown | NodeView::Missing => None,
    }
}

/// Pauses that grow from one failure to the next.
#[derive(Debug, Default)]
struct Pause(u32);

impl Pause {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_secs(1 << self.0.min(4));
        self.0 += 1;
        pause
    }
}

impl Chooser {
    fn full(&self) -> NoSubnet {
        NoSubnet::Full {
            subnets: self.rules.subnets.clone(),
            nodes_per_subnet: self.rules.nodes_per_subnet(),
        }
    }

    /// Tells it where it is news.
    fn tell(&self, told: &watch::Sender<NodeSubnet>, now: NodeSubnet) {
        let news = told.send_if_modified(|was| {
            let news = *was != now;
            *was = now.clone();
            news
        });
        if !news {
            return;
        }
        match now {
            NodeSubnet::Known(subnet) => info!("pods of this node get NICs in {subnet}"),
            NodeSubnet::None(why) => {
                warn!("{why}");
                let notice =
                    Notice { severity: Severity::Warning, reason: "NoVxnet", message: why.to_string() };
                self.reporter.node(notice);
            }
            NodeSubnet::Unknown => {}
        }
    }

    /// Claims a subnet and annotates the node with it; `None` where none has room.
    async fn attempt(&self) -> Result<Option<SubnetId>> {
        for round in 0..CONTENTION {
            match self.claim().await {
                Err(error) if error.kind() == ErrorKind::Conflict => sleep(jitter(round)).await,
                outcome => return outcome,
            }
        }
        Err(Error::new(ErrorKind::Transient, "choose a vxnet for node", &self.node)
            .detail("other nodes are choosing as well; it is tried again"))
    }

    /// One round; `Conflict` where another node, or a person, was faster.
    async fn claim(&self) -> Result<Option<SubnetId>> {
        // In this order: a claim that is not read any more has become an annotation by then.
        let ledger = Ledger::read(&self.asker).await?;
        let nodes = self.members().await?;
        let Some(me) = nodes.iter().find(|node| node.name == self.node.as_str()) else {
            return Err(Error::new(ErrorKind::NotFound, "choose a vxnet for node", &self.node)
                .detail("the cluster has no node of this name any more"));
        };
        if let Reading::Use(subnet) = read(me.annotation.as_deref(), &self.rules) {
            return Ok(Some(subnet));
        }
        let settled = settle(&ledger.claims, &nodes, me, &self.rules, seconds());
        if settled.claims != ledger.claims {
            ledger.write(&self.asker, &settled.claims).await?;
        }
        if let Some(subnet) = &settled.subnet {
            self.annotate(me, subnet).await?;
            let message =
                format!("{subnet} was chosen for this node, as its annotation {VXNET} named none of vxNets");
            self.reporter.node(Notice { severity: Severity::Normal, reason: "VxnetChosen", message });
        }
        Ok(settled.subnet)
    }

    async fn members(&self) -> Result<Vec<Member>> {
        let nodes: Api<PartialObjectMeta<Node>> = Api::all(self.asker.client.clone());
        let mut page = ListParams::default().limit(PAGE);
        let mut members = vec![];
        loop {
            let list = self.asker.ask(nodes.list(&page)).await.map_err(|e| api_error("list", "nodes", e))?;
            members.extend(list.items.into_iter().filter_map(member));
            // All pages are of the moment of the first.
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(members),
            }
        }
    }

    async fn annotate(&self, me: &Member, subnet: &SubnetId) -> Result<()> {
        let nodes: Api<PartialObjectMeta<Node>> = Api::all(self.asker.client.clone());
        // With the version, the API server refuses to replace what a person wrote in the meantime.
        let patch = json!({
            "metadata": { "resourceVersion": me.version, "annotations": { VXNET: subnet } },
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let answer = self.asker.ask(nodes.patch_metadata(&me.name, &params, &patch)).await;
        answer.map(drop).map_err(|e| api_error("annotate node", &me.name, e))
    }
}

fn member(node: PartialObjectMeta<Node>) -> Option<Member> {
    let meta = node.metadata;
    Some(Member {
        name: meta.name?,
        uid: meta.uid?,
        created: meta.creation_timestamp.map(|time| time.0),
        annotation: meta.annotations.and_then(|mut all| all.remove(VXNET)),
        version: meta.resource_version,
    })
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A pause that is different on each node and grows with the rounds: up to 50 ms at first, up to 1 s later.
fn jitter(round: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let longest = 50 << round.min(4);
    // Keys of the standard library's maps are random: the only randomness there is without a crate more.
    Duration::from_millis(RandomState::new().hash_one(round) % longest + 5)
}
