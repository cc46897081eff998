//! What passes a link, as `tcpdump` sees it.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::process::{Process, until};

/// A capture that runs.
#[derive(Debug)]
pub(crate) struct Capture {
    process: Process,
}

impl Capture {
    /// Begins to watch a machine's link for what a filter lets through.
    pub(crate) fn start(machine: &Machine, link: &str, filter: &str) -> Self {
        Self::within(&machine.netns(), machine, link, filter)
    }

    /// The same for a link of a pod on that machine.
    pub(crate) fn within(netns: &Path, machine: &Machine, link: &str, filter: &str) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display()));
        command.args(["--", "tcpdump", "-Z", "root", "--immediate-mode", "-l", "-nn", "-i", link, filter]);
        let log = machine.folder().join("capture.log");
        let _ = std::fs::remove_file(&log);
        let process = Process::start(command, Path::new(&log), false);
        until("tcpdump listens", || process.said().contains("listening on").then_some(()));
        Self { process }
    }

    /// Ends it; answers the packets, each a line.
    pub(crate) fn end(self) -> Vec<String> {
        let log = self.process.log().to_owned();
        assert!(self.process.ends_by(Signal::SIGINT));
        let said = std::fs::read_to_string(log).unwrap();
        said.lines().filter(|line| line.contains(" IP ")).map(str::to_owned).collect()
    }
}
