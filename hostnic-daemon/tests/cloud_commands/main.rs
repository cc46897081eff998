//! The commands that ask the cloud without a daemon, as programs, against the simulated API.
//!
//! Everything happens in a private network: nothing of the machine is looked at or touched, and no root is needed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]
#![allow(clippy::print_stdout, reason = "what was found is to be read by people, too")]

mod causes;
mod doctor;
mod place;
#[path = "../end_to_end/starting.rs"]
mod starting;
mod sweep;

use std::process::{Command, ExitCode};

use hostnic_netlink::isolation::enter_private_world;
use libtest_mimic::Arguments;

use starting::trial;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They change settings of the one kernel namespace that all of them look at.
    arguments.test_threads = Some(1);
    let trials = [doctor::trials(), causes::trials(), sweep::trials()];
    starting::run("the tests of commands that ask the cloud", &arguments, ready, trials)
}

fn ready() -> Result<(), String> {
    enter_private_world().map_err(|error| error.chain().to_string())?;
    let witness = Command::new("nft").arg("-v").output();
    witness.map_err(|error| format!("`nft` is needed to set a firewall up (package nftables): {error}"))?;
    // The machine's own /sys would show its links.
    let remount = Command::new("mount").args(["-t", "sysfs", "sysfs", "/sys"]).output();
    remount
        .and_then(|mounted| {
            let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
            if mounted.status.success() { Ok(()) } else { Err(std::io::Error::other(said)) }
        })
        .map_err(|error| format!("the links of this network cannot be shown in /sys: {error}"))?;
    for setting in doctor::SOUND {
        doctor::set(setting).map_err(|error| format!("{}: {error}", setting.0))?;
    }
    Ok(())
}
