//! Time that survives a restart of the process but not of the node.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since the node's boot, sleep included (CLOCK_BOOTTIME).
///
/// The store dies with the node's boot, so this is all the time that records need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct BootTime(Duration);

impl BootTime {
    /// The moment that lies `since_boot` after the boot.
    pub fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// How long after the boot this moment is.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this moment is; zero where it is before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Where the time of records comes from; injected, so that tests run in virtual time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present moment. Never goes back while the node is up.
    fn now(&self) -> BootTime;
}

/// The node's own CLOCK_BOOTTIME.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> BootTime {
        // The call fails only for a clock that the kernel does not know; Linux has had this one since 2.6.39.
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
        BootTime(Duration::from(time))
    }
}

/// tokio's clock, which tests can pause and advance, counted from the clock's making.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that begins one hour after the boot, so that moments in the past can be expressed.
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> BootTime {
        BootTime(Duration::from_secs(3600) + self.start.elapsed())
    }
}
