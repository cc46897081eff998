//! Pods come and go while the daemons are killed again and again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::daemon::{Daemon, Settings, Way};
use crate::pod::Wanted;
use crate::process::until;
use crate::scale::scaled;
use crate::stage::Stage;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "pods_with_nics_of_their_own_come_and_go_while_daemons_are_killed_every_five_seconds",
            |world| of(world, Way::Passthrough),
        ),
        trial("pods_behind_veths_come_and_go_while_daemons_are_killed_every_five_seconds", |world| {
            of(world, Way::Veth { hairpin: false })
        }),
    ]
}

/// How many pods are made at once.
const BATCH: u32 = 10;
const EVERY: Duration = Duration::from_secs(5);

fn of(world: &'static World, way: Way) {
    let stage = Stage::set(world, &Settings::both(way));
    churn(stage);
}

fn churn(mut stage: Stage) {
    let batches = scaled(100).max(2 * BATCH) / BATCH;
    let cluster = &stage.world.cluster;
    let (over, daemons) = (AtomicBool::new(false), &mut stage.daemons);
    let (kills, last) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_until(daemons, &over));
        let mut last = Vec::new();
        for batch in 0..batches {
            let names: Vec<String> = (0..BATCH).map(|number| format!("pod-{batch}-{number}")).collect();
            let pods: Vec<Value> = names.iter().map(|name| Wanted::new(name).object()).collect();
            cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}));
            // Half of the batch before goes while this one comes.
            delete(stage.world, &std::mem::replace(&mut last, names));
            until_run(stage.world, &last);
        }
        over.store(true, Ordering::Relaxed);
        (killer.join().unwrap(), last)
    });
    for daemon in &stage.daemons {
        daemon.until_ready();
    }
    let addresses: BTreeSet<String> = last
        .iter()
        .map(|name| cluster.get(&["pod", name])["status"]["podIP"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(addresses.len(), last.len(), "each pod has an address of its own");
    let listed: usize =
        stage.daemons.iter().map(|daemon| daemon.listed("pods").as_array().unwrap().len()).sum();
    println!(
        "    {} pods came and {} went under {kills} kills; {listed} are listed",
        batches * BATCH,
        (batches - 1) * BATCH
    );
    stage.end();
}

fn delete(world: &World, names: &[String]) {
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.cluster.kubectl(&[&["delete", "pod", "--wait=false"], &names[..]].concat()).unwrap();
    }
}

fn until_run(world: &World, names: &[String]) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wait = ["wait", "pod", "--for=condition=Ready", "--timeout=120s"];
    world.cluster.kubectl(&[&wait[..], &names[..]].concat()).unwrap();
}

/// Kills the daemons in turns, and starts each again at once; answers how often.
fn kill_until(daemons: &mut [Daemon], over: &AtomicBool) -> u32 {
    let mut kills = 0;
    for turn in 0.. {
        let begun = Instant::now();
        until("the next kill", || (begun.elapsed() >= EVERY || over.load(Ordering::Relaxed)).then_some(()));
        if over.load(Ordering::Relaxed) {
            break;
        }
        let which = turn % daemons.len();
        daemons[which].restart();
        kills += 1;
    }
    kills
}
