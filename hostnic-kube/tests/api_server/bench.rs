//! 5,000 addresses for pods on 50 nodes, drawn from a real API server and given back, with 5 of the nodes killed half-way; by this
//! crate, and by the plain scheme of the Go version: `cargo bench -p hostnic-kube --bench addresses`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on should panic")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(dead_code, reason = "it uses a part of what the tests on the API server have")]

mod bench_go;
mod repair;
mod rights;
mod server;
mod stage;
mod world;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hostnic_core::attachment::{AttachmentKey, PodRef};
use hostnic_core::ipam::{AddressRequest, AddressSource};
use hostnic_kube::NodeName;
use hostnic_kube::ipam::{BlockAddresses, IpamTools};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use stage::{LARGE, Stage, is_ready};
use world::{World, eventually_within};

/// How many pods of a node are started at a time.
const AT_ONCE: usize = 10;

/// One run: what is asked for, and by how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
    pub(crate) killed: usize,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) drawn: usize,
    pub(crate) drawing: Duration,
    pub(crate) returned: usize,
    pub(crate) returning: Duration,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) conflicts: u64,
    pub(crate) failed: usize,
}

fn main() {
    // `cargo test --benches` runs it as well, and is in a hurry.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("for figures: cargo bench -p hostnic-kube --bench addresses");
        return;
    }
    let scale: f64 = std::env::var("HOSTNIC_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    let pods = ((100.0 * scale) as usize).max(4);
    let size = Size { nodes: 50, pods, killed: 5 };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = World::start().unwrap();
    let (ours, gos) = runtime.block_on(async {
        let stage = set(&world).await;
        let ours = ours(&world, &stage, size).await;
        println!("by this crate {} addresses were drawn in {:.1} s; now by the Go version's scheme, which takes longer", ours.drawn, ours.drawing.as_secs_f64());
        let stage = set(&world).await;
        (ours, bench_go::run(&stage, size).await)
    });
    world.end();
    show(size, &ours, &gos);
}

/// One vxnet of 8,190 addresses, cut into blocks of 64, all of them everybody's.
async fn set(world: &World) -> Stage {
    let stage = Stage::set(world).await;
    stage.v_pool(&[LARGE], 26).await;
    stage.map("off", &json!({ "Default": [LARGE] }).to_string()).await;
    let controller = stage.controller(world).await;
    stage.status_within(Duration::from_secs(120), "v-pool is ready", is_ready).await;
    controller.end().await;
    stage
}

