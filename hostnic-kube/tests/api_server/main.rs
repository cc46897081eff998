//! What the crate does with a real API server: etcd and kube-apiserver, as processes on this machine's loopback. No kubelet, no
//! scheduler and no root; nodes and pods are objects that the tests make.
//!
//! The programs are looked for in `$KUBEBUILDER_ASSETS`, as envtest's are, and else unpacked by `up` in `$HOSTNIC_K8S` or in the
//! folder `../shared/k8s` beside the repository.
//!
//! All is done with the rights that the crate's documentation lists, and no others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]
#![allow(clippy::print_stdout, reason = "what was counted is to be read by people, too")]

mod addresses;
mod admission;
mod away;
mod choice;
mod inherited;
mod leader;
mod node;
mod pods;
mod policies;
mod proxy;
mod repair;
mod rights;
mod rules;
mod server;
mod shares;
mod stage;
mod told;
mod tools;
mod vxnets;
mod world;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tracing_subscriber::EnvFilter;

use world::World;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Silent, unless RUST_LOG says otherwise.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    // What is counted is counted for one test at a time, and one of them ends the API server.
    arguments.test_threads = Some(1);
    let world = if arguments.list { Ok(World::unstarted()) } else { World::start() };
    let world = match world {
        Ok(world) => Arc::new(world),
        Err(reason) => {
            // A skipped test must not look like a passed one where nobody reads the output.
            let verdict = if std::env::var_os("CI").is_some() { "FAILED" } else { "SKIPPED" };
            eprintln!("\n*** {verdict}: the tests on a real API server did not run: {reason} ***\n");
            return ExitCode::from(u8::from(verdict == "FAILED"));
        }
    };
    // The last look is at what all the others did.
    let trials = [
        pods::trials(&world),
        node::trials(&world),
        told::trials(&world),
        policies::trials(&world),
        choice::trials(&world),
        vxnets::trials(&world),
        shares::trials(&world),
        leader::trials(&world),
        addresses::trials(&world),
        tools::trials(&world),
        admission::trials(&world),
    ];
    let trials = trials.into_iter().flatten().chain(away::trials(&world)).chain(rules::trials(&world));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    world.end();
    conclusion.exit_code()
}

fn trial<F, T>(world: &Arc<World>, name: &str, test: F) -> Trial
where
    F: FnOnce(Arc<World>) -> T + Send + 'static,
    T: Future<Output = ()>,
{
    let world = Arc::clone(world);
    Trial::test(name.to_owned(), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failed::from(format!("no runtime: {error}")))?;
        runtime.block_on(test(world));
        Ok(())
    })
}
