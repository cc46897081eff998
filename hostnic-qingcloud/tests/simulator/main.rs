//! The simulator answers as the API's documentation says, and breaks as it is told.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]

mod admin;
mod client;
mod faults;
mod gate;
mod resources;
mod restart;
mod sdk;

use std::time::Duration;

use hostnic_core::sim::Durations;
use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};

use client::Client;

/// Two vxnets, two instances; jobs end only when the test lets time pass.
fn config() -> SimulatorConfig {
    let mut config = SimulatorConfig::new("sim1", "AK", "SK".into());
    let job = Duration::from_secs(3600);
    config.durations = Durations { attach: job, detach: job, reserve: job };
    config.vxnets.push("vxnet-aaaaaaa=192.168.50.0/24".parse().unwrap());
    config.vxnets.push("vxnet-bbbbbbb=192.168.51.0/24".parse().unwrap());
    config.instances.push("i-node1".parse().unwrap());
    config.instances.push("i-node2".parse().unwrap());
    config
}

async fn start() -> (Simulator, Client) {
    start_with(config()).await
}

async fn start_with(config: SimulatorConfig) -> (Simulator, Client) {
    let simulator = Simulator::start(config).await.unwrap();
    let client = Client::new(&simulator);
    (simulator, client)
}

/// Lets all jobs end.
fn finish(simulator: &Simulator) {
    simulator.advance(Duration::from_secs(3600));
}
