//! The image, and the programs in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::archive;

/// The daemon's program as cargo builds it for tests: the commands that people give are given by it.
pub(crate) const DAEMON: &str = env!("CARGO_BIN_EXE_hostnic-daemon");

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// The root file system of the image.
pub(crate) fn root() -> &'static Path {
    ROOT.get().unwrap()
}

/// Where the plugin is in the image.
pub(crate) fn path() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| root().join("usr/local/bin/hostnic"))
}

/// Builds the image, and unpacks it to a folder, which is there as long as what is answered.
pub(crate) fn image() -> Result<TempDir, String> {
    let place = tempfile::tempdir().map_err(|error| format!("no folder for the image: {error}"))?;
    let archive = place.path().join("image.tar");
    archive::build(DAEMON, &archive)?;
    let root = tempfile::tempdir().map_err(|error| format!("no folder for the image: {error}"))?;
    let layer = place.path().join("layer.tar");
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(place.path()).arg("./layer.tar"))?;
    run(Command::new("tar").arg("-xf").arg(&layer).arg("-C").arg(root.path()))?;
    // Nothing has set it before.
    let _ = ROOT.set(root.path().to_owned());
    Ok(root)
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
