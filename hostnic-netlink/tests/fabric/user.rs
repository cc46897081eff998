//! The fabric for an ordinary user.

use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

/// The user and group that own nothing.
const NOBODY: u32 = 65534;
const WITNESS: &str = "packets_travel_in_a_subnet_and_between_subnets_and_nothing_is_counted";

/// Started by an ordinary user, all trials are proof enough.
pub(crate) fn trials(started_as_root: bool) -> Option<Trial> {
    started_as_root.then(|| Trial::test("an_ordinary_user_can_have_a_fabric", as_nobody))
}

fn as_nobody() -> Result<(), Failed> {
    // Nobody may have no way to where the tests were built.
    let program = "/run/fabric-tests";
    std::fs::copy(std::env::current_exe()?, program)?;
    let output = Command::new(program)
        .args(["--exact", WITNESS])
        .env("CI", "true")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") {
        return Ok(());
    }
    Err(format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}
