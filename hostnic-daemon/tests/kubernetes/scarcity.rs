//! More pods than NICs: they wait for their turn, and hardly one of them on a node that cannot serve it.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cloud::VXNETS;
use crate::daemon::{Daemon, Settings, Way};
use crate::pod::Wanted;
use crate::process::{Process, until, within};
use crate::scale::scaled;
use crate::stage::Stage;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("pods_wait_for_nics_where_max_nic_is_reached_and_hardly_one_fails", full)]
}

const MOST: u32 = 3;
const TAINT: &str = "hostnic.network.kubesphere.io/no-nic";

fn full(world: &'static World) {
    let settings = Settings {
        low: 0,
        high: MOST,
        most: MOST,
        ..Settings::new(Way::Veth { hairpin: false }, VXNETS[0]).in_cluster()
    };
    let stage = Stage::set(world, &[settings.clone(), settings]);
    let failed = || stage.daemons.iter().map(Daemon::failed_adds).sum::<usize>();
    let failed_before = failed();
    let taints = Taints::watch(world);
    let count = scaled(70).max(12);
    let pods: Vec<Value> = (0..count).map(|number| Wanted::new(&format!("many-{number}")).object()).collect();
    world.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}));
    until("as many run as there are NICs", || (running(world).len() == 2 * MOST as usize).then_some(()));
    until("the nodes say that they have no NIC", || (tainted(world) == 2).then_some(()));
    let at_first = failed() - failed_before;
    println!("    {count} pods at once on two nodes with {MOST} NICs each: {at_first} ADDs failed");
    // Each makes way for another, until all have run.
    let mut ran = BTreeSet::new();
    within(crate::process::PATIENCE * 6, "every pod has run", || {
        let new: Vec<String> = running(world).into_iter().filter(|name| ran.insert(name.clone())).collect();
        if !new.is_empty() {
            let names: Vec<&str> = new.iter().map(String::as_str).collect();
            let delete = [&["delete", "pod", "--wait=false"], &names[..]].concat();
            world.cluster.kubectl(&delete).unwrap();
        }
        (ran.len() == count as usize).then_some(())
    });
    let (failed, put) = (failed() - failed_before, taints.end());
    println!("    all {count} ran, one after another: {failed} ADDs failed, {put} times a node was tainted");
    assert!(failed <= put, "more than one for each taint");
    until("the nodes have NICs again", || (tainted(world) == 0).then_some(()));
    stage.end();
}

/// The names of the pods that run.
fn running(world: &World) -> Vec<String> {
    let told = world.cluster.get(&["pods", "--field-selector=status.phase=Running"]);
    let pods = told["items"].as_array().unwrap().iter();
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods.filter(stays).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// How many nodes say that they have no NIC.
fn tainted(world: &World) -> usize {
    let nodes = world.cluster.get(&["nodes"]);
    let tainted = |node: &&Value| {
        let taints = node["spec"]["taints"].as_array();
        taints.is_some_and(|all| all.iter().any(|taint| taint["key"] == TAINT))
    };
    nodes["items"].as_array().unwrap().iter().filter(tainted).count()
}

/// Hears of each change of the nodes' taints.
struct Taints(Process);

impl Taints {
    fn watch(world: &World) -> Self {
        let told = "jsonpath={.metadata.name} {.spec.taints[*].key}{\"\\n\"}";
        let mut command: Command = world.cluster.command();
        command.args(["get", "nodes", "--watch", "--output", told]);
        let log = world.host.folder().join("taints.log");
        let _ = std::fs::remove_file(&log);
        let process = Process::start(command, &log, false);
        until("the nodes are watched", || (process.said().lines().count() >= 2).then_some(()));
        Self(process)
    }

    /// Ends it; answers how often a node was tainted.
    fn end(self) -> usize {
        let said = self.0.said();
        self.0.ends_by(Signal::SIGTERM);
        let mut now = BTreeSet::new();
        let mut put = 0;
        for line in said.lines() {
            let (node, taints) = line.split_once(' ').unwrap();
            if !taints.contains(TAINT) {
                now.remove(node);
            } else if now.insert(node) {
                put += 1;
            }
        }
        put
    }
}
