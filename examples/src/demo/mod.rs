//! The demo: a cloud's API on a port, two nodes with their daemons, six pods; everything real but the cloud.

mod admin;
mod cloud;
mod launch;
mod node;
mod picture;
mod process;
mod report;
mod story;
mod teller;
mod world;

use std::path::PathBuf;

use crate::programs::{DAEMON, PLUGIN, Program, SIMULATOR};

pub use admin::AdminError;
pub use launch::Launch;
pub use picture::picture;
pub use process::{ProcessError, logs};
pub use report::{Calls, LastWord, Ping, Pod, Report};
pub use story::{DemoError, run};
pub use teller::Teller;

/// The programs that run in the demo.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The CNI plugin.
    pub plugin: PathBuf,
    /// The daemon of a node.
    pub daemon: PathBuf,
    /// The cloud's API.
    pub simulator: PathBuf,
}

impl Programs {
    /// Those in `folder`; otherwise builds them, or takes those beside this program.
    ///
    /// # Errors
    /// What is missing.
    pub fn find(folder: Option<PathBuf>) -> Result<Self, String> {
        let find = |program: Program| match &folder {
            Some(folder) => program.inside(folder),
            None => program.built(),
        };
        Ok(Self { plugin: find(PLUGIN)?, daemon: find(DAEMON)?, simulator: find(SIMULATOR)? })
    }
}
