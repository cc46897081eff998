//! `hostnic-controller` as a process, against a real API server and the simulated API of the cloud, with the rights that its manifest
//! gives it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]
#![allow(clippy::print_stdout, reason = "what was seen is to be read by people, too")]
#![allow(
    clippy::disallowed_methods,
    reason = "no runtime is blocked here, and the programs that are waited for tell nobody"
)]

mod document;
mod follow;
mod place;
#[path = "../../../hostnic-kube/tests/api_server/repair.rs"]
mod repair;
#[path = "../../../hostnic-kube/tests/api_server/server.rs"]
mod server;
#[path = "../end_to_end/starting.rs"]
mod starting;

use std::process::{Command, ExitCode};

use libtest_mimic::Arguments;

use starting::trial;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each has an API server of its own, which takes its time.
    arguments.test_threads = Some(1);
    let trials = [document::trials(), follow::trials()];
    starting::run("the tests of hostnic-controller", &arguments, ready, trials)
}

fn ready() -> Result<(), String> {
    let kubectl = Command::new("kubectl").args(["version", "--client"]).output();
    kubectl.map_err(|error| format!("kubectl is needed (package kubernetes-client): {error}"))?;
    Ok(())
}
