//! Chance that can be repeated: splitmix64.

/// Where random trials take their decisions from.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeded by HOSTNIC_SEED, or by chance; the seed is printed.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("HOSTNIC_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| hostnic_daemon::seed().unwrap());
        println!("    HOSTNIC_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
