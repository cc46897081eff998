//! Two hundred pods that come and go on two nodes, with the configurations of both earlier systems: what a node does all
//! day, in a minute.
//!
//! HOSTNIC_SEED repeats the pods' lives of a run; their interleaving is the machine's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::lifecycle::gateway;
use crate::machine::Machine;
use crate::pod::{Given, Pod};
use crate::site::{Kind, Site};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("two_hundred_pods_come_and_go_on_two_nodes_and_nothing_is_left", churn)]
}

/// All pods, and how many of them live at the same time.
const PODS: usize = 200;
const AT_ONCE: usize = 16;

/// The flags of both daemons beside the policy.
const FLAGS: &str = "--vxnet vxnet-a,vxnet-b --pool-low 2 --pool-high 5 --cooling 1 --cleanup-cache-on-exit";

/// What befalls a pod between its first ADD and its last DEL.
#[derive(Debug, Clone)]
struct Life {
    number: usize,
    node: usize,
    kind: Kind,
    /// The runtime lost the answer and asks again.
    asks_again: bool,
    checked: bool,
    /// How often it is taken down and set up anew under the same id.
    returns: usize,
    /// The last DEL comes twice.
    deleted_twice: bool,
    /// The last DEL does not say where the namespace is.
    without_path: bool,
}

impl Life {
    fn draw(number: usize, chance: &mut Chance) -> Self {
        Self {
            number,
            node: chance.below(2),
            kind: if chance.one_in(2) { Kind::Qingcni } else { Kind::Hostnic },
            asks_again: chance.one_in(4),
            checked: chance.one_in(3),
            returns: if chance.one_in(4) { 1 + chance.below(2) } else { 0 },
            deleted_twice: chance.one_in(4),
            without_path: chance.one_in(5),
        }
    }
}

/// How many calls of each kind were made.
#[derive(Debug, Default)]
struct Tally {
    adds: AtomicUsize,
    dels: AtomicUsize,
    checks: AtomicUsize,
    pings: AtomicUsize,
}

/// What all pods share.
struct Town {
    site: Site,
    /// A pod on each node that stays, for the others to reach.
    anchors: [Ipv4Addr; 2],
    /// Who has which address at this moment.
    residents: Mutex<BTreeMap<Ipv4Addr, usize>>,
    tally: Tally,
}

impl Town {
    async fn call(&self, command: &str, life: &Life, pod: &Pod) -> Value {
        let counted = if command == "ADD" { &self.tally.adds } else { &self.tally.dels };
        counted.fetch_add(1, Ordering::Relaxed);
        life.kind.call(self.machine(life), command, pod).succeeds().await
    }

    fn machine(&self, life: &Life) -> &Machine {
        &self.site.machines[life.node]
    }

    /// One pod from its namespace's beginning to its end.
    async fn live(&self, life: &Life) {
        let pod = self.machine(life).pod(&format!("p{}", life.number)).await;
        for round in 0..=life.returns {
            let given = self.move_in(life, &pod).await;
            pod.ping(gateway(given.address)).await;
            pod.ping(self.anchors[1 - life.node]).await;
            self.tally.pings.fetch_add(2, Ordering::Relaxed);
            self.residents.lock().unwrap().remove(&given.address);
            let last = round == life.returns;
            self.move_out(life, &pod, last).await;
        }
        // As runtimes do, right after the DEL's answer.
        pod.end();
    }

    async fn move_in(&self, life: &Life, pod: &Pod) -> Given {
        let result = self.call("ADD", life, pod).await;
        let given = pod.agrees_with(&result);
        let before = self.residents.lock().unwrap().insert(given.address, life.number);
        assert_eq!(before, None, "{} is given to a second pod: {life:?}", given.address);
        if life.asks_again {
            assert_eq!(self.call("ADD", life, pod).await, result, "{life:?}");
        }
        // The version of CNI that qingcni configurations have knows no CHECK.
        if life.checked && life.kind == Kind::Hostnic {
            self.tally.checks.fetch_add(1, Ordering::Relaxed);
            let check = life.kind.call(self.machine(life), "CHECK", pod);
            check.with("prevResult", result).succeeds().await;
        }
        given
    }

    async fn move_out(&self, life: &Life, pod: &Pod, last: bool) {
        if last && life.without_path {
            let del = life.kind.call(self.machine(life), "DEL", pod).unset("CNI_NETNS");
            self.tally.dels.fetch_add(1, Ordering::Relaxed);
            del.succeeds().await;
        } else {
            self.call("DEL", life, pod).await;
        }
        assert!(pod.link("eth0").is_none(), "{life:?}");
        if last && life.deleted_twice {
            self.call("DEL", life, pod).await;
        }
    }
}

async fn churn() {
    let mut chance = Chance::seeded();
    let lives: Vec<Life> = (0..PODS).map(|number| Life::draw(number, &mut chance)).collect();
    let site = Site::new(&["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.51.0/24"]).await;
    let mut daemons = Vec::new();
    for (number, policy) in ["RoundRotate", "Random"].into_iter().enumerate() {
        let flags = format!("{FLAGS} --policy {policy}");
        daemons.push(site.start(number, "log", &flags.split(' ').collect::<Vec<_>>()).await);
    }
    let begun = Instant::now();
    let mut anchors = Vec::new();
    for machine in &site.machines {
        let pod = machine.pod("anchor").await;
        let given = pod.agrees_with(&Kind::Hostnic.call(machine, "ADD", &pod).succeeds().await);
        anchors.push((pod, given.address));
    }
    let town = Town {
        site,
        anchors: [anchors[0].1, anchors[1].1],
        residents: Mutex::default(),
        tally: Tally::default(),
    };
    stream::iter(&lives).for_each_concurrent(AT_ONCE, |life| town.live(life)).await;
    for (machine, (pod, _)) in town.site.machines.iter().zip(&anchors) {
        Kind::Hostnic.call(machine, "DEL", pod).succeeds().await;
        machine.until_released().await;
        pod.is_empty();
    }
    let Town { site, tally, .. } = town;
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let of_qingcni = lives.iter().filter(|life| life.kind == Kind::Qingcni).count();
    println!(
        "    {PODS} pods ({of_qingcni} with a qingcni configuration), {AT_ONCE} at once: {} ADDs, {} DELs, {} CHECKs and {} \
         pings in {:.1?}; {} calls to the cloud",
        count(&tally.adds),
        count(&tally.dels),
        count(&tally.checks),
        count(&tally.pings),
        begun.elapsed(),
        site.api.calls().await,
    );
    site.end(daemons).await;
}
