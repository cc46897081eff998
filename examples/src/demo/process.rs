//! A process of the demo's, and what it writes to its log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval_at, timeout};

/// How long a process may take for what it is waited for; it takes a small part of that.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look whether it has done so.
const LOOK: Duration = Duration::from_millis(50);

/// What a process did that it should not.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("{name} cannot be started")]
    Start {
        /// What it is called.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended too early, or not as it should.
    #[error("{name} has ended ({status}); its log says more")]
    Ended {
        /// What it is called.
        name: String,
        /// How.
        status: ExitStatus,
    },
    /// It did not do something in time.
    #[error("{name} {what} after {PATIENCE:?}; its log says more")]
    Late {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A process that runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a command, which logs to `log`. To be called by the main thread; see [`super::launch`].
    pub(super) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start { name: name.to_owned(), source };
        let log = File::create(log).map_err(failed)?;
        let child = command.stderr(log).spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its number; 0 when it has ended.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits until `look` finds what it looks for. `late` is what to say of the process when that does not come.
    pub(super) async fn until<T>(
        &mut self,
        late: &'static str,
        look: impl AsyncFn() -> Option<T>,
    ) -> Result<T, ProcessError> {
        let deadline = Instant::now() + PATIENCE;
        let mut tick = interval_at(Instant::now(), LOOK);
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return Ok(found);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(ProcessError::Ended { name: self.name.clone(), status });
            }
            if Instant::now() > deadline {
                return Err(ProcessError::Late { name: self.name.clone(), what: late });
            }
        }
    }

    /// Ends it in good order.
    pub(super) async fn stop(mut self) -> Result<(), ProcessError> {
        // Without a pid it has ended, which its status tells.
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        }
        let late = |_| ProcessError::Late { name: self.name.clone(), what: "has not ended" };
        let status = timeout(PATIENCE, self.child.wait()).await.map_err(late)?;
        let lost = |source| ProcessError::Start { name: self.name.clone(), source };
        match status.map_err(lost)? {
            status if status.success() => Ok(()),
            status => Err(ProcessError::Ended { name: self.name, status }),
        }
    }
}

/// The last lines of all logs below `folder`, each log under its name.
pub fn logs(folder: &Path) -> String {
    const LINES: usize = 20;
    let mut text = String::new();
    for path in log_files(folder) {
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        text.push_str(&format!("--- the end of {}\n{end}\n", path.display()));
    }
    text
}

fn log_files(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let below = entries(folder).into_iter().flat_map(|path| entries(&path));
    let mut logs: Vec<PathBuf> = below.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs
}
