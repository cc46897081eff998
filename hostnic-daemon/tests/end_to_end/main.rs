//! What the project promises its users, from the plugin's own process to packets: each trial has nodes with real daemons
//! in a simulated cloud whose NICs are real links, calls the plugin as a runtime does, and looks at the outcome with
//! `ip` and `nft`. Each ends with nothing left over and no frame that a cloud would have dropped.
//!
//! Everything happens in a private network: nothing of the machine is touched, and no root is needed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]
#![allow(clippy::print_stdout, reason = "what a random trial did is needed to judge it, and to run it again")]

mod absent;
mod api;
mod both_kinds;
mod build;
mod burst;
mod chance;
mod churn;
mod collection;
mod contained;
mod damage;
mod documents;
mod drift;
mod emptied;
mod foreign;
mod found;
mod host;
mod kills;
mod lifecycle;
mod machine;
mod mistakes;
#[path = "../../../hostnic-qingcloud/tests/secrets/needles.rs"]
mod needles;
mod observers;
mod plugin;
mod pod;
mod points;
mod policies;
mod pool;
mod process;
mod qingcloud;
mod races;
mod reboot;
mod routes;
mod secrets;
mod services;
mod site;
mod starting;
mod unit;
mod vanished;
mod veth;
mod waiting;
mod witness;
mod world;

use std::num::NonZero;
use std::process::{Command, ExitCode};

use hostnic_netlink::isolation::enter_private_world;
use libtest_mimic::Arguments;

use starting::trial;

fn main() -> ExitCode {
    if let Some(code) = points::hosted() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // They wait for processes, kernels and clouds most of the time.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(2 * processors);
    // It needs the user's own cargo and its files, so it comes before all else.
    if !arguments.list
        && let Err(reason) = build::plugin()
    {
        eprintln!("\n*** FAILED: the end-to-end tests did not run: {reason} ***\n");
        return ExitCode::FAILURE;
    }
    let trials = [
        // The longest ones first.
        points::trials(),
        policies::trials(),
        lifecycle::trials(),
        vanished::trials(),
        drift::trials(),
        mistakes::trials(),
        foreign::trials(),
        absent::trials(),
        races::trials(),
        collection::trials(),
        routes::trials(),
        services::trials(),
        burst::trials(),
        process::trials(),
        qingcloud::trials(),
        kills::trials(),
        damage::trials(),
        reboot::trials(),
        found::trials(),
        secrets::trials(),
        documents::trials(),
        unit::trials(),
        observers::trials(),
        pool::trials(),
        emptied::trials(),
        both_kinds::trials(),
        churn::trials(),
        veth::trials(),
        waiting::trials(),
    ];
    starting::run("the end-to-end tests", &arguments, ready, trials)
}

fn ready() -> Result<(), String> {
    enter_private_world().map_err(|e| e.chain().to_string())?;
    for (tool, argument) in
        [("ip", "-V"), ("nsenter", "-V"), ("nft", "-v"), ("setpriv", "-V"), ("sysctl", "-V"), ("ping", "-V")]
    {
        let found = Command::new(tool).arg(argument).output();
        found.map_err(|e| {
            format!(
                "`{tool}` is needed as the witness (packages iproute2, util-linux, nftables, procps, iputils-ping): {e}"
            )
        })?;
    }
    Ok(())
}
