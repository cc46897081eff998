//! A longest time for each call.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layer::call::{Answer, Call, Operation};
use crate::layer::layered::Around;

/// Drops a call that takes too long, with a `Transient` error.
///
/// The cloud may have carried out a write all the same, so its error says [`Effect::Unknown`](crate::Effect::Unknown).
/// The time is that of one attempt, without what the layers outside wait for. A survey has twice that of a read, as it is
/// two reads at least, one after the other.
#[derive(Debug, Clone)]
pub struct Deadline {
    reads: Duration,
    writes: Duration,
    exceptions: BTreeMap<Operation, Duration>,
}

impl Deadline {
    /// Gives each read and each write so long.
    pub fn new(reads: Duration, writes: Duration) -> Self {
        Self { reads, writes, exceptions: BTreeMap::new() }
    }

    /// Gives `operation` so long, whatever the others have.
    #[must_use]
    pub fn except(mut self, operation: Operation, time: Duration) -> Self {
        self.exceptions.insert(operation, time);
        self
    }

    /// How long `operation` may take.
    pub fn of(&self, operation: Operation) -> Duration {
        let usual = match operation {
            Operation::Survey => self.reads.saturating_mul(2),
            operation if operation.is_write() => self.writes,
            _ => self.reads,
        };
        self.exceptions.get(&operation).copied().unwrap_or(usual)
    }
}

impl Default for Deadline {
    /// 15 s for a read, 30 s for a write: clouds take long to refuse a create.
    fn default() -> Self {
        Self::new(Duration::from_secs(15), Duration::from_secs(30))
    }
}

impl Around for Deadline {
    async fn around<T, F>(&self, call: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let operation = call.operation();
        let time = self.of(operation);
        let Ok(result) = tokio::time::timeout(time, work).await else {
            let late = Error::new(ErrorKind::Transient, operation.phrase(), call)
                .detail(format_args!("the cloud did not answer within {time:?}"));
            return Err(if operation.is_write() { late.effect_unknown() } else { late });
        };
        result
    }
}
