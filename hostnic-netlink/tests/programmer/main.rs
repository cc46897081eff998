//! What the programmer does to real links and namespaces, with `ip` as the witness.
//!
//! Everything happens in a private network: nothing of the machine is touched, and no root is needed.

mod primitives;
mod world;

use std::future::Future;
use std::process::ExitCode;

use hostnic_netlink::isolation::enter_private_world;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(reason) = ready()
    {
        // A skipped test must not look like a passed one where nobody reads the output.
        let verdict = if std::env::var_os("CI").is_some() { "FAILED" } else { "SKIPPED" };
        eprintln!("\n*** {verdict}: the programmer's tests did not run: {reason} ***\n");
        return ExitCode::from(u8::from(verdict == "FAILED"));
    }
    libtest_mimic::run(&arguments, primitives::trials()).exit_code()
}

fn ready() -> Result<(), String> {
    enter_private_world().map_err(|e| e.chain().to_string())?;
    let ip = std::process::Command::new("ip").arg("-V").output();
    ip.map(drop).map_err(|e| format!("`ip` (iproute2) is needed as the witness: {e}"))
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
