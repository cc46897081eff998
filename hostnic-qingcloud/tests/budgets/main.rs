//! How many calls on the wire of QingCloud's API a node costs: agent, pool and layers as the daemon has them, over the
//! simulator, in virtual time. What is counted is the simulator's history, so retries, pages and the provider's own looks
//! are in it.
//!
//! An account has 2,000 calls an hour, for all its nodes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking that it failed")]
#![expect(clippy::print_stdout, reason = "the figures are told")]

mod account;
mod gauge;
mod idle;
mod node;
mod pods;
mod restart;

use std::collections::BTreeMap;
use std::time::Duration;

use hostnic_qingcloud::simulator::Call;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = secs(3600);

/// Prints what was called, and how that compares with what is allowed. How many calls there were.
fn told(what: &str, calls: &[Call], allowed: usize) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    calls.iter().for_each(|call| *counts.entry(&call.action).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(action, count)| format!("{count} {action}")).collect();
    let parts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    println!("{what}: {} calls of at most {allowed}{parts}", calls.len());
    calls.len()
}
