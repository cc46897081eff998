//! What must be true after a burst, whatever went wrong during it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hostnic_core::RouteProgrammer;
use hostnic_core::store::StateStore;
use hostnic_qingcloud::api::{NicQuery, VipQuery};

use crate::burst::{Pod, add, del_all};
use crate::node::Node;

/// How long the pool may take to get rid of everything: its longest pause is some ten minutes.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Every pod that was given a NIC has it, and no two have the same. A NIC that the cloud lost meanwhile is nobody's
/// fault here.
pub(crate) async fn served(node: &Node, pods: &[Pod]) -> Vec<String> {
    let kernel = node.kernel.observe().await.unwrap();
    let cloud = node.simulator.cloud().snapshot();
    let mut wrong = Vec::new();
    let mut given = BTreeSet::new();
    for (pod, answer) in pods.iter().filter_map(|pod| Some((pod, pod.answer.as_ref().ok()?))) {
        if !given.insert(answer.lease.address) {
            wrong.push(format!("{} was given twice", answer.lease.address));
        }
        let has = kernel.pods.iter().any(|link| {
            link.netns == pod.netns
                && link.mac == answer.lease.mac
                && link.addresses.contains(&answer.lease.address)
        });
        if !has && cloud.contains_key(&answer.lease.nic) {
            wrong.push(format!("{} does not have what it was told", pod.key));
        }
    }
    wrong
}

/// Waits until no record names a pod.
pub(crate) async fn released(node: &Node) -> Vec<String> {
    let mut changes = node.agent.changes();
    let ended = async {
        while !node.agent.leases().is_empty() {
            changes.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), ended).await.is_ok() {
        return Vec::new();
    }
    vec![format!("{} leases do not end", node.agent.leases().len())]
}

/// How often, and after which pauses, a runtime repeats an ADD: for longer than a subnet or the cloud is set aside.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_secs(15);

/// Whether the node serves again, by itself.
pub(crate) async fn recovered(node: &Node) -> Vec<String> {
    let mut last = String::new();
    for attempt in 0..TRIES {
        let pod = add(node, &format!("after{attempt}")).await;
        let told = pod.answer.as_ref().map(drop).map_err(|error| error.chain().to_string());
        if let Err(error) = del_all(node, &[pod]).await {
            return vec![format!("a DEL failed afterwards: {}", error.chain())];
        }
        match told {
            Ok(()) => return Vec::new(),
            Err(error) => last = error,
        }
        tokio::time::sleep(PAUSE).await;
    }
    vec![format!("no pod is served any more: {last}")]
}

/// Has everything given back.
pub(crate) async fn given_back(node: &Node) -> Vec<String> {
    let mut wrong = released(node).await;
    let left = node.agent.drain(PATIENCE).await;
    if left > 0 {
        wrong.push(format!("{left} NICs could not be given back: {:?}", node.agent.nics()));
    }
    wrong
}

/// What is left, or was made twice.
pub(crate) async fn nothing_left(node: &Node) -> Vec<String> {
    let mut wrong = cloud(node).await;
    wrong.extend(records_and_kernel(node).await);
    wrong.extend(doubled(node));
    wrong
}

async fn cloud(node: &Node) -> Vec<String> {
    let operation = node.client.operation();
    let mut nics = operation.describe_nics(&NicQuery::default()).await.unwrap();
    nics.retain(|nic| nic.role != Some(1));
    let vips = operation.describe_vips(&VipQuery::default()).await.unwrap();
    let jobs = operation.running_jobs().await.unwrap();
    let nics = nics.iter().map(|nic| format!("NIC {} ({}) is left", nic.nic_id, nic.status));
    let vips = vips.iter().map(|vip| format!("{vip:?} is left"));
    let jobs = jobs.iter().map(|job| format!("{} of {} is not over", job.job_id, job.job_action));
    nics.chain(vips).chain(jobs).collect()
}

async fn records_and_kernel(node: &Node) -> Vec<String> {
    let state = node.store.load().await.unwrap();
    let kernel = node.kernel.observe().await.unwrap();
    let records = [state.nics.len(), state.leases.len(), state.intents.len()];
    let primary = node.simulator.cloud().snapshot().into_values().map(|nic| nic.mac).collect::<BTreeSet<_>>();
    let links = kernel.host.iter().filter(|link| !primary.contains(&link.mac)).count() + kernel.pods.len();
    let mut wrong = Vec::new();
    if records != [0, 0, 0] {
        wrong.push(format!(
            "records are left: {} NICs, {} leases, {} creates",
            records[0], records[1], records[2]
        ));
    }
    if links > 0 {
        wrong.push(format!("{links} links are left"));
    }
    wrong
}

/// No create was carried out twice, and every NIC that was made was known to the node.
fn doubled(node: &Node) -> Vec<String> {
    let mut made: BTreeMap<String, (u32, usize)> = BTreeMap::new();
    for call in node.simulator.history() {
        if call.action == "CreateNics" && call.carried_out {
            let (times, nics) = made.entry(call.parameters["nic_name"].clone()).or_default();
            *times += 1;
            *nics += call.parameters["count"].parse::<usize>().unwrap();
        }
    }
    let twice = made.iter().filter(|(_, (times, _))| *times > 1);
    let mut wrong: Vec<_> =
        twice.map(|(name, (times, _))| format!("{name} was created {times} times")).collect();
    let (made, known) = (made.values().map(|(_, nics)| nics).sum::<usize>(), node.store.seen().len());
    if made != known {
        wrong.push(format!("{made} NICs were made, and {known} were ever recorded"));
    }
    wrong
}
