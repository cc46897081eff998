//! The fabric with real packets: what it carries, what it drops, and what becomes of its links.
//!
//! Everything happens in a private network: nothing of the machine is touched, and no root is needed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]

mod links;
mod management;
mod nftables;
mod policing;
mod traffic;
mod user;
mod world;

use std::future::Future;
use std::process::ExitCode;

use hostnic_netlink::isolation::enter_private_world;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let started_as_root = nix::unistd::geteuid().is_root();
    if !arguments.list
        && let Err(reason) = ready()
    {
        // A skipped test must not look like a passed one where nobody reads the output.
        let verdict = if std::env::var_os("CI").is_some() { "FAILED" } else { "SKIPPED" };
        eprintln!("\n*** {verdict}: the fabric's tests did not run: {reason} ***\n");
        return ExitCode::from(u8::from(verdict == "FAILED"));
    }
    let mut trials = Vec::new();
    trials.extend(traffic::trials());
    trials.extend(policing::trials());
    trials.extend(links::trials());
    trials.extend(management::trials());
    trials.extend(nftables::trials());
    trials.extend(user::trials(started_as_root));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn ready() -> Result<(), String> {
    enter_private_world().map_err(|e| e.chain().to_string())
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
