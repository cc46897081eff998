//! How long to wait between attempts.

use std::time::Duration;

use crate::id::InvalidValue;
use crate::random::split_mix;

/// Delays that double from a first one up to a longest one, shortened by a random part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    jitter: f64,
}

impl Backoff {
    /// Checks and takes the bounds. `jitter` is the largest part of a delay that may be taken off: 0 takes none, 1
    /// spreads a delay over everything from zero to its full length.
    ///
    /// # Errors
    /// [`InvalidValue`] when `first` is zero, `longest` is shorter than `first`, or `jitter` is not in 0 to 1.
    pub fn new(first: Duration, longest: Duration, jitter: f64) -> Result<Self, InvalidValue> {
        if first.is_zero() {
            return Err(InvalidValue::new(
                "first delay of a backoff",
                format!("{first:?}"),
                "longer than zero",
            ));
        }
        if longest < first {
            let rule = "at least as long as the first delay";
            return Err(InvalidValue::new("longest delay of a backoff", format!("{longest:?}"), rule));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(InvalidValue::new("jitter of a backoff", jitter.to_string(), "from 0 to 1"));
        }
        Ok(Self { first, longest, jitter })
    }

    /// The first delay, before anything is taken off.
    pub fn first(&self) -> Duration {
        self.first
    }

    /// The longest delay.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The delays, one after the other, without end. The same seed gives the same delays.
    pub fn delays(&self, seed: u64) -> impl Iterator<Item = Duration> + Send + use<> {
        let Self { first, longest, jitter } = *self;
        let mut full = first;
        let mut draw = seed;
        std::iter::repeat_with(move || {
            let (number, state) = split_mix(draw);
            draw = state;
            let delay = full.mul_f64(1.0 - jitter * unit(number));
            full = full.saturating_mul(2).min(longest);
            delay
        })
    }
}

impl Default for Backoff {
    /// From 200 ms to 10 s, up to half of it taken off.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(10), jitter: 0.5 }
    }
}

/// A number of [0, 1) made of the upper 53 bits, which are all that an `f64` holds exactly.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<_> =
            Backoff::new(FIRST, LONGEST, 0.0).unwrap().delays(1).take(6).map(|d| d.as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_takes_off_at_most_its_part_and_repeats_for_a_seed() {
        let backoff = Backoff::new(FIRST, FIRST, 0.25).unwrap();
        let delays: Vec<_> = backoff.delays(7).take(1000).collect();
        assert!(delays.iter().all(|d| (FIRST.mul_f64(0.75)..=FIRST).contains(d)));
        let shortest = delays.iter().min().unwrap();
        assert!(*shortest < FIRST.mul_f64(0.76), "{shortest:?}: the whole range is used");
        assert!(backoff.delays(7).take(1000).eq(delays));
        assert!(!backoff.delays(8).take(10).eq(backoff.delays(7).take(10)), "another seed, other delays");
    }

    #[test]
    fn bounds_that_make_no_sense_are_refused() {
        assert!(Backoff::new(Duration::ZERO, LONGEST, 0.0).is_err());
        assert!(Backoff::new(LONGEST, FIRST, 0.0).is_err());
        for jitter in [-0.1, 1.1, f64::NAN] {
            assert!(Backoff::new(FIRST, LONGEST, jitter).is_err(), "{jitter}");
        }
    }

    #[test]
    fn delays_stay_bounded_however_long_they_go_on() {
        let longest = Duration::from_secs(u64::MAX / 4);
        assert!(Backoff::new(FIRST, longest, 1.0).unwrap().delays(3).take(200).all(|d| d <= longest));
    }
}
