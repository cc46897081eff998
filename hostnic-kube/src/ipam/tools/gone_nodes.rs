//! Addresses of nodes that are gone for good. A node gives back itself what its pods had; one that no longer exists cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use hostnic_core::Result;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, PartialObjectMeta};
use tokio::time::{Instant, sleep};

use super::IpamTools;
use super::check::Finding;
use super::inventory::SeenBlock;
use crate::error::api_error;
use crate::ipam::addresses::{NAMESPACE, NODE, POD, UID, is_stock};
use crate::ipam::block::Holder;
use crate::ipam::resources::IpamBlock;
use crate::pods::Placed;

/// For how long an address must have looked like one of a node that is gone before it is given back.
pub const GONE_FOR: Duration = Duration::from_secs(10 * 60);

/// The namespace in which kubelets say that they live.
const SIGNS_OF_LIFE: &str = "kube-node-lease";

/// Gives back addresses of nodes that are gone, once each has looked so for [`GONE_FOR`]: what a pod or the stock of such a node had.
/// What a pod had goes only when that pod is gone as well, or is on another node. Nothing of a node is touched that exists, nor of
/// one whose kubelet still says that it lives.
#[derive(Debug)]
pub struct GoneNodes {
    tools: IpamTools,
    suspicions: BTreeMap<Suspect, Since>,
}

/// An address that may be one of a node that is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Suspect {
    block: String,
    address: Ipv4Addr,
    handle: String,
    node: String,
}

/// Since when it looks so, and what its kubelet said last then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Since {
    at: Instant,
    sign: Option<String>,
}

/// What was given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenBack {
    /// The nodes that are gone.
    pub nodes: BTreeSet<String>,
    /// How many addresses that were.
    pub addresses: usize,
}

impl GoneNodes {
    /// Suspects nobody yet.
    pub fn new(tools: IpamTools) -> Self {
        Self { tools, suspicions: BTreeMap::new() }
    }

    /// Looks again and again. `given_back` is told of what was given back. What fails is logged, and tried at the next look; what was
    /// suspected stays so. Dropping the future ends it.
    pub async fn keep(mut self, mut given_back: impl FnMut(&GivenBack) + Send) -> Infallible {
        loop {
            match self.look(Instant::now()).await {
                Ok(done) if done.addresses > 0 => given_back(&done),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "addresses of nodes that are gone cannot be looked for; trying again in ten minutes");
                }
            }
            sleep(GONE_FOR).await;
        }
    }

    /// Looks once, at the moment `now`, and gives back what has looked so for long enough. Blocks are read one page at a time, and pods
    /// only where there is somebody to suspect.
    ///
    /// # Errors
    /// Of the first request that failed: nothing is given back because a question failed. What came before is done.
    pub async fn look(&mut self, now: Instant) -> Result<GivenBack> {
        let suspects = self.suspects().await?;
        let signs = self.signs(&suspects).await?;
        let due = judge(&mut self.suspicions, suspects, &signs, now);
        let findings: Vec<Finding> = due
            .iter()
            .map(|suspect| Finding::Leaked {
                block: suspect.block.clone(),
                address: suspect.address,
                handle: suspect.handle.clone(),
                because: format!("node {} is gone", suspect.node),
            })
            .collect();
        if findings.is_empty() {
            return Ok(GivenBack::default());
        }
        let addresses = self.tools.repair(&findings).await?;
        Ok(GivenBack { nodes: due.into_iter().map(|suspect| suspect.node).collect(), addresses })
    }

    /// All addresses that look like ones of nodes that are gone.
    async fn suspects(&self) -> Result<BTreeSet<Suspect>> {
        let mut nodes: BTreeMap<String, String> = BTreeMap::new();
        self.tools
            .each("nodes", |node: PartialObjectMeta<Node>| {
                nodes.insert(node.name_any(), node.uid().unwrap_or_default());
            })
            .await?;
        if nodes.is_empty() {
            // Whoever asks runs on one.
            return Ok(BTreeSet::new());
        }
        let (mut suspects, mut of_pods) = (BTreeSet::new(), BTreeMap::new());
        self.tools
            .each("IPAMBlocks", |object: IpamBlock| {
                let Some(block) = SeenBlock::of(&object).block else { return };
                for (address, holder) in block.held() {
                    let Some(node) = gone_node(holder, &nodes) else { continue };
                    let (block, handle) = (object.name_any(), holder.handle.clone());
                    let suspect = Suspect { block, address, handle, node: node.to_owned() };
                    match pod(holder) {
                        Some(pod) => drop(of_pods.insert(suspect, pod)),
                        None => drop(suspects.insert(suspect)),
                    }
                }
            })
            .await?;
        if of_pods.is_empty() {
            return Ok(suspects);
        }
        let pods = crate::pods::all_placed(self.tools.asker.client.clone());
        let mut there: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
        let named: BTreeSet<&(String, String)> = of_pods.values().collect();
        self.tools
            .each_of(&pods, "pods", |pod: Placed| {
                let name = (pod.namespace().unwrap_or_default(), pod.name_any());
                if named.contains(&name) {
                    there.insert(name, pod.spec.node());
                }
            })
            .await?;
        let left = |suspect: &Suspect, pod: &(String, String)| match there.get(pod) {
            None => true,
            Some(placed) => placed.as_ref().is_some_and(|placed| *placed != suspect.node),
        };
        suspects.extend(of_pods.iter().filter(|(suspect, pod)| left(suspect, pod)).map(|(s, _)| s.clone()));
        Ok(suspects)
    }

    /// What the kubelet of each suspected node said last.
    async fn signs(&self, suspects: &BTreeSet<Suspect>) -> Result<BTreeMap<String, Option<String>>> {
        let leases: Api<Lease> = Api::namespaced(self.tools.asker.client.clone(), SIGNS_OF_LIFE);
        let mut signs = BTreeMap::new();
        let nodes: BTreeSet<&String> = suspects.iter().map(|suspect| &suspect.node).collect();
        for node in nodes {
            let found = self.tools.asker.ask(leases.get_opt(node)).await;
            let lease =
                found.map_err(|error| api_error("read the lease of", format_args!("node {node}"), error))?;
            signs.insert(node.clone(), lease.and_then(|lease| lease.metadata.resource_version));
        }
        Ok(signs)
    }
}

