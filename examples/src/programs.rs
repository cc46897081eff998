//! The programs that the demo and the benchmark start: built beside this one, in the same profile.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the workspace.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The package that it is built from.
    pub package: &'static str,
    /// Its name.
    pub name: &'static str,
}

/// The CNI plugin.
pub const PLUGIN: Program = Program { package: "hostnic-cni", name: "hostnic" };
/// The daemon of a node.
pub const DAEMON: Program = Program { package: "hostnic-daemon", name: "hostnic-daemon" };
/// The cloud's API, simulated.
pub const SIMULATOR: Program = Program { package: "hostnic-daemon", name: "hostnic-sim" };

/// What has cargo build in the profile of this program.
const RELEASE: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };

impl Program {
    /// Builds it, where this program was started by cargo; otherwise whoever built this one has built it too.
    ///
    /// # Errors
    /// What is missing, and how to name one that is elsewhere.
    pub fn built(self) -> Result<PathBuf, String> {
        let own =
            std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let Some(cargo) = std::env::var_os("CARGO") else {
            return self.inside(own.parent().unwrap_or(Path::new("/")));
        };
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", self.package, "--bin", self.name]);
        self.run(build.args(RELEASE))?;
        Ok(own.with_file_name(self.name))
    }

    /// Builds it as it is deployed, with all that it links inside. Otherwise as [`Program::built`].
    ///
    /// # Errors
    /// As there.
    pub fn deployed(self) -> Result<PathBuf, String> {
        let own =
            std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let (Some(cargo), Some(profile)) = (std::env::var_os("CARGO"), own.parent()) else {
            return self.built();
        };
        let target = profile.parent().unwrap_or(Path::new("/"));
        let folder = target.join("deployed");
        let mut build = Command::new(cargo);
        // What it depends on is built once for all uses; the program itself goes to a folder of its own.
        build.env("CARGO_BUILD_BUILD_DIR", target).env("CARGO_TARGET_DIR", &folder);
        build.args(["rustc", "--quiet", "--package", self.package, "--bin", self.name]);
        self.run(build.args(RELEASE).args(["--", "-C", "target-feature=+crt-static"]))?;
        Ok(folder.join(profile.file_name().unwrap_or_default()).join(self.name))
    }

    fn run(self, build: &mut Command) -> Result<(), String> {
        for (name, _) in std::env::vars_os().filter(|(name, _)| says_what_is_run(name)) {
            build.env_remove(name);
        }
        let status = build.status().map_err(|error| format!("cargo could not be run: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{} could not be built: see above", self.name)) }
    }

    /// The one in `folder`.
    ///
    /// # Errors
    /// What is missing, and how to name one that is elsewhere.
    pub fn inside(self, folder: &Path) -> Result<PathBuf, String> {
        let program = folder.join(self.name);
        if program.exists() {
            Ok(program)
        } else {
            Err(format!("there is no {} at {}; build it, or name one", self.name, program.display()))
        }
    }
}

/// Whether `cargo run` set the variable to tell a program about its own package. Handed on, it would tell build scripts
/// that they are out of date: ring's asks for them, and everything above ring would be built anew at each start.
fn says_what_is_run(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
