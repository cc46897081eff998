//! The image as its own script makes it.

use std::path::Path;
use std::process::Command;

const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/image/build");

/// What cargo tells a test of its own package. Build scripts of dependencies look at such variables, and are run anew
/// where they are others than at the last build.
const OF_CARGO: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Builds it into a file, by the profile that `daemon` was built by. It needs the user's own cargo and its files.
pub(crate) fn build(daemon: &str, archive: &Path) -> Result<(), String> {
    let folder = Path::new(daemon).parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let profile = match folder {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut command = Command::new(BUILD);
    command.args(["--profile", profile]).arg(archive);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_CARGO.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
