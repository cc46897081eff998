//! The bounds of the retry layer.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::id::InvalidValue;
use crate::layer::backoff::Backoff;

/// How often and how long calls are tried again, and how a write whose answer was lost is looked up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    backoff: Backoff,
    attempts: NonZeroU32,
    elapsed: Duration,
    longest_hint: Duration,
    visibility_delay: Duration,
    looks: NonZeroU32,
    seed: u64,
}

impl RetryConfig {
    /// At most `attempts` attempts, the last one begun at most `elapsed` after the first, with `backoff` between them.
    ///
    /// One attempt means that nothing is tried again; creates are still looked up.
    pub fn new(backoff: Backoff, attempts: NonZeroU32, elapsed: Duration) -> Self {
        Self { backoff, attempts, elapsed, ..Self::default() }
    }

    /// The last attempt begins at most `elapsed` after the first.
    #[must_use]
    pub fn within(self, elapsed: Duration) -> Self {
        Self { elapsed, ..self }
    }

    /// The longest delay that a `Throttled` may ask for; a longer one is cut to this.
    ///
    /// # Errors
    /// [`InvalidValue`] when it is shorter than the first delay of the backoff.
    pub fn with_longest_hint(self, longest_hint: Duration) -> Result<Self, InvalidValue> {
        if longest_hint < self.backoff.first() {
            let rule = "at least as long as the first delay of the backoff";
            return Err(InvalidValue::new("longest retry-after", format!("{longest_hint:?}"), rule));
        }
        Ok(Self { longest_hint, ..self })
    }

    /// What to do when nobody knows whether a write was carried out: look up to `looks` times, each after
    /// `visibility_delay`. Together they must take longer than the cloud's lists ever lag behind.
    #[must_use]
    pub fn with_looks(self, looks: NonZeroU32, visibility_delay: Duration) -> Self {
        Self { looks, visibility_delay, ..self }
    }

    /// The seed of the jitter. Nodes should differ in it, or they all come back at the same moment.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The delays between attempts.
    pub fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// The most attempts of one call.
    pub fn attempts(&self) -> NonZeroU32 {
        self.attempts
    }

    /// How long after the first attempt the last one may begin.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The longest delay that a `Throttled` may ask for.
    pub fn longest_hint(&self) -> Duration {
        self.longest_hint
    }

    /// How long to wait before each look at what became of a write.
    pub fn visibility_delay(&self) -> Duration {
        self.visibility_delay
    }

    /// How often to look before a create counts as not carried out, or a detach as done.
    pub fn looks(&self) -> NonZeroU32 {
        self.looks
    }

    /// The seed of the jitter.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Default for RetryConfig {
    /// Five attempts within two minutes, three looks two seconds apart.
    fn default() -> Self {
        const FIVE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
        const THREE: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
        Self {
            backoff: Backoff::default(),
            attempts: FIVE,
            elapsed: Duration::from_secs(120),
            longest_hint: Duration::from_secs(60),
            visibility_delay: Duration::from_secs(2),
            looks: THREE,
            seed: 0,
        }
    }
}
