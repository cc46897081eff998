//! One cell of the table: a burst with one fault, from the first call to the last NIC that is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::sim::When;
use hostnic_qingcloud::simulator::{FaultRule, Simulator};

use crate::burst::Pod;
use crate::door::Door;
use crate::expected::{Cell, Moment};
use crate::node::{KEY, Node};
use crate::{aftermath, burst};

/// How long a key stays bad that is not bad for the whole burst.
const REVOKED: Duration = Duration::from_secs(20);

/// How long a lasting fault lasts after the last DEL.
const AFTERWARDS: Duration = Duration::from_secs(120);

/// How often the cloud ends jobs that stick; seldom enough for no ADD to see it.
const UNSTUCK: Duration = Duration::from_secs(300);

/// How many ADDs ended in which way, and what is wrong.
pub(crate) type Seen = (BTreeMap<&'static str, usize>, Vec<String>);

/// A burst where nothing goes wrong, and how often it calls each action.
pub(crate) async fn without_faults() -> (Seen, BTreeMap<String, u64>) {
    let node = Node::start(|_, _| {}).await;
    let pods = burst::add_all(&node).await;
    let mut wrong = expected_were("ok", &pods);
    wrong.extend(after(&node, &pods, None).await);
    let calls = node.simulator.counts();
    wrong.extend(aftermath::nothing_left(&node).await);
    ((burst::outcomes(&pods), wrong), calls)
}

/// Runs a cell. `calls` is how often its action is called where nothing goes wrong.
pub(crate) async fn run(cell: Cell, calls: u64) -> Seen {
    let when = match cell.moment {
        Moment::First => When::Nth(1),
        Moment::Last => When::Nth(calls),
        Moment::Lasting => When::Always,
    };
    let node = Node::start(|simulator, door| inject(cell, when, simulator, door)).await;
    let gives_key_back = cell.fault == "revoke-key" && cell.moment != Moment::Lasting;
    tokio::spawn(mend(node.simulator.clone(), gives_key_back));
    let pods = burst::add_all(&node).await;
    let mut wrong = expected_were(cell.expected, &pods);
    wrong.extend(after(&node, &pods, Some(cell)).await);
    wrong.extend(aftermath::nothing_left(&node).await);
    (burst::outcomes(&pods), wrong)
}

/// The DELs, and all until nothing is in use any more.
async fn after(node: &Node, pods: &[Pod], cell: Option<Cell>) -> Vec<String> {
    let mut wrong = aftermath::served(node, pods).await;
    if let Err(error) = burst::del_all(node, pods).await {
        wrong.push(format!("a DEL failed: {}", error.chain()));
    }
    wrong.extend(aftermath::released(node).await);
    tokio::time::sleep(AFTERWARDS).await;
    if let Some(cell) = cell
        && cell.moment == Moment::Lasting
    {
        let met = node.door.refused() > 0 || node.simulator.counts().contains_key(cell.action);
        wrong.extend((!met).then(|| "no call met the fault".to_owned()));
        node.door.open();
        node.simulator.clear_faults();
        node.simulator.restore(KEY);
    }
    wrong.extend(aftermath::recovered(node).await);
    wrong.extend(aftermath::given_back(node).await);
    if node.door.refuses() || !node.simulator.faults().is_empty() {
        wrong.push("no call met the fault".to_owned());
    }
    wrong
}

fn inject(cell: Cell, when: When, simulator: &Simulator, door: &Door) {
    if cell.fault == "unreachable" {
        return door.refuse(cell.action, when);
    }
    let fault = format!("*:always:{}", cell.fault).parse::<FaultRule>().unwrap().fault;
    simulator.inject(FaultRule::new(cell.action, when, fault)).unwrap();
}

/// What does not end with the call that it met is ended by the cloud, or by whoever owns the key.
async fn mend(simulator: Arc<Simulator>, mut gives_key_back: bool) {
    let mut unstick = tokio::time::interval(UNSTUCK);
    loop {
        tokio::select! {
            _ = unstick.tick() => simulator.unstick_jobs(),
            () = tokio::time::sleep(Duration::from_secs(1)), if gives_key_back => {
                if simulator.faults().is_empty() {
                    tokio::time::sleep(REVOKED).await;
                    simulator.restore(KEY);
                    gives_key_back = false;
                }
            }
        }
    }
}

/// Whether the ADDs ended as the table says; with the words of one that did not.
fn expected_were(expected: &str, pods: &[Pod]) -> Vec<String> {
    let (word, or_ok) = expected.strip_suffix('?').map_or((expected, false), |word| (word, true));
    let seen = burst::outcomes(pods);
    let strange: Vec<_> = seen.keys().filter(|seen| **seen != "ok" && **seen != word).collect();
    if strange.is_empty() && (or_ok || seen.contains_key(word)) {
        return Vec::new();
    }
    let odd = |pod: &&Pod| strange.contains(&&burst::sign(pod)) || strange.is_empty();
    let why = pods.iter().filter(odd).find_map(|pod| Some(pod.answer.as_ref().err()?.chain().to_string()));
    vec![format!("the ADDs ended {seen:?}, not {expected}: {}", why.unwrap_or_default())]
}
