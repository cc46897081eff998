//! Not more calls than the cloud allows.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::{ErrorKind, Result};
use crate::id::InvalidValue;
use crate::layer::call::{Answer, Call};
use crate::layer::layered::Around;

/// How many calls are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
    pause: Duration,
    longest_pause: Duration,
}

impl Rate {
    /// `calls` in each `period`, evenly spread, of which `burst` may come at once after a quiet time.
    ///
    /// # Errors
    /// [`InvalidValue`] for a period so short that no time would lie between two calls.
    pub fn new(calls: NonZeroU32, period: Duration, burst: NonZeroU32) -> Result<Self, InvalidValue> {
        let interval = period / calls.get();
        if interval.is_zero() {
            let value = format!("{calls} calls in {period:?}");
            return Err(InvalidValue::new("rate", value, "at most one call in a nanosecond"));
        }
        Ok(Self { interval, burst, pause: Duration::from_secs(1), longest_pause: Duration::from_secs(60) })
    }

    /// How long everybody pauses after a `Throttled` that tells no time, and the longest time that is believed of one
    /// that does. By default 1 s and 60 s.
    ///
    /// # Errors
    /// [`InvalidValue`] when the longest is shorter than the usual one.
    pub fn pauses(self, usual: Duration, longest: Duration) -> Result<Self, InvalidValue> {
        if longest < usual {
            let rule = "at least as long as the usual pause";
            return Err(InvalidValue::new("longest pause", format!("{longest:?}"), rule));
        }
        Ok(Self { pause: usual, longest_pause: longest, ..self })
    }

    /// How far the schedule may lag behind the clock: what makes up a burst.
    fn tolerance(&self) -> Duration {
        self.interval.saturating_mul(self.burst.get() - 1)
    }
}

/// Spreads the calls of a whole client evenly, and stops all of them for a while when the cloud says `Throttled`.
///
/// The schedule is GCRA, the cell rate algorithm of ATM: one moment in time instead of a bucket that is refilled.
/// Calls go out in the order in which they came. Dropping one that waits gives its place to the next.
#[derive(Debug, Clone)]
pub struct RateLimit {
    rate: Rate,
    /// Held by whoever is next, while it waits for its moment: this makes the queue, and its order.
    turn: Arc<tokio::sync::Mutex<()>>,
    schedule: Arc<Mutex<Schedule>>,
}

/// When the next call may go.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// When the next call is due if all come evenly (GCRA's theoretical arrival time).
    due: Instant,
    /// Nobody goes before this.
    paused_until: Instant,
}

impl Schedule {
    /// Lets a call go now, or tells until when to wait.
    fn admit(&mut self, now: Instant, rate: &Rate) -> Result<(), Instant> {
        if now < self.paused_until {
            return Err(self.paused_until);
        }
        if self.due.saturating_duration_since(now) > rate.tolerance() {
            return Err(self.due - rate.tolerance());
        }
        self.due = self.due.max(now) + rate.interval;
        Ok(())
    }

    /// After a pause calls come one by one: whatever was saved up for a burst is what the cloud just refused.
    fn pause(&mut self, until: Instant, rate: &Rate) {
        self.paused_until = self.paused_until.max(until);
        self.due = self.due.max(self.paused_until + rate.tolerance());
    }
}

impl RateLimit {
    /// Lets through what `rate` allows, clones of this layer included.
    pub fn new(rate: Rate) -> Self {
        let now = Instant::now();
        Self {
            rate,
            turn: Arc::default(),
            schedule: Arc::new(Mutex::new(Schedule { due: now, paused_until: now })),
        }
    }

    /// Waits until a call may go, and counts it. For calls that do not go through a provider but use up the same quota.
    ///
    /// Dropping it counts nothing.
    pub async fn admit(&self) {
        let _turn = self.turn.lock().await;
        // Looked at again after each wait: a pause may have begun meanwhile.
        while let Err(until) = self.admit_now() {
            sleep_until(until).await;
        }
    }

    fn admit_now(&self) -> Result<(), Instant> {
        self.schedule().admit(Instant::now(), &self.rate)
    }

    /// Stops everybody for `retry_after`, within the bounds of the rate.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or(self.rate.pause).min(self.rate.longest_pause);
        self.schedule().pause(Instant::now() + pause, &self.rate);
    }

    /// The schedule is consistent after each statement on it, so a panic elsewhere does not spoil it.
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Around for RateLimit {
    async fn around<T, F>(&self, _: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        self.admit().await;
        let result = work.await;
        if let Err(error) = &result
            && let ErrorKind::Throttled { retry_after } = error.kind()
        {
            self.throttled(retry_after);
        }
        result
    }
}
