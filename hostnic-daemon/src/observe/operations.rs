//! ADD and DEL: how long they took, and how they ended.

use hostnic_core::Result;
use hostnic_core::layer::Outcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::Label;

/// In seconds: a warm ADD takes some hundredths, one that waits for a NIC some ten, and one that waits for its turn
/// at most 230.
const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 240.0];

/// What a runtime asks for, where its duration matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Del,
}

impl Operation {
    pub(crate) const ALL: [Self; 2] = [Self::Add, Self::Del];

    fn label(self) -> Label {
        let name = match self {
            Self::Add => "add",
            Self::Del => "del",
        };
        ("operation", name)
    }
}

/// The operations that have ended.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) ended: Family<[Label; 2], Counter>,
    /// By how they ended: what waited in vain says nothing about how fast pods get their NICs.
    pub(crate) durations: Family<[Label; 2], Histogram, fn() -> Histogram>,
    failed: Family<[Label; 1], Counter>,
}

impl Default for Operations {
    fn default() -> Self {
        let operations = Self {
            ended: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            failed: Family::default(),
        };
        // There from the start, so that the first one already shows as an increase.
        for operation in Operation::ALL {
            let labels = [operation.label(), result(Outcome::Answered)];
            drop(operations.ended.get_or_create(&labels));
            drop(operations.durations.get_or_create(&labels));
        }
        operations
    }
}

fn result(outcome: Outcome) -> Label {
    ("result", outcome.label())
}

impl Operations {
    /// How many have failed since the start; not those that nobody waited for any more.
    pub(crate) fn failed(&self, operation: Operation) -> u64 {
        self.failed.get_or_create(&[operation.label()]).get()
    }

    /// An operation begins. It counts when it is told its end, or as dropped when that never comes.
    pub(crate) fn begin(&self, operation: Operation) -> Running<'_> {
        Running { operations: self, operation, outcome: Outcome::Dropped, since: Instant::now() }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    operations: &'a Operations,
    operation: Operation,
    outcome: Outcome,
    since: Instant,
}

impl Running<'_> {
    /// It has ended like this.
    pub(crate) fn end<T>(mut self, ended: &Result<T>) {
        self.outcome = ended.as_ref().map_or_else(|e| Outcome::Failed(e.kind()), |_| Outcome::Answered);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let labels = [self.operation.label(), result(self.outcome)];
        if matches!(self.outcome, Outcome::Failed(_)) {
            self.operations.failed.get_or_create(&[self.operation.label()]).inc();
        }
        self.operations.ended.get_or_create(&labels).inc();
        self.operations.durations.get_or_create(&labels).observe(self.since.elapsed().as_secs_f64());
    }
}
