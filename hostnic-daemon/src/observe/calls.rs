//! Calls to the cloud: how many, how they ended, how long they took, and how many of the hour's allowance they used up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hostnic_core::layer::{CallRecord, Operation, Recorder};
use hostnic_qingcloud::{Action, RequestRecorder};
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
    /// Whether requests are told one by one, so that operations are none of the hour's.
    by_request: AtomicBool,
    begun: Instant,
}

impl Default for CloudCalls {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            hour: Mutex::new(Hour::with(Operation::ALL.map(Operation::name))),
            by_request: AtomicBool::new(false),
            begun: Instant::now(),
        }
    }
}

impl CloudCalls {
    /// How many requests of each kind the last hour saw, to the minute: the API's actions where it tells them, the
    /// provider's operations elsewhere.
    pub(crate) fn last_hour(&self) -> BTreeMap<&'static str, u32> {
        let minute = self.minute();
        self.hour().sums(minute)
    }

    /// From now on the hour's allowance is used up by requests, of which an operation may be several.
    pub(super) fn count_requests(&self) {
        self.by_request.store(true, Ordering::Relaxed);
        *self.hour() = Hour::with([]);
    }

    fn hour(&self) -> MutexGuard<'_, Hour> {
        self.hour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, action: &'static str) {
        let minute = self.minute();
        self.hour().count(minute, action);
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
        if !self.by_request.load(Ordering::Relaxed) {
            self.count(record.operation.name());
        }
    }
}

impl RequestRecorder for CloudCalls {
    fn sent(&self, action: Action) {
        self.count(action.name());
    }
}

/// Counts by minute, for the last sixty of them.
#[derive(Debug)]
struct Hour {
    minutes: [BTreeMap<&'static str, u32>; MINUTES as usize],
    /// What was ever counted: it is told as 0 when there was none of it.
    known: BTreeSet<&'static str>,
    latest: u64,
}

impl Hour {
    /// An hour without any of these, and of whatever else comes.
    fn with(known: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            minutes: std::array::from_fn(|_| BTreeMap::new()),
            known: known.into_iter().collect(),
            latest: 0,
        }
    }

    fn count(&mut self, minute: u64, action: &'static str) {
        self.forget_until(minute);
        self.known.insert(action);
        let count = self.minutes[(minute % MINUTES) as usize].entry(action).or_default();
        *count = count.saturating_add(1);
    }

    fn sums(&mut self, minute: u64) -> BTreeMap<&'static str, u32> {
        self.forget_until(minute);
        let sum = |action: &&'static str| {
            let counts = self.minutes.iter().filter_map(|minute| minute.get(action));
            (*action, counts.fold(0_u32, |sum, count| sum.saturating_add(*count)))
        };
        self.known.iter().map(sum).collect()
    }

    /// Empties the minutes that have begun since the latest that was counted in.
    fn forget_until(&mut self, minute: u64) {
        for new in (self.latest + 1..=minute).rev().take(MINUTES as usize) {
            self.minutes[(new % MINUTES) as usize].clear();
        }
        self.latest = self.latest.max(minute);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hostnic_core::layer::Outcome;

    use super::*;

    fn total(hour: &mut Hour, minute: u64) -> u32 {
        hour.sums(minute).values().sum()
    }

    #[test]
    fn a_call_counts_for_an_hour() {
        let mut hour = Hour::with(["jobs", "list_nics", "subnets"]);
        hour.count(0, "jobs");
        hour.count(0, "jobs");
        hour.count(30, "list_nics");
        assert_eq!(hour.sums(30), [("jobs", 2), ("list_nics", 1), ("subnets", 0)].into());
        assert_eq!(total(&mut hour, 59), 3);
        assert_eq!(total(&mut hour, 60), 1);
        assert_eq!(total(&mut hour, 89), 1);
        assert_eq!(total(&mut hour, 90), 0);
    }

    #[test]
    fn nothing_of_days_ago_is_left() {
        let mut hour = Hour::with([]);
        hour.count(3, "jobs");
        assert_eq!(total(&mut hour, 3 + 60 * 24 * 365), 0);
        hour.count(3 + 60 * 24 * 365, "jobs");
        assert_eq!(total(&mut hour, 3 + 60 * 24 * 365), 1);
    }

    #[test]
    fn operations_are_none_of_the_hours_where_requests_are_told() {
        let record = CallRecord {
            operation: Operation::ListNics,
            asked: 0,
            outcome: Outcome::Answered,
            latency: Duration::ZERO,
        };
        let calls = CloudCalls::default();
        calls.record(&record);
        assert_eq!(calls.last_hour()["list_nics"], 1);
        calls.count_requests();
        calls.record(&record);
        calls.sent(Action::DescribeNics);
        calls.sent(Action::DescribeNics);
        assert_eq!(calls.last_hour(), [("DescribeNics", 2)].into());
    }
}
