//! The simulated cloud's time: tokio's, and what was skipped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Time {
    start: Instant,
    /// In nanoseconds; 2^64 of them are 584 years.
    ahead: AtomicU64,
}

impl Time {
    /// Time that begins with `now`.
    pub(super) fn new(now: Duration) -> Self {
        Self { start: Instant::now(), ahead: AtomicU64::new(nanoseconds(now)) }
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed().saturating_add(self.ahead())
    }

    pub(super) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(nanoseconds(by), Ordering::Relaxed);
    }

    /// When `now` will be `at`; at once where it was before.
    pub(super) fn instant(&self, at: Duration) -> Option<Instant> {
        self.start.checked_add(at.saturating_sub(self.ahead()))
    }

    fn ahead(&self) -> Duration {
        Duration::from_nanos(self.ahead.load(Ordering::Relaxed))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
