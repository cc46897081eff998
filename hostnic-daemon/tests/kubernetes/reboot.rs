//! A node loses its power, with pods that are made anew on it.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

use crate::daemon::{Settings, Way};
use crate::pod::{Pod, Wanted};
use crate::process::until;
use crate::stage::Stage;
use crate::talk::ping;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_node_that_lost_its_power_runs_its_pods_with_nics_of_their_own_again", |world| {
            of(world, Way::Passthrough)
        }),
        trial("a_node_that_lost_its_power_runs_its_pods_behind_veths_again", |world| {
            of(world, Way::Veth { hairpin: false })
        }),
    ]
}

const REPLICAS: u32 = 5;

fn of(world: &'static World, way: Way) {
    let stage = Stage::set(world, &Settings::both(way));
    reboot(stage);
}

fn reboot(mut stage: Stage) {
    let world = stage.world;
    let [_, node] = &world.nodes;
    let [other] = stage.pods([Wanted::new("other").on("node1")]);
    let before = stage.deployment(&Wanted::new("web").app("web").on("node2"), REPLICAS);
    let boot = node.run(&["cat", "/proc/sys/kernel/random/boot_id"]);
    stage.daemons[1].is_lost();
    node.lose_power();
    world.cloud.furnish(node);
    world.cluster.boot(node);
    // kubelet is faster than the daemon.
    stage.daemons[1].begin_anew();
    let after = until("all pods run again", || running(&stage));
    assert_ne!(node.run(&["cat", "/proc/sys/kernel/random/boot_id"]), boot);
    let distinct = |what: &dyn Fn(&Pod) -> String| after.iter().map(what).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(&|pod| pod.address.to_string()), after.len(), "two pods have one address");
    let listed = stage.daemons[1].listed("pods");
    let nics: BTreeSet<&str> =
        listed.as_array().unwrap().iter().map(|pod| pod["nic"].as_str().unwrap()).collect();
    assert_eq!(nics.len(), listed.as_array().unwrap().len(), "two pods have one NIC: {listed:#}");
    for pod in &after {
        assert_eq!(ping(&other.netns, pod.address, 3, "0.1"), (3, 3), "to {}", pod.name);
    }
    println!(
        "    {} of {} pods run again after the boot, each with a NIC of its own",
        after.len(),
        before.len()
    );
    stage.end();
}

/// The Deployment's pods, once all run since the boot.
fn running(stage: &Stage) -> Option<Vec<Pod>> {
    let told = stage.world.cluster.get(&["pods", "--selector", "app=web"]);
    let pods = told["items"].as_array()?;
    let ready = |pod: &&serde_json::Value| {
        pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let pods: Vec<Pod> = pods.iter().filter(ready).filter_map(Pod::of).collect();
    (pods.len() == usize::try_from(REPLICAS).ok()?).then_some(pods)
}
