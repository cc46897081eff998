//! The time of day, and how far ours is from the cloud's.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Where the time of signatures comes from; injected, so that tests know it.
pub trait WallClock: Send + Sync + Debug {
    /// The time of day.
    fn now(&self) -> SystemTime;
}

/// The machine's own time of day.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTimeOfDay;

impl WallClock for SystemTimeOfDay {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// How many seconds the cloud's clock is ahead of ours, as far as we were told.
#[derive(Debug)]
pub(crate) struct Skew(AtomicI64);

/// Stands for what nobody told.
const UNTOLD: i64 = i64::MIN;

impl Default for Skew {
    fn default() -> Self {
        Self(AtomicI64::new(UNTOLD))
    }
}

impl Skew {
    /// What was learned; `None` where the cloud never told its time.
    pub(crate) fn learned(&self) -> Option<i64> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds != UNTOLD).then_some(seconds)
    }

    /// `local` as the cloud's clock shows it.
    pub(crate) fn correct(&self, local: SystemTime) -> SystemTime {
        let seconds = self.learned().unwrap_or(0);
        let by = Duration::from_secs(seconds.unsigned_abs());
        let corrected = if seconds < 0 { local.checked_sub(by) } else { local.checked_add(by) };
        corrected.unwrap_or(local)
    }

    /// Remembers that the cloud's clock showed `cloud` when ours showed `local`. By how much it is ahead.
    pub(crate) fn learn(&self, cloud: SystemTime, local: SystemTime) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let ahead = match cloud.duration_since(local) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => seconds(behind.duration()).saturating_neg(),
        };
        self.0.store(ahead, Ordering::Relaxed);
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_corrects_in_both_directions() {
        let local = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let skew = Skew::default();
        assert_eq!((skew.correct(local), skew.learned()), (local, None));
        for ahead in [90, -90] {
            let cloud = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000u64.saturating_add_signed(ahead));
            assert_eq!(skew.learn(cloud, local), ahead);
            assert_eq!((skew.correct(local), skew.learned()), (cloud, Some(ahead)));
        }
    }
}
