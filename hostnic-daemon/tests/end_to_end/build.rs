//! The plugin's program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon's program; cargo builds it for these tests, and the plugin's is its neighbour.
pub(crate) const DAEMON: &str = env!("CARGO_BIN_EXE_hostnic-daemon");

static PLUGIN: OnceLock<PathBuf> = OnceLock::new();

/// Where the plugin is.
pub(crate) fn path() -> &'static Path {
    PLUGIN.get().unwrap()
}

/// Builds the plugin: cargo builds no program of another package for a test. Not started by cargo, these tests take
/// what was built before.
pub(crate) fn plugin() -> Result<(), String> {
    let beside = Path::new(DAEMON).with_file_name("hostnic");
    let built = match std::env::var_os("CARGO") {
        Some(cargo) => build(Path::new(&cargo), &beside)?,
        None => beside,
    };
    if !built.exists() {
        return Err(format!("there is no plugin at {}; run the tests by `cargo test`", built.display()));
    }
    // Nothing has set it before.
    let _ = PLUGIN.set(built);
    Ok(())
}

/// Into the folder and by the profile that the daemon was built in.
fn build(cargo: &Path, beside: &Path) -> Result<PathBuf, String> {
    let no_folder = || format!("{} is in no target folder", beside.display());
    let profile_folder = beside.parent().ok_or_else(no_folder)?;
    let target = profile_folder.parent().ok_or_else(no_folder)?;
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()).ok_or_else(no_folder)? {
        "debug" => "dev",
        name => name,
    };
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "hostnic-cni", "--bin", "hostnic", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .status()
        .map_err(|error| format!("cargo could not be run to build the plugin: {error}"))?;
    if status.success() {
        Ok(beside.to_owned())
    } else {
        Err("the plugin could not be built: see above".to_owned())
    }
}
