//! What the programmer does to real links and namespaces, with `ip` and `nft` as witnesses.
//!
//! Everything happens in a private network: nothing of the machine is touched, and no root is needed.
#![expect(clippy::unwrap_used, clippy::panic, reason = "an expectation that fails is how a trial fails")]

mod arrival;
mod by_gateway;
mod check;
mod conntrack;
mod gateway;
mod renumbered;
mod services;
mod setup;
mod shared;
mod silence;
mod speed;
mod teardown;
mod veth;
mod world;

use std::future::Future;
use std::process::{Command, ExitCode};

use hostnic_netlink::isolation::enter_private_world;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(reason) = ready()
    {
        // A skipped test must not look like a passed one where nobody reads the output.
        let in_ci = std::env::var_os("CI").is_some();
        let verdict = if in_ci { "FAILED" } else { "SKIPPED" };
        eprintln!("\n*** {verdict}: the programmer's tests did not run: {reason} ***\n");
        return if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let trials = [
        setup::trials(),
        silence::trials(),
        teardown::trials(),
        check::trials(),
        conntrack::trials(),
        gateway::trials(),
        arrival::trials(),
        speed::trials(),
        veth::trials(),
        shared::trials(),
        services::trials(),
        by_gateway::trials(),
        renumbered::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

fn ready() -> Result<(), String> {
    enter_private_world().map_err(|e| e.chain().to_string())?;
    for (tool, argument) in [("ip", "-V"), ("nsenter", "-V"), ("nft", "-v")] {
        let found = Command::new(tool).arg(argument).output();
        found.map_err(|e| {
            format!("`{tool}` is needed as the witness (packages iproute2, util-linux, nftables): {e}")
        })?;
    }
    Ok(())
}

/// A trial with a runtime of its own.
fn trial<F, T>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    Trial::test(name.to_owned(), move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failed::from(format!("no runtime: {e}")))?;
        runtime.block_on(test());
        Ok(())
    })
}
