//! Thirty ADDs in three waves, and thirty DELs at once, as runtimes send them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use hostnic_core::agent::{AddAnswer, AddRequest, ByHost, DelRequest};
use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::clock::Clock;
use hostnic_core::pods::PodWishes;
use hostnic_core::{ErrorKind, QuotaScope, Result};

use crate::node::Node;

/// How many pods, in waves of so many, so long after each other.
const PODS: usize = 30;
const WAVE: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// How long a runtime waits for an ADD.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pod, and what its runtime was told.
pub(crate) struct Pod {
    pub(crate) key: AttachmentKey,
    pub(crate) netns: NetnsPath,
    pub(crate) answer: Result<AddAnswer>,
}

/// Adds the pods of the burst, and waits for all answers.
pub(crate) async fn add_all(node: &Node) -> Vec<Pod> {
    let added = (0..PODS).map(|n| async move {
        let wave = u32::try_from(n / WAVE).unwrap();
        tokio::time::sleep(PAUSE * wave).await;
        add(node, &format!("pod{n}")).await
    });
    join_all(added).await
}

/// Adds one pod.
pub(crate) async fn add(node: &Node, name: &str) -> Pod {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: name.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    let netns = NetnsPath::new(format!("/run/netns/{name}")).unwrap();
    node.kernel.add_sandbox(&netns);
    let request = AddRequest {
        key: key.clone(),
        netns: netns.clone(),
        pod: None,
        wishes: PodWishes::default(),
        routes: Vec::new(),
        by_host: ByHost::default(),
        mtu: None,
        started: node.clock.now(),
        patience: PATIENCE,
    };
    Pod { key, netns, answer: node.agent.add(request).await }
}

/// Deletes pods, all at once, also those whose ADD failed.
pub(crate) async fn del_all(node: &Node, pods: &[Pod]) -> Result<()> {
    let deleted = pods.iter().map(|pod| {
        let started = node.clock.now();
        node.agent.del(DelRequest { key: pod.key.clone(), netns: Some(pod.netns.clone()), started })
    });
    join_all(deleted).await.into_iter().collect::<Result<()>>()
}

/// How many ADDs ended in which way.
pub(crate) fn outcomes(pods: &[Pod]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        *counts.entry(sign(pod)).or_default() += 1;
    }
    counts
}

/// How an ADD ended, as the table of what is expected says it.
pub(crate) fn sign(pod: &Pod) -> &'static str {
    let Err(error) = &pod.answer else { return "ok" };
    match error.kind() {
        ErrorKind::Exhausted => "e",
        ErrorKind::Quota(QuotaScope::Account) => "qa",
        ErrorKind::Quota(QuotaScope::Instance) => "qi",
        ErrorKind::Quota(QuotaScope::Subnet) => "qs",
        ErrorKind::Throttled { .. } => "r",
        ErrorKind::Transient => "t",
        ErrorKind::Unauthorised => "u",
        // No ADD of these pods may fail so.
        _ => "?",
    }
}
