//! Cluster mode: the controller, vxnets in blocks, and nodes whose pods share the NIC of their vxnet.

mod balancer;
mod cluster_mode;
mod missing;
mod moved;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cloud::VXNETS;
use crate::daemon::{Daemon, Settings, Way};
use crate::machine::Machine;
use crate::pod::{Pod, Wanted};
use crate::process::{PATIENCE, until, within};
use crate::reach::everyone_is_reached;
use crate::scale::scaled;
use crate::stage::Stage;
use crate::trial;
use crate::world::World;
use cluster_mode::ClusterMode;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("pods_of_three_namespaces_share_a_nic_of_each_vxnet", namespaces)]
}

/// How many bits of a block's addresses are the same, as document 002 has it.
const BLOCK_SIZE: u8 = 27;

/// A namespace beside `default`, which has what is everybody's.
struct Namespace {
    name: &'static str,
    /// Where its blocks begin.
    blocks: [Ipv4Addr; 2],
}

const NAMESPACES: [Namespace; 2] = [
    Namespace { name: "test", blocks: [Ipv4Addr::new(192, 168, 51, 0), Ipv4Addr::new(192, 168, 51, 128)] },
    Namespace { name: "abc", blocks: [Ipv4Addr::new(192, 168, 50, 64), Ipv4Addr::new(192, 168, 50, 192)] },
];

impl Namespace {
    /// The names of its blocks, were they of this size.
    fn blocks(&self, size: u8) -> [String; 2] {
        self.blocks.map(|first| format!("4100-{}-{size}", first.to_string().replace('.', "-")))
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.blocks
            .iter()
            .any(|first| u32::from(address) >> (32 - BLOCK_SIZE) == u32::from(*first) >> (32 - BLOCK_SIZE))
    }
}

/// Which namespace has which blocks, if they were of this size.
fn mapping(size: u8) -> Value {
    let [test, abc] = NAMESPACES.map(|namespace| namespace.blocks(size));
    json!({ "Default": VXNETS[..2], "test": test, "abc": abc })
}

fn settings() -> Settings {
    Settings { vxnets: Vec::new(), ..Settings::new(Way::Shared, VXNETS[0]).in_cluster() }
}

/// A pod in a namespace, without waiting for it.
fn apply(world: &World, namespace: &str, wanted: &Wanted) {
    let mut object = wanted.object();
    object["metadata"]["namespace"] = json!(namespace);
    world.cluster.apply(&object);
}

/// Waits until a pod of a namespace is ready.
fn running(world: &World, namespace: &str, name: &str) -> Pod {
    let pod = format!("pod/{name}");
    let arguments = ["-n", namespace, "wait", "--for=condition=Ready", "--timeout=120s", &pod];
    if let Err(said) = world.cluster.kubectl(&arguments) {
        let described = world.cluster.kubectl(&["-n", namespace, "describe", &pod]);
        panic!("{said}{}", described.unwrap_or_else(|said| said));
    }
    until("the pod's process is found", || Pod::of(&world.cluster.get(&["-n", namespace, &pod])))
}

fn namespaces(world: &'static World) {
    let mut stage = Stage::without_daemons(world);
    let mode = ClusterMode::begin(world);
    for Namespace { name, .. } in NAMESPACES {
        world
            .cluster
            .apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    }
    stage.daemons = world.nodes.iter().map(|node| Daemon::start(world, node, &settings())).collect();
    stage.until_nodes_are_ready();
    let said = stage.daemons[0].asked(&["status"]).unwrap();
    assert!(said.contains("shared"), "{said}");

    let pods = of_three_namespaces(world, &mode);
    everyone_is_reached(&stage, &pods.iter().collect::<Vec<_>>());
    one_nic_each(world);
    balancer::spreads(world, [&pods[1], &pods[4]]);
    moved::is_reached_at_once(world, NAMESPACES[1].name);
    many_leave_the_rules_alone(&stage, &pods);
    let shown = mode.tool(&["ipam", "check", "--apart", "1"]);
    println!("    ipam check: {}", shown.trim());
    end(stage, mode);
}

/// Pods of each namespace on the first node, and of two on the second, each with an address of its namespace.
fn of_three_namespaces(world: &World, mode: &ClusterMode) -> [Pod; 5] {
    let [two, three] = missing::told_and_mended(world, mode, ["two", "three"]);
    let places = [("default", "one", "node1"), ("default", "four", "node2"), ("test", "five", "node2")];
    for (namespace, name, node) in places {
        apply(world, namespace, &Wanted::new(name).on(node));
    }
    let [one, four, five] = places.map(|(namespace, name, _)| running(world, namespace, name));
    let [test, abc] = &NAMESPACES;
    assert!(test.has(two.address) && test.has(five.address) && abc.has(three.address), "{two:?} {three:?}");
    let of_others = |pod: &Pod| test.has(pod.address) || abc.has(pod.address);
    assert!(!of_others(&one) && !of_others(&four), "{one:?} {four:?}");
    [one, two, three, four, five]
}

