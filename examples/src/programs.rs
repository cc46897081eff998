//! The programs that the demo and the benchmark start: built beside this one, in the same profile.

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
        let program = own.with_file_name(self.name);
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", self.package, "--bin", self.name]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.status().map_err(|error| format!("cargo could not be run: {error}"))?;
        if status.success() {
            Ok(program)
        } else {
            Err(format!("{} could not be built: see above", self.name))
        }
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