/// The node of a holder, where there is none of that name; of a stock, also where it is another one by now.
fn gone_node<'a>(holder: &'a Holder, nodes: &BTreeMap<String, String>) -> Option<&'a str> {
    let told = |name: &str| holder.attributes.get(name);
    let node = told(NODE).filter(|node| !node.is_empty())?;
    let gone = match nodes.get(node) {
        None => is_stock(&holder.handle) || pod(holder).is_some(),
        Some(uid) => is_stock(&holder.handle) && told(UID).is_some_and(|told| told != uid),
    };
    gone.then_some(node)
}

/// The pod that a holder is; `None` for a stock, and where it does not say which.
fn pod(holder: &Holder) -> Option<(String, String)> {
    if is_stock(&holder.handle) {
        return None;
    }
    let told = |name: &str| holder.attributes.get(name).cloned();
    told(NAMESPACE).zip(told(POD))
}

/// Those that have looked so for long enough. One that does not look so any more, or whose kubelet spoke since, is begun with anew.
fn judge(
    suspicions: &mut BTreeMap<Suspect, Since>,
    suspects: BTreeSet<Suspect>,
    signs: &BTreeMap<String, Option<String>>,
    now: Instant,
) -> Vec<Suspect> {
    let since = |suspect: &Suspect| {
        let sign = signs.get(&suspect.node).cloned().flatten();
        // A lease that goes is no sign of life.
        let silent = |known: &&Since| sign.is_none() || known.sign == sign;
        let at = suspicions.get(suspect).filter(silent).map_or(now, |known| known.at);
        Since { at, sign }
    };
    let known: BTreeMap<Suspect, Since> =
        suspects.into_iter().map(|suspect| (suspect.clone(), since(&suspect))).collect();
    let due = known.iter().filter(|(_, since)| now.saturating_duration_since(since.at) >= GONE_FOR);
    let due = due.map(|(suspect, _)| suspect.clone()).collect();
    *suspicions = known;
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(node: &str) -> Suspect {
        let (block, handle) = ("4100-10-0-0-0-28".to_owned(), format!("h-{node}"));
        Suspect { block, address: "10.0.0.3".parse().unwrap(), handle, node: node.to_owned() }
    }

    fn signs(all: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
        all.iter().map(|(node, sign)| ((*node).to_owned(), sign.map(str::to_owned))).collect()
    }

    #[test]
    fn only_what_looks_so_for_long_and_in_silence_is_due() {
        let (mut known, start) = (BTreeMap::new(), Instant::now());
        let mut look = |nodes: &[&str], told: &[(&str, Option<&str>)], minutes: u64| {
            let suspects = nodes.iter().map(|node| suspect(node)).collect();
            let now = start + Duration::from_secs(60 * minutes);
            let due = judge(&mut known, suspects, &signs(told), now);
            due.into_iter().map(|suspect| suspect.node).collect::<Vec<_>>()
        };
        let silent = [("a", None), ("b", Some("7")), ("c", None)];
        assert_eq!(look(&["a", "b", "c"], &silent, 0), [""; 0]);
        assert_eq!(look(&["a", "b"], &silent, 9), [""; 0]);
        // One was back meanwhile, and the kubelet of another one speaks.
        assert_eq!(look(&["a", "b", "c"], &[("a", None), ("b", Some("8")), ("c", None)], 10), ["a"]);
        assert_eq!(look(&["b", "c"], &[("b", Some("8")), ("c", None)], 19), [""; 0]);
        // A lease that was taken away says nothing.
        assert_eq!(look(&["b", "c"], &[("b", None), ("c", None)], 20), ["b", "c"]);
    }

    #[test]
    fn a_living_node_is_not_suspected() {
        let nodes = [("lives".to_owned(), "u1".to_owned())].into();
        let holder = |handle: &str, told: &[(&str, &str)]| Holder {
            handle: handle.to_owned(),
            attributes: told.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let of_pod = |node| holder("n-p-c", &[(NAMESPACE, "n"), (POD, "p"), (NODE, node)]);
        let of_stock = |node, uid| holder("hostnic-stock-u", &[(NODE, node), (UID, uid)]);
        let gone = |holder: &Holder| gone_node(holder, &nodes).is_some();
        assert!(!gone(&of_pod("lives")) && gone(&of_pod("dead")));
        assert!(
            !gone(&of_stock("lives", "u1"))
                && gone(&of_stock("lives", "u0"))
                && gone(&of_stock("dead", "u2"))
        );
        // Whose it is cannot be told.
        assert!(
            !gone(&holder("n-p-c", &[(NODE, "dead")]))
                && !gone(&holder("n-p-c", &[(NAMESPACE, "n"), (POD, "p")]))
        );
    }
}
