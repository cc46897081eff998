//! How long a warm ADD takes in cluster mode, on this machine's kernel and a real API server, near and far, with and without network
//! policies that are told of it: `cargo bench -p hostnic-kube --bench adds`, as root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on should panic")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(clippy::disallowed_methods, reason = "no runtime is blocked here")]
#![allow(dead_code, reason = "it uses a part of what the tests on the API server have")]

mod bench_node;
mod proxy;
mod repair;
mod rights;
mod server;
mod stage;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use hostnic_netlink::isolation::enter_private_world;
use serde_json::json;

use bench_node::{Node, cloud, vpc};
use proxy::Way;
use stage::{Stage, VXNETS, is_ready};
use world::World;

/// What a request to an API server that is far takes longer.
const LATER: Duration = Duration::from_millis(200);

/// Whether the API server is far, and whether network policies are told.
type Case = (bool, bool);

fn main() {
    // `cargo test --benches` runs it as well, and is in a hurry.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("for figures: cargo bench -p hostnic-kube --bench adds");
        return;
    }
    enter_private_world().unwrap();
    let scale: f64 = std::env::var("HOSTNIC_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    let rounds = ((40.0 * scale) as usize).max(5);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = World::start().unwrap();
    let figures = runtime.block_on(measure(&world, rounds));
    world.end();
    show(rounds, &figures);
}

#[derive(Debug, Default)]
struct Figures {
    adds: BTreeMap<Case, Vec<Duration>>,
    /// One request, by whether the API server is far.
    requests: BTreeMap<bool, Vec<Duration>>,
}

async fn measure(world: &World, rounds: usize) -> Figures {
    let fabric = vpc().await;
    let stage = Stage { cloud: cloud(&fabric, &[1, 2]), ..Stage::set(world).await };
    stage.v_pool(&VXNETS, 26).await;
    stage.map("off", &json!({ "Default": [VXNETS[0]] }).to_string()).await;
    let controller = stage.controller(world).await;
    stage.status_within(Duration::from_secs(60), "v-pool is ready", is_ready).await;
    controller.end().await;
    let nodes = [
        (false, Node::start(world, &stage, &fabric, 1, false).await),
        (true, Node::start(world, &stage, &fabric, 2, true).await),
    ];
    let mut figures = Figures::default();
    // The first round is not counted: connections are made in it.
    for round in 0..=rounds {
        for far in [false, true] {
            for (policies, node) in &nodes {
                node.rests(&stage).await;
                node.proxy.set(if far { Way::Far(LATER) } else { Way::Open });
                let (attached, took) = node.attach(&stage).await;
                let request = node.one_request(&attached).await;
                if round > 0 {
                    figures.adds.entry((far, *policies)).or_default().push(took);
                    figures.requests.entry(far).or_default().push(request);
                }
                node.detach(&stage, attached).await;
            }
        }
    }
    drop(nodes);
    fabric.shutdown().await.unwrap();
    figures
}

fn median(of: &[Duration]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2].as_secs_f64() * 1000.0
}

fn show(rounds: usize, figures: &Figures) {
    let add = |far, policies| median(&figures.adds[&(far, policies)]);
    let request = |far| median(&figures.requests[&far]);
    println!(
        "\nwarm ADDs one by one, medians of {rounds} in ms; the API server near, and with {LATER:?} more for each request"
    );
    println!("{:<44}{:>10}{:>10}{:>10}", "", "near", "far", "ratio");
    let row = |what: &str, near: f64, far: f64| {
        println!("{what:<44}{near:>10.1}{far:>10.1}{:>10.2}", far / near);
    };
    row("networkPolicy none", add(false, false), add(true, false));
    row("networkPolicy calico", add(false, true), add(true, true));
    row("one request by the same client", request(false), request(true));
    let added = add(true, true) - add(true, false);
    println!(
        "with networkPolicy calico an ADD takes {added:.1} ms longer where the API server is far: {:.2} of one request",
        added / request(true)
    );
}
