//! Cluster mode: the controller, vxnets in blocks, and nodes whose pods share the NIC of their vxnet.

mod cluster_mode;

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

/// The namespaces beside `default`, and the blocks that they have. `default` has what is everybody's.
const NAMESPACES: [(&str, &str); 2] = [("test", "4100-192-168-51-0-26"), ("abc", "4100-192-168-50-64-26")];

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
    mode.map(&json!({ "Default": VXNETS[..2], "test": [NAMESPACES[0].1], "abc": [NAMESPACES[1].1] }));
    for (namespace, _) in NAMESPACES {
        world
            .cluster
            .apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }));
    }
    stage.daemons = world.nodes.iter().map(|node| Daemon::start(world, node, &settings())).collect();
    stage.until_nodes_are_ready();
    let said = stage.daemons[0].asked(&["status"]).unwrap();
    assert!(said.contains("shared"), "{said}");

    let places = [
        ("default", "one", "node1"),
        ("test", "two", "node1"),
        ("abc", "three", "node1"),
        ("default", "four", "node2"),
        ("test", "five", "node2"),
    ];
    for (namespace, name, node) in places {
        apply(world, namespace, &Wanted::new(name).on(node));
    }
    let pods: Vec<Pod> = places.iter().map(|(namespace, name, _)| running(world, namespace, name)).collect();
    let in_range = |pod: &Pod, first: [u8; 4], last: u8| {
        let [a, b, c, d] = pod.address.octets();
        [a, b, c] == first[..3] && (first[3]..=last).contains(&d)
    };
    let of_test = |pod: &Pod| in_range(pod, [192, 168, 51, 0], 63);
    let of_abc = |pod: &Pod| in_range(pod, [192, 168, 50, 64], 127);
    assert!(of_test(&pods[1]) && of_test(&pods[4]) && of_abc(&pods[2]), "{pods:?}");
    assert!([&pods[0], &pods[3]].iter().all(|pod| !of_test(pod) && !of_abc(pod)), "{pods:?}");
    everyone_is_reached(&stage, &pods.iter().collect::<Vec<_>>());
    one_nic_each(world);

    let before = rules(&world.nodes[0]);
    let way_of_the_first = way(&world.nodes[0], &pods[0]);
    let more: Vec<String> = (0..scaled(200)).map(|number| format!("more-{number}")).collect();
    for name in &more {
        apply(world, "default", &Wanted::new(name).on("node1"));
    }
    let last = more.last().unwrap();
    let mut addresses: BTreeSet<Ipv4Addr> = pods.iter().map(|pod| pod.address).collect();
    for name in &more {
        assert!(addresses.insert(running(world, "default", name).address), "{name} has another's address");
    }
    assert_eq!(rules(&world.nodes[0]), before, "rules must not grow with pods");
    let last = until("the pod is there", || Pod::of(&world.cluster.get(&[&format!("pod/{last}")])));
    let same_vxnet = |pod: &Pod| pod.address.octets()[2] == pods[0].address.octets()[2];
    let last_of_it = more
        .iter()
        .rev()
        .find_map(|name| Pod::of(&world.cluster.get(&[&format!("pod/{name}")])).filter(same_vxnet));
    assert_eq!(way(&world.nodes[0], &last_of_it.unwrap()), way_of_the_first);
    everyone_is_reached(&stage, &[&pods[1], &last]);
    one_nic_each(world);
    println!(
        "    {} pods on node1 and 2 NICs: {} rules and {} lines of nftables, as with 3 pods; the last one leaves by {}",
        more.len() + 3,
        before.0,
        before.1,
        way_of_the_first
    );
    let shown = mode.tool(&["ipam", "check", "--apart", "1"]);
    println!("    ipam check: {}", shown.trim());

    for (namespace, name, _) in places {
        world.cluster.kubectl(&["-n", namespace, "delete", "pod", "--wait=false", name]).unwrap();
    }
    world.cluster.kubectl(&["delete", "pods", "--all", "--wait=false"]).unwrap();
    for daemon in &stage.daemons {
        daemon.until_given_back();
    }
    within(PATIENCE, "all addresses are given back", || {
        let shown: Value = serde_json::from_str(&mode.tool(&["ipam", "show", "-o", "json"])).ok()?;
        let vxnets = shown["vxnets"].as_array()?;
        vxnets.iter().all(|vxnet| vxnet["allocate"] == 0).then_some(())
    });
    for (namespace, _) in NAMESPACES {
        world.cluster.kubectl(&["delete", "namespace", "--wait=false", namespace]).unwrap();
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
