//! What every call came to, for whatever keeps the metrics.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{ErrorKind, QuotaScope, Result};
use crate::layer::call::{Answer, Call, Operation};
use crate::layer::layered::Around;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With an answer.
    Answered,
    /// With an error of this kind.
    Failed(ErrorKind),
    /// Its future was dropped first; what the cloud made of it is not known.
    Dropped,
}

impl Outcome {
    /// A short name in lower case, fit for a metric's label. There are few, and none holds an id.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Dropped => "dropped",
            Self::Failed(kind) => match kind {
                ErrorKind::NotFound => "not_found",
                ErrorKind::Quota(QuotaScope::Subnet) => "quota_subnet",
                ErrorKind::Quota(QuotaScope::Instance) => "quota_instance",
                ErrorKind::Quota(QuotaScope::Account) => "quota_account",
                ErrorKind::Throttled { .. } => "throttled",
                ErrorKind::Unauthorised => "unauthorised",
                ErrorKind::Conflict => "conflict",
                ErrorKind::Transient => "transient",
                ErrorKind::Invalid => "invalid",
                ErrorKind::Unsupported => "unsupported",
                ErrorKind::Exhausted => "exhausted",
                ErrorKind::Cancelled => "cancelled",
                ErrorKind::Damaged => "damaged",
                ErrorKind::Internal => "internal",
            },
        }
    }
}

/// One call that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The operation.
    pub operation: Operation,
    /// How many things it asked for; 0 where that is not known.
    pub asked: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub latency: Duration,
}

/// Keeps metrics. Called once for every call, from within it: it must not block.
pub trait Recorder: Send + Sync + Debug {
    /// A call has ended.
    fn record(&self, record: &CallRecord);
}

/// Tells a [`Recorder`] about each call, dropped ones included.
#[derive(Debug, Clone)]
pub struct Metrics {
    recorder: Arc<dyn Recorder>,
}

impl Metrics {
    /// Tells `recorder`.
    pub fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder }
    }
}

impl Around for Metrics {
    async fn around<T, F>(&self, call: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let mut running = Running {
            recorder: &*self.recorder,
            operation: call.operation(),
            asked: call.items(),
            outcome: Outcome::Dropped,
            since: Instant::now(),
        };
        let result = work.await;
        running.outcome = result.as_ref().map_or_else(|e| Outcome::Failed(e.kind()), |_| Outcome::Answered);
        result
    }
}

/// Records on drop, which is where both an ended and a dropped call come by.
struct Running<'a> {
    recorder: &'a dyn Recorder,
    operation: Operation,
    asked: usize,
    outcome: Outcome,
    since: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.recorder.record(&CallRecord {
            operation: self.operation,
            asked: self.asked,
            outcome: self.outcome,
            latency: self.since.elapsed(),
        });
    }
}
