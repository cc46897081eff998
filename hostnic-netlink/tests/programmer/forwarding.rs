//! How many packets a second a node forwards for a pod that shares a NIC, alone and among two hundred:
//! `cargo bench -p hostnic-netlink --bench forwarding`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on should panic")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(dead_code, reason = "it uses a part of what the trials have")]

mod flood;
#[path = "shared/world.rs"]
mod vpc;
mod world;
#[path = "veth"]
mod veth {
    pub(crate) mod world;
}

use futures::future::join_all;
use hostnic_core::RouteProgrammer;
use hostnic_netlink::isolation::enter_private_world;

use flood::{Flood, Run};
use vpc::{Node, Pod, Vpc};

/// Runs of each kind, and how many are tried to have as many that count.
const RUNS: usize = 5;
const TRIES: usize = 15;
const MANY: u8 = 200;

fn main() {
    // `cargo test --benches` runs it as well, and is in a hurry.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("for figures: cargo bench -p hostnic-netlink --bench forwarding");
        return;
    }
    enter_private_world().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let vpc = Vpc::new().await;
    let mut node = vpc.node(10, "b").await;
    let mut other = vpc.node(20, "b").await;
    for node in [&mut node, &mut other] {
        vpc.share(node, "a").await;
        vpc.share(node, "b").await;
    }
    let far = other.started("b", 240).await;
    compare("to a pod of another node", &node, &far).await;
    let near = node.started("b", 241).await;
    compare("to a pod of the same node", &node, &near).await;
    vpc.nothing_policed().await;
    println!("the cloud's police dropped nothing");
}

/// One pod sends to `receiver`, from a node where it is alone and where there are two hundred, by turns.
async fn compare(what: &str, node: &Node, receiver: &Pod) {
    println!("\n{what}:");
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for _ in 0..TRIES {
        if alone.len() >= RUNS && among.len() >= RUNS {
            break;
        }
        for (count, runs) in [(1, &mut alone), (MANY, &mut among)] {
            let run = flood(node, receiver, count).await;
            println!("  {count:>3} pods: {run}");
            if run.counts() {
                runs.push(run);
            }
        }
    }
    for (word, rate) in [("arrived", (|run| run.arrived) as fn(&Run) -> f64), ("read", |run| run.read)] {
        match (median(&alone, rate), median(&among, rate)) {
            (Some(alone), Some(among)) => {
                let ratio = among / alone;
                println!(
                    "  median of {word}: {alone:.0} a second alone, {among:.0} among {MANY}: {ratio:.2}"
                );
            }
            _ => println!("  too few runs in which the node was the limit"),
        }
    }
}

/// The pod that sends is the last one that was set up.
async fn flood(node: &Node, receiver: &Pod, count: u8) -> Run {
    let mut others = Vec::new();
    for number in 1..count {
        let subnet = if number % 2 == 0 { "a" } else { "b" };
        others.push(node.started(subnet, 100 + number / 2).await);
    }
    let sender = node.started("a", 230).await;
    node.is_sound(&[&sender]).await;
    let flood =
        Flood { sender: sender.path(), node: &node.path, receiver: receiver.path(), to: receiver.address() };
    let run = flood.run().await;
    others.push(sender);
    let ends = others.iter().map(async |pod| node.programmer.teardown_pod(&pod.plan).await.unwrap());
    join_all(ends).await;
    run
}

fn median(runs: &[Run], rate: fn(&Run) -> f64) -> Option<f64> {
    let mut rates: Vec<f64> = runs.iter().map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}
