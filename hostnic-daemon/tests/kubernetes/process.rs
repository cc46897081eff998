//! A program that runs beside the tests, and what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

/// How long anything may take that is not measured; all of it takes a small part of that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that was started, with its log.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: i32,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output goes to this file, behind what is in it. `entered` where the command's own process
    /// only waits for the program, as one that enters a namespace of processes does.
    pub(crate) fn start(mut command: Command, log: &Path, entered: bool) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let own = i32::try_from(child.id()).unwrap();
        let mut process = Self { child, pid: own, log: log.to_owned() };
        if entered {
            until(&format!("{command:?} has begun"), || {
                process.pid = child_of(own)?;
                Some(())
            });
        }
        process
    }

    /// The program's id, as the tests see it.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Sends a signal and waits for the end; answers whether it was a success.
    pub(crate) fn ends_by(self, signal: Signal) -> bool {
        self.signal(signal);
        self.ends()
    }

    /// Waits for the end; answers whether it was a success.
    pub(crate) fn ends(mut self) -> bool {
        let mut success = false;
        until(&format!("the end of {}", self.log.display()), || {
            success = self.child.try_wait().unwrap()?.success();
            Some(())
        });
        success
    }
}

/// The first child of a process.
pub(crate) fn child_of(parent: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Looks until something is there.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// The same, not for longer than this.
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        // Two processors are for the programs that are waited for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command to its end; what it printed, or what it complained of.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }
}

/// The same of one that is to succeed.
pub(crate) fn succeeds(command: &mut Command) -> String {
    output(command).unwrap_or_else(|said| panic!("{command:?}: {said}"))
}
