//! How the demo's processes are started, so that each is where it belongs and none outlives the demo.
//!
//! The demo starts itself once more, and that becomes the program: it enters the node's namespace and asks the kernel
//! to be killed when the demo dies, which a process can only ask for itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hostnic_netlink::Netns;
use hostnic_netlink::isolation::enter_namespace;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use tokio::process::Command;

/// The name of the command that does it.
const COMMAND: &str = "launch";

/// What the demo tells itself.
#[derive(Debug, clap::Args)]
pub struct Launch {
    /// The demo's process.
    #[arg(long)]
    parent: i32,
    /// The network namespace to be in.
    #[arg(long)]
    netns: Option<PathBuf>,
    /// The program.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

impl Launch {
    /// Becomes the program. Call it before any thread is started.
    ///
    /// # Errors
    /// Why it could not; there is no other way to return.
    pub fn run(&self) -> Result<std::convert::Infallible, String> {
        if let Some(path) = &self.netns {
            let entered = Netns::open(path).and_then(enter_namespace);
            entered.map_err(|error| error.chain().to_string())?;
        }
        set_pdeathsig(Signal::SIGKILL)
            .map_err(|errno| format!("the kernel does not watch the demo: {errno}"))?;
        if getppid() != Pid::from_raw(self.parent) {
            return Err("the demo is gone already".to_owned());
        }
        let [program, arguments @ ..] = self.program.as_slice() else {
            return Err("no program is named".to_owned());
        };
        let error = std::process::Command::new(program).args(arguments).exec();
        Err(format!("{} cannot be run: {error}", Path::new(program).display()))
    }
}

/// A command whose arguments are yet to be added. It must be started by the demo's main thread, as the kernel takes
/// the end of the thread that started a process for the parent's.
///
/// Ctrl-C reaches the demo only: it is for the demo to say what becomes of its processes.
pub(super) fn launched(program: &Path, netns: Option<&Path>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).arg("--parent").arg(std::process::id().to_string());
    if let Some(netns) = netns {
        command.arg("--netns").arg(netns);
    }
    command.arg("--").arg(program).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}
