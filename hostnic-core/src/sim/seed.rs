//! Where the simulated cloud's chance and its names come from.

use serde::{Deserialize, Serialize};

use crate::id::{JobId, MacAddr};
use crate::random::split_mix;

/// Draws the same numbers for the same seed on every machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed, from the first on.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "there is no end to iterate to")]
    pub fn next(&mut self) -> u64 {
        let (number, state) = split_mix(self.0);
        self.0 = state;
        number
    }

    /// Below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // The upper 53 bits are exact in an f64: a number from 0 up to, not including, 1.
        let upper = self.next() >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
        let drawn = upper as f64 / (1u64 << 53) as f64;
        drawn < probability
    }
}

/// Gives out names that never come twice and look like a cloud's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Names {
    start: u32,
    macs: u32,
    jobs: u32,
    reservations: u32,
}

impl Names {
    /// Odd, so that multiplying by it modulo a power of two maps no two numbers to one.
    const STRIDE: u32 = 0x9e37_79b1;

    pub(super) fn new(random: &mut Random) -> Self {
        let [a, b, c, d, ..] = random.next().to_le_bytes();
        Self { start: u32::from_le_bytes([a, b, c, d]), macs: 0, jobs: 0, reservations: 0 }
    }

    fn scatter(&self, number: u32) -> u32 {
        number.wrapping_mul(Self::STRIDE).wrapping_add(self.start)
    }

    /// The next MAC; after 2^24 of them they begin again.
    pub(super) fn mac(&mut self) -> MacAddr {
        let [a, b, c, _] = self.scatter(self.macs).to_le_bytes();
        self.macs = self.macs.wrapping_add(1);
        #[expect(clippy::expect_used, reason = "0x52 is neither zero nor a group address")]
        MacAddr::new([0x52, 0x54, 0x00, c, b, a]).expect("a unicast address")
    }

    pub(super) fn job(&mut self) -> JobId {
        let number = self.scatter(self.jobs);
        self.jobs = self.jobs.wrapping_add(1);
        #[expect(clippy::expect_used, reason = "letters, digits and '-' only")]
        JobId::new(format!("j-{number:08x}")).expect("a valid id")
    }

    pub(super) fn reservation(&mut self) -> String {
        let number = self.scatter(self.reservations);
        self.reservations = self.reservations.wrapping_add(1);
        format!("vip-{number:08x}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_do_not_repeat_and_are_the_same_for_the_same_seed() {
        let macs = |seed| {
            let mut names = Names::new(&mut Random::new(seed));
            (0..10_000).map(|_| names.mac().to_string()).collect::<Vec<_>>()
        };
        let first = macs(7);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());
        assert_eq!(first, macs(7));
        assert_ne!(first, macs(8));
    }

    #[test]
    fn chance_keeps_to_its_probability() {
        let mut random = Random::new(1);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
    }
}
