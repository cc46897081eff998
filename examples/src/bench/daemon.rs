//! The daemon, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hostnic_cni::contract::{Client, v1};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::mode::Mode;
use super::run::BenchError;

/// How long the pool may take to become warm.
const WARM_UP: Duration = Duration::from_secs(60);
/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(100);
/// How often to look whether the last address was given back.
const RELEASE_LOOK: Duration = Duration::from_millis(1);

/// A daemon that serves the node of this process from a simulated cloud. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    pid: u32,
    pub(super) socket: PathBuf,
}

impl Daemon {
    /// Starts it with its files in `folder`, and waits until `nics` NICs can be given to pods.
    pub(super) async fn start(
        program: &Path,
        folder: &Path,
        mode: Mode,
        nics: usize,
    ) -> Result<Self, BenchError> {
        let socket = folder.join("hostnic.sock");
        let limit = nics.to_string();
        let child = Command::new(program)
            .args(["start", "--provider", "sim", "--sim-job-ms", "100", "--log-level", "warn"])
            .args(mode.flags())
            .args(["--pool-low", &limit, "--pool-high", &limit, "--max-nics", &limit])
            .arg("--socket")
            .arg(&socket)
            .arg("--store")
            .arg(folder.join("state.redb"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::Daemon)?;
        let pid = child.id().ok_or_else(|| BenchError::Daemon(std::io::ErrorKind::NotFound.into()))?;
        let daemon = Self { child, pid, socket };
        timeout(WARM_UP, daemon.warm(nics)).await.map_err(|_| BenchError::Cold)?;
        Ok(daemon)
    }

    async fn warm(&self, nics: usize) {
        let mut look = interval(LOOK);
        while self.ready().await < nics {
            look.tick().await;
        }
    }

    /// How many NICs are ready; none while nobody answers yet.
    async fn ready(&self) -> usize {
        let Ok(mut client) = Client::connect(&self.socket).await else { return 0 };
        let nics = client.nics().await.unwrap_or_default();
        nics.iter().filter(|nic| nic.state() == v1::NicState::Ready).count()
    }

    /// Waits until no pod holds an address any more.
    pub(super) async fn released(&self) {
        let mut look = interval(RELEASE_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.pods().await != Some(0) {
            look.tick().await;
        }
    }

    async fn pods(&self) -> Option<usize> {
        let mut client = Client::connect(&self.socket).await.ok()?;
        Some(client.pods().await.ok()?.len())
    }

    /// The processor time that it has taken so far.
    pub(super) fn cpu(&self) -> Result<Duration, BenchError> {
        let text = self.proc("stat")?;
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
        cpu(&text, ticks.unwrap_or(100)).ok_or(BenchError::Proc { file: "stat" })
    }

    /// The most memory that it has had at any moment so far, in KiB.
    pub(super) fn peak_kib(&self) -> Result<u64, BenchError> {
        peak(&self.proc("status")?).ok_or(BenchError::Proc { file: "status" })
    }

    fn proc(&self, file: &'static str) -> Result<String, BenchError> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid)).map_err(|_| BenchError::Proc { file })
    }

    /// Ends it in good order.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        let pid = Pid::from_raw(self.pid.cast_signed());
        kill(pid, Signal::SIGTERM).map_err(|errno| BenchError::Daemon(errno.into()))?;
        self.child.wait().await.map(drop).map_err(BenchError::Daemon)
    }
}

/// User and system time in a `/proc/PID/stat`, whose second field is a name that may hold anything.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second))
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_of_a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 25 17 3 4 20 0 5 0 99";
        assert_eq!(cpu(stat, 100), Some(Duration::from_millis(420)));
        assert_eq!(peak("Name:\ta\nVmPeak:\t  900 kB\nVmHWM:\t  120 kB\n"), Some(120));
        assert_eq!(cpu("7 (a) S 1", 100), None);
    }
}
