//! The controller with 10,000 blocks: how long it takes to make them, to find them again, and how much memory it has:
//! `cargo bench -p hostnic-daemon --bench controller`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on should panic")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(clippy::disallowed_methods, reason = "no runtime is blocked here")]
#![allow(dead_code, reason = "it uses a part of what the tests have")]

mod place;
#[path = "../../../hostnic-kube/tests/api_server/repair.rs"]
mod repair;
#[path = "../../../hostnic-kube/tests/api_server/server.rs"]
mod server;

use std::time::Duration;

use hostnic_core::sim::Durations;
use hostnic_qingcloud::simulator::SimulatorConfig;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use place::{Controller, Place, repository, until_within};

/// Each vxnet has 1,024 addresses in blocks of four.
const VXNETS: u32 = 40;
const BLOCKS_OF_EACH: u32 = 256;

fn main() {
    // `cargo test --benches` runs it as well, and is in a hurry.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("for figures: cargo bench -p hostnic-daemon --bench controller");
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let scale: f64 = std::env::var("HOSTNIC_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    let count = ((f64::from(VXNETS) * scale) as u32).max(1);
    let blocks = usize::try_from(count * BLOCKS_OF_EACH).unwrap();
    let mut config = SimulatorConfig::new("pek3a", "AK", place::SECRET.into());
    config.vpc = "172.16.0.0/12".parse().unwrap();
    config.vxnets =
        (0..count).map(|n| format!("vxnet-b{n:06}=172.20.{}.0/22", n * 4).parse().unwrap()).collect();
    config.instances = vec!["i-node1".parse().unwrap()];
    config.durations = Durations { reserve: Duration::from_secs(1), ..Durations::default() };
    let place = Place::of(config).await;
    place.kubectl(&["apply", "-f", repository().join("deploy/hostnic.yaml").to_str().unwrap()]).unwrap();
    let names: String = (0..count).map(|n| format!("    - name: vxnet-b{n:06}\n")).collect();
    let v_pool = format!(
        "apiVersion: network.qingcloud.com/v1alpha1\nkind: VxNetPool\nmetadata:\n  name: v-pool\nspec:\n  blockSize: 30\n  vxnets:\n{names}"
    );
    until_within(Duration::from_secs(60), "v-pool is there", async || place.apply(&v_pool).ok()).await;

    let begun = Instant::now();
    let controller = place.controller("first");
    ready(&place, blocks).await;
    println!("{blocks} blocks of {count} vxnets were made in {:.1} s", begun.elapsed().as_secs_f64());
    show(&controller);
    println!("calls to the cloud: {:?}", place.simulator.counts());
    controller.end(Signal::SIGTERM);

    // What a restart finds is told by something new.
    place.kubectl(&["delete", "ipamblock", "4100-172-20-0-0-30"]).unwrap();
    place.simulator.clear_history();
    let begun = Instant::now();
    let controller = place.controller("second");
    let made = async || place.get(&["ipamblock", "4100-172-20-0-0-30"]);
    until_within(Duration::from_secs(1800), "the missing block is made", made).await;
    println!(
        "a restart found them, and made the one that was missing, within {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    ready(&place, blocks).await;
    show(&controller);
    controller.end(Signal::SIGTERM);
}

async fn ready(place: &Place, blocks: usize) {
    until_within(Duration::from_secs(1800), "v-pool is ready", async || {
        // Looking is work for the API server as well.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let v_pool = place.get(&["vxnetpool", "v-pool"])?;
        (v_pool["status"]["ready"] == true && place.names("ipamblocks").len() == blocks).then_some(())
    })
    .await;
}

/// The memory that a controller has, and the most that it had.
fn show(controller: &Controller) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", controller.pid())).unwrap();
    let of = |name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    println!("its memory: {:.1} MiB, at most {:.1} MiB", of("VmRSS"), of("VmHWM"));
}
