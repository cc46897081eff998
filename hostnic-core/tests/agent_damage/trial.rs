//! One trial: twenty pods, a damaged store, a start, and whatever runtimes may ask then.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use hostnic_core::agent::AddAnswer;
use hostnic_core::store::Opened;
use tokio::time::{sleep, timeout};

use super::damage::{Damage, Draw};
use super::node::{Daemon, Node, identity};
use super::support::{Pod, secs};

/// What stores came to that were damaged in one way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) trials: u32,
    pub(crate) exact: u32,
    pub(crate) another_boot: u32,
    new: u32,
    aside: u32,
}

impl Tally {
    pub(crate) fn note(&mut self, opened: Opened) {
        self.trials += 1;
        match opened {
            Opened::Existing => self.exact += 1,
            Opened::AnotherBoot => self.another_boot += 1,
            Opened::New => self.new += 1,
            Opened::AnotherHost { .. } | Opened::Damaged { .. } => self.aside += 1,
        }
    }

    /// How many began empty.
    pub(crate) fn rebuilt(&self) -> u32 {
        self.new + self.aside
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trials, exact, another_boot, new, aside } = self;
        write!(
            f,
            "{trials:>5} trials: {exact} read exactly, {aside} kept aside, {new} begun anew, {another_boot} taken over as \
             history; all pods found, all deleted"
        )
    }
}

/// Damages the store of a node with twenty pods and starts again. What must hold is asserted; how the store was opened is
/// answered.
pub(crate) async fn trial(damage: &Damage, seed: u64) -> Opened {
    let mut draw = Draw::seeded(seed);
    let mut node = Node::new();
    let daemon = node.serving().await;
    node.end(daemon, draw.below(2) == 0).await;
    damage.apply(&node.files, &mut draw);
    let daemon = node.start(identity(damage)).await;
    if let Opened::Damaged { kept_aside } | Opened::AnotherHost { kept_aside } = &daemon.opened {
        assert!(kept_aside.exists(), "{} is not kept", kept_aside.display());
    }
    let deleted = match draw.below(3) {
        0 => asked_again_at_once(&node, &daemon).await,
        1 => deleted_at_once(&node, &daemon, &mut draw).await,
        _ => BTreeSet::new(),
    };
    all_found(&node, &daemon, &deleted).await;
    let newcomers = served(&node, &daemon, &deleted).await;
    all_deleted(&node, &daemon, &newcomers, &mut draw).await;
    let Daemon { agent, store, opened } = daemon;
    agent.stop().await;
    node.world.agree_on(&store.load().await.unwrap()).await;
    opened
}

/// Runtimes repeat their ADDs, and start new pods, before the daemon can know what there is.
async fn asked_again_at_once(node: &Node, daemon: &Daemon) -> BTreeSet<Pod> {
    let new = node.world.pods("eager", 2);
    let again = node.pods.iter().chain(&new).map(|pod| node.world.add(&daemon.agent, pod));
    let answers = futures::future::join_all(again).await;
    let mut answers = answers.into_iter().map(Result::unwrap);
    let repeated: Vec<AddAnswer> = answers.by_ref().take(node.pods.len()).collect();
    assert_eq!(repeated, node.answers);
    for (pod, answer) in new.iter().zip(answers) {
        let address = answer.lease.address;
        assert!(
            node.answers.iter().all(|other| other.lease.address != address),
            "{address} is another pod's"
        );
        node.has(daemon, pod, &answer).await;
        node.del(daemon, pod, true).await.unwrap();
    }
    BTreeSet::new()
}

/// Some pods are deleted before the daemon can know of them; the namespaces of some of those are not told.
async fn deleted_at_once(node: &Node, daemon: &Daemon, draw: &mut Draw) -> BTreeSet<Pod> {
    let mut deleted = BTreeSet::new();
    for pod in node.pods.iter().filter(|_| draw.below(4) == 0).cloned().collect::<Vec<_>>() {
        node.del(daemon, &pod, draw.below(2) == 0).await.unwrap();
        deleted.insert(pod);
    }
    deleted
}

/// Every pod that was not deleted has what it had, and whatever is asked about it is answered so.
async fn all_found(node: &Node, daemon: &Daemon, deleted: &BTreeSet<Pod>) {
    timeout(secs(60), daemon.agent.ready()).await.expect("it gets ready");
    daemon.agent.compare_now().await.unwrap();
    daemon.agent.dels_ended().await;
    for (pod, answer) in node.pods.iter().zip(&node.answers) {
        if deleted.contains(pod) {
            let left = daemon.agent.leases().into_iter().find(|lease| lease.mark == pod.key.mark());
            assert_eq!(left, None, "{} was deleted", pod.key);
            continue;
        }
        node.has(daemon, pod, answer).await;
        assert_eq!(&node.world.add(&daemon.agent, pod).await.unwrap(), answer);
        node.has(daemon, pod, answer).await;
    }
    assert_eq!(daemon.agent.leases().len(), node.pods.len() - deleted.len());
}

/// New pods get addresses that nobody has.
async fn served(node: &Node, daemon: &Daemon, deleted: &BTreeSet<Pod>) -> Vec<Pod> {
    let new = node.world.pods("new", 5);
    let running = node.pods.iter().zip(&node.answers).filter(|(pod, _)| !deleted.contains(pod));
    let mut given: BTreeSet<IpAddr> = running.map(|(_, answer)| answer.lease.address.addr()).collect();
    for pod in &new {
        let answer = node.world.add(&daemon.agent, pod).await.unwrap();
        assert!(given.insert(answer.lease.address.addr()), "{} is another pod's", answer.lease.address);
        node.has(daemon, pod, &answer).await;
    }
    new
}

/// The DEL of each pod works, once and again, and leaves nothing.
async fn all_deleted(node: &Node, daemon: &Daemon, newcomers: &[Pod], draw: &mut Draw) {
    for pod in node.pods.iter().chain(newcomers) {
        node.del(daemon, pod, draw.below(2) == 0).await.unwrap();
        node.del(daemon, pod, true).await.unwrap();
    }
    assert_eq!(daemon.agent.leases(), []);
    node.pods_are_empty().await;
    sleep(secs(200)).await;
    daemon.agent.compare_now().await.unwrap();
    daemon.quiet().await;
}
