//! The management network: a way to the cloud's API that is no NIC.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hostnic_core::ErrorKind;
use hostnic_netlink::{NamedNetns, Netns};
use libtest_mimic::Trial;
use tokio::time::timeout;

use crate::trial;
use crate::world::{PATIENCE, PORT, World, instance, nic, socket, talk};

const RANGE: &str = "100.127.0.0/24";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("nodes_old_and_new_reach_the_management_address_and_not_each_other", reach),
        trial("the_management_network_is_one_plain_link_and_a_connected_route_in_each_node", plain),
        trial("a_management_network_that_cannot_be_is_refused_and_leaves_nothing", refused),
        trial("shutdown_takes_the_management_network_away_everywhere", shutdown),
        trial("a_program_runs_in_a_nodes_namespace_and_not_in_ours", programs),
    ]
}

/// A world whose management network leads to a namespace of its own.
async fn world() -> (World, NamedNetns) {
    let world = World::new().await;
    let outside = NamedNetns::create(world.folder.join("outside")).await.unwrap();
    let given = world.fabric.open_management(outside.open().unwrap(), RANGE.parse().unwrap()).await.unwrap();
    assert_eq!(given.to_string(), "100.127.0.1");
    (world, outside)
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// What iproute2 says in a namespace, in its own words, one line a link, address or route.
fn ip(netns: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("nsenter")
        .arg(format!("--net={netns}"))
        .args(["ip", "-o"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

async fn reach() {
    let (world, outside) = world().await;
    let late = NamedNetns::create(world.folder.join("late")).await.unwrap();
    world.fabric.adopt_node(instance(3), late.open().unwrap()).await.unwrap();
    let service = socket(&outside.open().unwrap(), at("100.127.0.1", PORT)).await;
    let nodes = [
        (world.node(1), "100.127.0.2"),
        (world.node(2), "100.127.0.3"),
        (late.open().unwrap(), "100.127.0.4"),
    ];
    for (netns, address) in &nodes {
        let asker = socket(netns, at(address, 0)).await;
        talk(&asker, &service, at("100.127.0.1", PORT)).await;
    }
    // Where everybody forwards and a node has routes by the service, they lead nowhere all the same.
    let ear = socket(&nodes[1].0, at("0.0.0.0", PORT)).await;
    let asker = socket(&nodes[0].0, at("100.127.0.2", 0)).await;
    asker.send_to(b"question", at("100.127.0.3", PORT)).await.unwrap();
    for netns in [&outside.open().unwrap(), &nodes[0].0, &nodes[1].0] {
        netns.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1").unwrap()).await.unwrap();
    }
    let nic = nic("a", 11);
    let pod = world.pod(2, &nic).await;
    let listener = pod.listen().await;
    let path = world.nodes[0].to_str().unwrap();
    ip(path, &["route", "add", "10.1.0.0/24", "via", "100.127.0.1"]);
    ip(path, &["route", "add", "100.127.0.3/32", "via", "100.127.0.1"]);
    asker.send_to(b"question", at("100.127.0.3", PORT)).await.unwrap();
    asker.send_to(b"question", at("10.1.0.11", PORT)).await.unwrap();
    // Nor do the answers' way: from outside, only the service itself is heard.
    let out = outside.path().to_str().unwrap();
    ip(out, &["address", "add", "100.99.0.1/32", "dev", "hostnic-mgmt0"]);
    let stranger = socket(&outside.open().unwrap(), at("100.99.0.1", 0)).await;
    stranger.send_to(b"question", at("100.127.0.3", PORT)).await.unwrap();
    // What was sent before would have come before this.
    talk(&asker, &service, at("100.127.0.1", PORT)).await;
    for quiet in [&ear, &listener] {
        let heard = timeout(Duration::from_millis(200), quiet.recv_from(&mut [0; 8])).await;
        assert!(heard.is_err(), "{heard:?}");
    }
    assert_eq!(world.drops().await, []);
}

async fn plain() {
    let (world, _outside) = world().await;
    let node = world.nodes[0].to_str().unwrap();
    let links = ip(node, &["link"]);
    let management: Vec<_> = links.iter().filter(|line| line.contains("mgmt0")).collect();
    assert_eq!((links.len(), management.len()), (2, 1), "{links:?}");
    assert!(
        management[0].contains("state UP") && management[0].contains("02:fa:b2:00:00:01"),
        "{management:?}"
    );
    assert!(management[0].contains("alias the management network of hostnic's fabric"), "{management:?}");
    let addresses = ip(node, &["address", "show", "mgmt0"]);
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert!(addresses[0].contains("inet 100.127.0.2/24"), "{addresses:?}");
    assert_eq!(ip(node, &["route"]), ["100.127.0.0/24 dev mgmt0 proto kernel scope link src 100.127.0.2"]);
    // A NIC that is plugged in later is the first of its kind all the same.
    world.plug(1, &nic("a", 11)).await;
    assert!(ip(node, &["link"]).iter().any(|line| line.contains("eth0")));
}

async fn refused() {
    let world = World::new().await;
    let outside = NamedNetns::create(world.folder.join("outside")).await.unwrap();
    let open = |range: &str| world.fabric.open_management(outside.open().unwrap(), range.parse().unwrap());
    let vpc = world.fabric.vpc_path().to_str().unwrap().to_owned();
    let before = ip(&vpc, &["link"]).len();
    for (range, kind) in [
        ("100.127.0.1/24", ErrorKind::Invalid),
        ("100.127.0.0/31", ErrorKind::Invalid),
        ("10.1.0.128/25", ErrorKind::Conflict),
        ("10.0.0.0/8", ErrorKind::Conflict),
        ("100.127.0.0/30", ErrorKind::Exhausted),
    ] {
        assert_eq!(open(range).await.unwrap_err().kind(), kind, "{range}");
        assert_eq!(ip(&vpc, &["link"]).len(), before, "{range}");
        assert_eq!(ip(world.nodes[0].to_str().unwrap(), &["link"]).len(), 1, "{range}");
        assert_eq!(ip(outside.path().to_str().unwrap(), &["link"]).len(), 1, "{range}");
    }
    open(RANGE).await.unwrap();
    open(RANGE).await.unwrap();
    assert_eq!(open("100.127.1.0/24").await.unwrap_err().kind(), ErrorKind::Conflict);
    let subnet = world.fabric.add_subnet(
        "c".parse().unwrap(),
        "100.127.0.0/16".parse().unwrap(),
        "100.127.0.1".parse().unwrap(),
    );
    assert_eq!(subnet.await.unwrap_err().kind(), ErrorKind::Conflict);

    // Another fabric beside it, as on a machine where two simulators run.
    let other = World::new().await;
    let taken =
        other.fabric.open_management(outside.open().unwrap(), RANGE.parse().unwrap()).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    assert!(taken.to_string().contains("100.127.0.1/24 is on hostnic-mgmt0"), "{taken}");
    let range = "100.127.1.0/24".parse().unwrap();
    let address = other.fabric.open_management(outside.open().unwrap(), range).await.unwrap();
    assert_eq!(address.to_string(), "100.127.1.1");
    let service = socket(&outside.open().unwrap(), at("100.127.1.1", PORT)).await;
    let asker = socket(&other.node(1), at("100.127.1.2", 0)).await;
    talk(&asker, &service, at("100.127.1.1", PORT)).await;
}

async fn shutdown() {
    let (world, outside) = world().await;
    let mine = NamedNetns::create(world.folder.join("mine")).await.unwrap();
    world.fabric.adopt_node(instance(3), mine.open().unwrap()).await.unwrap();
    // A node that is where the service is has it already.
    world.fabric.adopt_node(instance(4), outside.open().unwrap()).await.unwrap();
    let places = [mine.path().to_str().unwrap(), outside.path().to_str().unwrap()];
    assert_eq!(places.map(|place| ip(place, &["link"]).len()), [2, 2]);
    world.fabric.shutdown().await.unwrap();
    assert_eq!(places.map(|place| ip(place, &["link"]).len()), [1, 1]);
    assert_eq!(places.map(|place| ip(place, &["route"])), [Vec::<String>::new(), vec![]]);
}

async fn programs() {
    let world = World::new().await;
    let node = world.node(1);
    let mut command = tokio::process::Command::new("readlink");
    command.arg("/proc/self/ns/net").stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let child = node.spawn(command).await.unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.trim(), format!("net:[{}]", node.sandbox().inode));
    assert_ne!(Netns::current().unwrap().sandbox(), node.sandbox());
    let missing = node.spawn(tokio::process::Command::new("/no/such/program")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("/no/such/program"), "{missing}");
}