/// Fills the first node: rules are as they were with three pods, and the last one leaves by the same as the first.
fn many_leave_the_rules_alone(stage: &Stage, pods: &[Pod; 5]) {
    let world = stage.world;
    let before = rules(&world.nodes[0]);
    let way_of_the_first = way(&world.nodes[0], &pods[0]);
    let more: Vec<Wanted> = (0..scaled(200))
        .map(|number| Wanted::new(&format!("more-{number}")).app("more").on("node1"))
        .collect();
    let objects: Vec<Value> = more.iter().map(Wanted::object).collect();
    world.cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
    let of_all = ["wait", "--for=condition=Ready", "--timeout=300s", "pods", "--selector=app=more"];
    world.cluster.kubectl(&of_all).unwrap();
    let told = world.cluster.get(&["pods", "--selector=app=more"]);
    let more: Vec<Pod> = told["items"].as_array().unwrap().iter().map(|pod| Pod::of(pod).unwrap()).collect();
    assert_eq!(more.len(), objects.len());
    let mut addresses: BTreeSet<Ipv4Addr> = pods.iter().map(|pod| pod.address).collect();
    for Pod { name, address, .. } in &more {
        assert!(addresses.insert(*address), "{name} has another's address");
    }
    assert_eq!(rules(&world.nodes[0]), before, "rules must not grow with pods");
    let same_vxnet = |pod: &&Pod| pod.address.octets()[2] == pods[0].address.octets()[2];
    let last_of_it = more.iter().rfind(same_vxnet).unwrap();
    assert_eq!(way(&world.nodes[0], last_of_it), way_of_the_first);
    everyone_is_reached(stage, &[&pods[1], more.last().unwrap()]);
    one_nic_each(world);
    println!(
        "    {} pods on node1 and 2 NICs: {} rules and {} lines of nftables, as with 3 pods; the last one leaves by {}",
        more.len() + 3,
        before.0,
        before.1,
        way_of_the_first
    );
}

/// Takes all pods away, sees all addresses come back, and ends it.
fn end(stage: Stage, mode: ClusterMode) {
    let world = stage.world;
    let own = NAMESPACES.map(|namespace| namespace.name);
    for namespace in own.into_iter().chain(["default"]) {
        world.cluster.kubectl(&["-n", namespace, "delete", "pods", "--all", "--wait=false"]).unwrap();
    }
    for daemon in &stage.daemons {
        daemon.until_given_back();
    }
    within(PATIENCE, "all addresses are given back", || {
        let shown: Value = serde_json::from_str(&mode.tool(&["ipam", "show", "-o", "json"])).ok()?;
        let vxnets = shown["vxnets"].as_array()?;
        vxnets.iter().all(|vxnet| vxnet["allocate"] == 0).then_some(())
    });
    for name in own {
        world.cluster.kubectl(&["delete", "namespace", "--wait=false", name]).unwrap();
    }
    stage.end();
    mode.end();
}

/// No node has two NICs in a vxnet.
fn one_nic_each(world: &World) {
    let nics = world.cloud.nics();
    let of: Vec<(&str, &str)> = nics
        .iter()
        .map(|nic| (nic["subnet"].as_str().unwrap(), nic["attachment"].to_string().leak() as &str))
        .collect();
    let different: BTreeSet<_> = of.iter().collect();
    assert_eq!(of.len(), different.len(), "{nics:#?}");
    assert!((2..=4).contains(&of.len()), "{nics:#?}");
    assert!(nics.iter().all(|nic| nic["addresses"] == json!([])), "{nics:#?}");
}

/// How many routing rules and lines of nftables of ours a node has.
fn rules(node: &Machine) -> (usize, usize) {
    let rules = node.ip(&["-4", "rule", "show"]).len();
    let tables = node.run(&["nft", "list", "ruleset"]);
    let mut ours = false;
    let lines = tables.lines().filter(|line| {
        if line.starts_with("table") {
            ours = line.contains("hostnic");
        }
        ours
    });
    (rules, lines.count())
}

/// By which table and link what a pod sends leaves its node.
fn way(node: &Machine, pod: &Pod) -> String {
    let route = node.run(&["ip", "-4", "route", "show", "table", "all", &format!("{}/32", pod.address)]);
    let veth = route.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap().to_owned();
    let told =
        node.run(&["ip", "route", "get", "192.168.52.9", "from", &pod.address.to_string(), "iif", &veth]);
    let word = |name: &str| {
        told.split_whitespace().skip_while(|word| *word != name).nth(1).unwrap_or("-").to_owned()
    };
    format!("table {} and {}", word("table"), word("dev"))
}
