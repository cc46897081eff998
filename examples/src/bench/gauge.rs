//! Measures one process, from a small process of its own.
//!
//! The kernel adds up what the children of a process took, and remembers the largest of them. A gauge therefore has one
//! child in its life. It must itself be small, because the kernel counts a child's first moments, when it still shares
//! its parent's memory, as the child's.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hostnic_core::clock::{BootTime, Clock, SystemClock};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The first argument that makes the benchmark's program a gauge; the second one is the program to be measured.
pub const GAUGE: &str = "gauge";

/// What a process took, with the processes that it started and waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    /// When it was started.
    pub(super) begun: BootTime,
    /// From its start until it was gone and its output read.
    pub(super) wall: Duration,
    /// Processor time, in user mode and in the kernel.
    pub(super) cpu: Duration,
    /// The most memory that it, or the largest of its children, had at any moment.
    pub(super) peak_kib: u64,
    pub(super) success: bool,
    pub(super) output: String,
}

/// Runs `program` with this process's environment and input, and prints what it took as JSON.
///
/// # Errors
/// When it cannot be run.
pub fn gauge(program: &Path) -> std::io::Result<()> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let measured = measure(program, &input)?;
    serde_json::to_writer(std::io::stdout(), &measured).map_err(std::io::Error::from)
}

fn measure(program: &Path, input: &[u8]) -> std::io::Result<Measured> {
    let (began, begun) = (Instant::now(), SystemClock.now());
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    let wall = began.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(Measured {
        begun,
        wall,
        cpu: cpu(&usage),
        peak_kib: usage.max_rss().unsigned_abs(),
        success: output.status.success(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

fn cpu(usage: &Usage) -> Duration {
    let time = |time: TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    time(usage.user_time()) + time(usage.system_time())
}
