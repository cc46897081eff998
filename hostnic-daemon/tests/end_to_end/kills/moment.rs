//! When to kill: seeded, and spread over what a burst takes.

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;

/// A moment of a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long after its beginning.
    At(Duration),
    /// After so many answers, and then so long.
    After(usize, Duration),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "at {time:.0?}"),
            Self::After(answers, time) => write!(f, "{time:.0?} after {answers} answers"),
        }
    }
}

/// Where the moments come from.
#[derive(Debug)]
pub(crate) struct Draw(Chance);

impl Draw {
    pub(crate) fn seeded() -> Self {
        Self(Chance::seeded())
    }

    /// From zero up to `longest`.
    fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64((self.0.next() % 10_000) as f64 / 10_000.0)
    }

    /// A moment of a burst of `calls` that takes `lasts`: one half by time, which meets what comes before the first
    /// answer, and one half by answers, which meets what comes between them.
    pub(crate) fn moment(&mut self, calls: usize, lasts: Duration) -> Moment {
        if self.0.next().is_multiple_of(2) {
            Moment::At(self.time(lasts))
        } else {
            let answers = self.0.below(calls);
            Moment::After(answers, self.time(lasts / u32::try_from(calls).unwrap()))
        }
    }
}
