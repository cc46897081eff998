//! The node daemon on a real Kubernetes: an API server, two nodes with kubelet, containerd and kube-proxy in network
//! namespaces of a simulated cloud whose NICs are real links, and a machine of the same VPC that is no node.
//!
//! All of it is in namespaces of processes, mounts, networks and control groups that end with the tests. The programs
//! of Kubernetes come from the folder that HOSTNIC_K8S names, or from `../shared/k8s` beside the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails should panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "no runtime is blocked here, and the programs that are waited for tell nobody"
)]
#![allow(clippy::print_stdout, reason = "the figures are what these tests are for")]

mod annotations;
#[path = "../image/archive.rs"]
mod archive;
#[path = "../end_to_end/build.rs"]
mod build;
mod capture;
mod churn;
mod cloud;
mod cluster;
mod daemon;
mod enclosure;
mod hairpin;
mod image;
mod installation;
mod installed;
mod machine;
mod offence;
mod pod;
mod process;
mod reach;
mod ready;
mod reboot;
mod refusals;
#[path = "../../../hostnic-kube/tests/api_server/repair.rs"]
mod repair;
mod requests;
mod restarts;
mod scale;
mod scarcity;
mod shared;
mod stage;
mod stream;
#[path = "../end_to_end/documents/table.rs"]
mod table;
mod talk;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Set to `apart` by whoever runs these trials by themselves, beside all others.
const APART: &str = "KUBERNETES_TRIALS";

fn main() -> ExitCode {
    if std::env::var_os(APART).is_some_and(|told| told == "apart") {
        println!("The trials on Kubernetes run apart from this, as {APART} says.");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // There is one cluster, and what is measured would be disturbed.
    arguments.test_threads = Some(1);
    let outside = enclosure::folder().is_none();
    if outside && !arguments.list {
        return ready::run_inside();
    }
    // The cluster ends with the namespaces that it is in.
    libtest_mimic::run(&arguments, trials()).exit_code()
}

fn trials() -> Vec<Trial> {
    [
        reach::trials(),
        hairpin::trials(),
        annotations::trials(),
        scarcity::trials(),
        refusals::trials(),
        requests::trials(),
        offence::trials(),
        restarts::trials(),
        churn::trials(),
        reboot::trials(),
        shared::trials(),
        installed::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A trial on the cluster, which is there when it begins.
fn trial(name: &str, test: impl FnOnce(&'static world::World) + Send + 'static) -> Trial {
    Trial::test(name.to_owned(), move || {
        let begun = tokio::time::Instant::now();
        test(world::get());
        println!("    took {:.1} s", begun.elapsed().as_secs_f64());
        Ok(())
    })
}
