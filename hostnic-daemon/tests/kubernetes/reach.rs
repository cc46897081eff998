//! Who reaches whom, and as whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::json;

use crate::daemon::{Settings, Way};
use crate::pod::{PORT, Pod, Wanted};
use crate::stage::Stage;
use crate::talk::{Answer, ask, ping};
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_deployments_pods_with_nics_of_their_own_reach_pods_nodes_and_services", passthrough),
        trial("pods_behind_veths_reach_pods_nodes_services_and_themselves", |world| veth(world, None)),
        trial("pods_behind_veths_do_so_with_their_routes_in_the_main_table", |world| veth(world, Some(254))),
    ]
}

/// How often a service is called: each of two back ends is missed once in 2^39 times.
const CALLS: u32 = 40;

fn passthrough(world: &'static World) {
    let stage = Stage::set(world, &Settings::both(Way::Passthrough));
    let web = stage.deployment(&Wanted::new("web").app("web"), 3);
    let [client] = stage.pods([Wanted::new("client").on("node1")]);
    let all: Vec<&Pod> = web.iter().chain([&client]).collect();
    everyone_is_reached(&stage, &all);
    let (service, port) = stage.service("web", "web", &json!({}), &web.iter().collect::<Vec<_>>());
    let names: BTreeSet<&str> = web.iter().map(|pod| pod.name.as_str()).collect();
    let count = |from: &Path, to: SocketAddr, how: &str| {
        let answers = calls(from, to);
        let servers: BTreeSet<&str> = answers.keys().map(|answer| answer.server.as_str()).collect();
        println!("    {how}: {CALLS} calls, answered by {} of {} pods", servers.len(), web.len());
        assert_eq!(servers, names);
    };
    count(&client.netns, (service, 80).into(), "a pod by the service's address");
    for node in &world.nodes {
        count(&node.netns(), (service, 80).into(), "a node by the service's address");
        count(&world.host.netns(), (node.address("primary"), port).into(), "from outside by a node's port");
    }
    stage.end();
}

fn veth(world: &'static World, pod_table: Option<u32>) {
    let way = Way::Veth { hairpin: false };
    let stage = Stage::set(world, &Settings::both(way).map(|settings| Settings { pod_table, ..settings }));
    let [client, near, far] = stage.pods([
        Wanted::new("client").on("node1").app("self"),
        Wanted::new("near").on("node1").app("web"),
        Wanted::new("far").on("node2").app("web"),
    ]);
    everyone_is_reached(&stage, &[&client, &near, &far]);
    let (web, port) = stage.service("web", "web", &json!({}), &[&near, &far]);
    let local = json!({"externalTrafficPolicy": "Local"});
    let (_, local) = stage.service("local", "web", &local, &[&near, &far]);
    let (itself, _) = stage.service("self", "self", &json!({}), &[&client]);

    let servers = |from: &Path, to: SocketAddr, how: &str, expected: &[&Pod]| {
        let answers = calls(from, to);
        println!("    {how}: {CALLS} calls: {answers:?}");
        let names: BTreeSet<&str> = answers.keys().map(|answer| answer.server.as_str()).collect();
        assert_eq!(names, expected.iter().map(|pod| pod.name.as_str()).collect());
        answers.into_keys().map(|answer| answer.asker).collect::<BTreeSet<_>>()
    };
    let askers = servers(&client.netns, (web, 80).into(), "a pod by the service's address", &[&near, &far]);
    assert_eq!(askers, BTreeSet::from([client.address.into()]), "pods are seen as themselves");
    servers(&client.netns, (itself, 80).into(), "a pod to itself by the service", &[&client]);
    let host = world.host.address("primary");
    for (node, pod) in world.nodes.iter().zip([&near, &far]) {
        let address = node.address("primary");
        servers(&node.netns(), (web, 80).into(), "a node by the service's address", &[&near, &far]);
        servers(&client.netns, (address, port).into(), "a pod by a node's port", &[&near, &far]);
        servers(&world.host.netns(), (address, port).into(), "from outside by a node's port", &[&near, &far]);
        let how = "from outside by a node's port, policy Local";
        let askers = servers(&world.host.netns(), (address, local).into(), how, &[pod]);
        assert_eq!(askers, BTreeSet::from([host.into()]), "whoever comes from outside is seen as itself");
    }
    stage.end();
}

/// Everyone pings everyone, and a machine of the VPC is seen as what it is.
pub(crate) fn everyone_is_reached(stage: &Stage, pods: &[&Pod]) {
    let world = stage.world;
    let machines = [&world.nodes[0], &world.nodes[1], &world.host];
    let pods = pods.iter().map(|pod| (pod.name.clone(), pod.netns.clone(), pod.address));
    let all: Vec<_> = machines
        .iter()
        .map(|machine| (machine.name().to_owned(), machine.netns(), machine.address("primary")))
        .chain(pods.clone())
        .collect();
    let mut pairs = 0;
    for (from, netns, _) in &all {
        for (to, _, address) in &all {
            assert_eq!(ping(netns, *address, 2, "0.01"), (2, 2), "{from} to {to}");
            pairs += 1;
        }
    }
    println!("    {pairs} pairs of pods, nodes and a machine of the VPC reach each other");
    for (name, netns, own) in pods {
        let seen = ask(&world.host.netns(), (own, PORT).into()).unwrap();
        assert_eq!(seen, Answer { server: name.clone(), asker: world.host.address("primary").into() });
        let seen = ask(&netns, (all.last().unwrap().2, PORT).into()).unwrap();
        assert_eq!(seen.asker, own, "{name} is seen as itself");
    }
}

/// Calls a service again and again; answers how often it was answered how.
pub(crate) fn calls(from: &Path, to: SocketAddr) -> BTreeMap<Answer, u32> {
    let mut answers = BTreeMap::new();
    for _ in 0..CALLS {
        *answers.entry(ask(from, to).unwrap_or_else(|error| panic!("{to}: {error}"))).or_default() += 1;
    }
    answers
}
