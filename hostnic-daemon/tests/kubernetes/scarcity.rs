//! More pods than NICs.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cloud::VXNETS;
use crate::daemon::{Settings, Way};
use crate::pod::Wanted;
use crate::process::until;
use crate::scale::scaled;
use crate::stage::Stage;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("pods_wait_for_nics_where_max_nic_is_reached_and_are_told_so", full)]
}

const MOST: u32 = 3;

fn full(world: &'static World) {
    let settings = Settings {
        low: 0,
        high: MOST,
        most: MOST,
        ..Settings::new(Way::Veth { hairpin: false }, VXNETS[0]).in_cluster()
    };
    let stage = Stage::set(world, &[settings.clone(), settings]);
    let count = scaled(70).max(20);
    let pods: Vec<Value> = (0..count).map(|number| Wanted::new(&format!("many-{number}")).object()).collect();
    world.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}));
    let running = || {
        let told = world.cluster.get(&["pods", "--field-selector=status.phase=Running"]);
        told["items"].as_array().unwrap().len()
    };
    until("as many run as there are NICs", || (running() == 2 * MOST as usize).then_some(()));
    until("the nodes say that they have no NIC", || {
        let nodes = world.cluster.get(&["nodes"]);
        let tainted = |node: &Value| {
            let taints = node["spec"]["taints"].as_array();
            taints.is_some_and(|all| {
                all.iter().any(|taint| taint["key"] == "hostnic.network.kubesphere.io/no-nic")
            })
        };
        nodes["items"].as_array()?.iter().all(tainted).then_some(())
    });
    let events = world.cluster.kubectl(&["get", "events", "--field-selector=type=Warning"]).unwrap();
    let failed = events.lines().filter(|line| line.contains("FailedCreatePodSandBox")).count();
    println!("    {count} pods on two nodes with {MOST} NICs each: {failed} pods' ADDs failed; events:");
    for line in events.lines().filter(|line| line.contains("hostnic")) {
        println!("      {line}");
    }
    stage.end();
}
