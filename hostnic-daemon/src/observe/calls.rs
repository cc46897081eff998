//! Calls to the cloud: how many, how they ended, how long they took, and how many of the hour's allowance they used up.

use std::sync::{Mutex, PoisonError};

use hostnic_core::layer::{CallRecord, Operation, Recorder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::Label;

/// How many calls QingCloud lets an account make in an hour, unless it was agreed otherwise. All nodes share them.
pub(crate) const HOURLY_LIMIT: u32 = 2000;

/// The minutes of an hour.
const MINUTES: u64 = 60;

/// In seconds: from what a near region takes to a deadline missed.
const BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// The calls to the cloud that have ended.
#[derive(Debug)]
pub(crate) struct CloudCalls {
    pub(crate) ended: Family<[Label; 2], Counter>,
    pub(crate) durations: Family<[Label; 1], Histogram, fn() -> Histogram>,
    hour: Mutex<Hour>,
    begun: Instant,
}

impl Default for CloudCalls {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            hour: Mutex::default(),
            begun: Instant::now(),
        }
    }
}

impl CloudCalls {
    /// How many calls of each operation the last hour saw, to the minute.
    pub(crate) fn last_hour(&self) -> Vec<(Operation, u32)> {
        let minute = self.minute();
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        Operation::ALL.into_iter().zip(hour.sums(minute)).collect()
    }

    fn minute(&self) -> u64 {
        self.begun.elapsed().as_secs() / 60
    }
}

impl Recorder for CloudCalls {
    fn record(&self, record: &CallRecord) {
        let action = ("action", record.operation.name());
        self.ended.get_or_create(&[action, ("outcome", record.outcome.label())]).inc();
        self.durations.get_or_create(&[action]).observe(record.latency.as_secs_f64());
        let minute = self.minute();
        self.hour.lock().unwrap_or_else(PoisonError::into_inner).count(minute, record.operation);
    }
}

const OPERATIONS: usize = Operation::ALL.len();

/// Counts by minute, for the last sixty of them.
#[derive(Debug)]
struct Hour {
    minutes: [[u32; OPERATIONS]; MINUTES as usize],
    latest: u64,
}

impl Default for Hour {
    fn default() -> Self {
        Self { minutes: [[0; OPERATIONS]; MINUTES as usize], latest: 0 }
    }
}

impl Hour {
    fn count(&mut self, minute: u64, operation: Operation) {
        self.forget_until(minute);
        let position = Operation::ALL.iter().position(|o| *o == operation).unwrap_or_default();
        let count = &mut self.minutes[(minute % MINUTES) as usize][position];
        *count = count.saturating_add(1);
    }

    fn sums(&mut self, minute: u64) -> [u32; OPERATIONS] {
        self.forget_until(minute);
        std::array::from_fn(|position| {
            self.minutes.iter().fold(0_u32, |sum, minute| sum.saturating_add(minute[position]))
        })
    }

    /// Empties the minutes that have begun since the latest that was counted in.
    fn forget_until(&mut self, minute: u64) {
        for new in (self.latest + 1..=minute).rev().take(MINUTES as usize) {
            self.minutes[(new % MINUTES) as usize] = [0; OPERATIONS];
        }
        self.latest = self.latest.max(minute);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(hour: &mut Hour, minute: u64) -> u32 {
        hour.sums(minute).iter().sum()
    }

    #[test]
    fn a_call_counts_for_an_hour() {
        let mut hour = Hour::default();
        hour.count(0, Operation::Jobs);
        hour.count(0, Operation::Jobs);
        hour.count(30, Operation::ListNics);
        let of = |operation| Operation::ALL.iter().position(|o| *o == operation).unwrap();
        assert_eq!(hour.sums(30)[of(Operation::Jobs)], 2);
        assert_eq!(total(&mut hour, 59), 3);
        assert_eq!(total(&mut hour, 60), 1);
        assert_eq!(total(&mut hour, 89), 1);
        assert_eq!(total(&mut hour, 90), 0);
    }

    #[test]
    fn nothing_of_days_ago_is_left() {
        let mut hour = Hour::default();
        hour.count(3, Operation::Jobs);
        assert_eq!(total(&mut hour, 3 + 60 * 24 * 365), 0);
        hour.count(3 + 60 * 24 * 365, Operation::Jobs);
        assert_eq!(total(&mut hour, 3 + 60 * 24 * 365), 1);
    }
}
