//! When to kill: seeded, and spread over what a burst takes.

use std::fmt;
use std::time::Duration;

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

/// Where the moments come from: splitmix64.
#[derive(Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// Seeded by HOSTNIC_SEED, or by chance; the seed is printed.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("HOSTNIC_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| hostnic_daemon::seed().unwrap());
        println!("    HOSTNIC_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From zero up to `longest`.
    fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64((self.next() % 10_000) as f64 / 10_000.0)
    }

    /// A moment of a burst of `calls` that takes `lasts`: one half by time, which meets what comes before the first
    /// answer, and one half by answers, which meets what comes between them.
    pub(crate) fn moment(&mut self, calls: usize, lasts: Duration) -> Moment {
        if self.next().is_multiple_of(2) {
            Moment::At(self.time(lasts))
        } else {
            let answers = self.next() as usize % calls;
            Moment::After(answers, self.time(lasts / u32::try_from(calls).unwrap()))
        }
    }
}