pub(crate) fn pod(node: usize, number: usize) -> (String, AttachmentKey) {
    let name = format!("pod-{node}-{number}");
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("sandbox-{node}-{number}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    (name, key)
}

async fn node(world: &World, number: usize) -> BlockAddresses {
    let name = NodeName::new(format!("node{number}")).unwrap();
    BlockAddresses::connect(&world.node_access(), &name, &format!("uid-of-node{number}")).await.unwrap()
}

async fn draw(node: &BlockAddresses, of: usize, numbers: std::ops::Range<usize>) -> Vec<IpAddr> {
    let claims = futures::stream::iter(numbers).map(|number| async move {
        let (name, key) = pod(of, number);
        let pod = PodRef { namespace: "default".to_owned(), name, uid: None };
        let request = AddressRequest { key, pod, candidates: vec![], patience: Duration::from_secs(120) };
        node.claim(&request).await.unwrap().address.addr()
    });
    claims.buffer_unordered(AT_ONCE).collect().await
}

async fn ours(world: &World, stage: &Stage, size: Size) -> Figures {
    let mut nodes = Vec::new();
    for number in 0..size.nodes {
        nodes.push(Arc::new(node(world, number).await));
    }
    let mut figures = Figures::default();
    let mut addresses = BTreeSet::new();
    let half = size.pods / 2;
    let begun = Instant::now();
    for (from, to, nodes_at_work) in [(0, half, size.nodes), (half, size.pods, size.nodes - size.killed)] {
        let mut draws = JoinSet::new();
        for (number, node) in nodes.iter().enumerate().take(nodes_at_work) {
            let node = node.clone();
            draws.spawn(async move { draw(&node, number, from..to).await });
        }
        while let Some(drawn) = draws.join_next().await {
            for address in drawn.unwrap() {
                figures.drawn += 1;
                assert!(addresses.insert(address), "{address} was given away twice");
            }
        }
        if nodes_at_work == size.nodes {
            count(&mut figures, &nodes[size.nodes - size.killed..]);
            // They are killed wherever they are: nobody writes for them any more.
            nodes.truncate(size.nodes - size.killed);
        }
    }
    figures.drawing = begun.elapsed();
    // Pods live for a while: what is written of them afterwards is to count.
    let handles = (size.nodes - size.killed) * size.pods;
    eventually_within(Duration::from_secs(300), "each pod has a handle", || async {
        (stage.names("IPAMHandle").await.len() >= handles).then_some(())
    })
    .await;
    let begun = Instant::now();
    let mut returns = JoinSet::new();
    for (number, node) in nodes.iter().enumerate() {
        let node = node.clone();
        returns.spawn(async move {
            let releases = futures::stream::iter(0..size.pods).map(|pod_number| {
                let node = &node;
                async move { node.release(&pod(number, pod_number).1.mark()).await.unwrap() }
            });
            releases.buffer_unordered(AT_ONCE).count().await
        });
    }
    while let Some(returned) = returns.join_next().await {
        figures.returned += returned.unwrap();
    }
    figures.returning = begun.elapsed();
    let of_the_killed = size.killed * size.pods;
    eventually_within(Duration::from_secs(300), "no pod has a handle", || async {
        (stage.names("IPAMHandle").await.len() <= of_the_killed).then_some(())
    })
    .await;
    count(&mut figures, &nodes);
    lost(world, size).await;
    figures
}

fn count(figures: &mut Figures, nodes: &[Arc<BlockAddresses>]) {
    for counts in nodes.iter().map(|node| node.counts()) {
        figures.reads += counts.reads;
        figures.writes += counts.writes;
        figures.conflicts += counts.conflicts;
    }
}

/// The check finds what the killed nodes left, and nothing else is lost.
async fn lost(world: &World, size: Size) {
    let tools = IpamTools::connect(&world.node_access()).await.unwrap();
    let free = || async {
        let shown = tools.inventory().await.unwrap().utilisation();
        let all = shown.vxnets.into_iter().find(|vxnet| vxnet.name == LARGE).unwrap().numbers;
        (all.unallocated, all.capacity - all.reserved)
    };
    let (before, usable) = free().await;
    let found = tools.inventory().await.unwrap().check();
    let repaired = tools.repair(&found).await.unwrap();
    let (after, _) = free().await;
    assert_eq!(after, usable, "some are lost: {:?}", tools.inventory().await.unwrap().check());
    println!(
        "{} nodes were killed with {} addresses each: {} addresses of pods and stocks were left, {repaired} things were put right, \
         and {after} of {usable} are free",
        size.killed,
        size.pods / 2,
        usable - before,
    );
}

fn show(size: Size, ours: &Figures, gos: &Figures) {
    println!(
        "\n{} nodes with {} pods each, {AT_ONCE} at a time; {} nodes killed half-way",
        size.nodes, size.pods, size.killed
    );
    println!("{:<34}{:>12}{:>16}", "", "hostnic", "Go's scheme");
    let row = |what: &str, of: fn(&Figures) -> f64, digits: usize| {
        println!("{what:<34}{:>12.digits$}{:>16.digits$}", of(ours), of(gos));
    };
    row("addresses drawn", |f| f.drawn as f64, 0);
    row("addresses drawn per second", |f| f.drawn as f64 / f.drawing.as_secs_f64(), 0);
    row("addresses given back per second", |f| f.returned as f64 / f.returning.as_secs_f64(), 0);
    row("writes per address, both ways", |f| f.writes as f64 / f.drawn as f64, 2);
    row("reads per address, both ways", |f| f.reads as f64 / f.drawn as f64, 2);
    row("conflicts per address", |f| f.conflicts as f64 / f.drawn as f64, 2);
    row("pods that got no address", |f| f.failed as f64, 0);
}
