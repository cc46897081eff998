//! Pods of a namespace whose blocks nobody has made.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::cluster_mode::ClusterMode;
use super::{NAMESPACES, apply, mapping, running};
use crate::pod::{Pod, Wanted};
use crate::process::within;
use crate::world::World;

/// Document 002's blocks have 64 addresses, and its pool makes those of 32.
const AS_PRINTED: u8 = 26;

/// How soon a pod is told, which then waits for another minute at least.
const SOON: Duration = Duration::from_secs(20);

/// Makes a pod in each of the namespaces whose blocks are wrong, sees it told why it has no address, and lets it run by
/// naming blocks that there are.
pub(super) fn told_and_mended(world: &World, mode: &ClusterMode, names: [&str; 2]) -> [Pod; 2] {
    mode.map(&mapping(AS_PRINTED));
    let pods = NAMESPACES.map(|namespace| namespace.name).into_iter().zip(names);
    for (namespace, name) in pods.clone() {
        apply(world, namespace, &Wanted::new(name).on("node1"));
    }
    for namespace in &NAMESPACES {
        let message = within(SOON, "an event tells which block is missing", || {
            let of_pods = "--field-selector=involvedObject.kind=Pod,type=Warning,reason=AddressBlockMissing";
            let told = world.cluster.get(&["-n", namespace.name, "events", of_pods]);
            Some(told["items"].as_array()?.last()?["message"].as_str()?.to_owned())
        });
        for block in namespace.blocks(AS_PRINTED) {
            assert!(message.contains(&block), "{block} is not named: {message}");
        }
        println!("    namespace {}: {message}", namespace.name);
    }
    for (namespace, name) in pods.clone() {
        let pod = world.cluster.get(&["-n", namespace, &format!("pod/{name}")]);
        assert_eq!(pod["status"]["podIP"], Value::Null, "{name} has an address of no block");
    }
    mode.map(&mapping(super::BLOCK_SIZE));
    let mended = Instant::now();
    let pods: Vec<Pod> = pods.map(|(namespace, name)| running(world, namespace, name)).collect();
    println!("    they run {:.1} s after the mapping was mended", mended.elapsed().as_secs_f64());
    pods.try_into().unwrap()
}
