//! Any of them, each as likely as the other.

use crate::id::SubnetId;

use super::{PolicyName, PolicyState, PoolPolicy, SubnetView};

/// Draws a usable subnet, each with the same probability.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

/// One step of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014): the whole
/// state is one number, which keeps the policy pure and its state small.
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31), state)
}

impl PoolPolicy for Random {
    fn name(&self) -> PolicyName {
        PolicyName::Random
    }

    fn choose(&self, state: &PolicyState, subnets: &[SubnetView]) -> Option<(SubnetId, PolicyState)> {
        let usable: Vec<_> = subnets.iter().filter(|s| s.usable()).collect();
        let count = u64::try_from(usable.len()).ok().filter(|n| *n > 0)?;
        let (value, draw) = next(state.draw);
        // The bias of the remainder is below 2^-50 for any number of subnets that a node can have.
        let chosen = usable.get(usize::try_from(value % count).ok()?)?.id.clone();
        Some((chosen.clone(), PolicyState { last: Some(chosen), draw }))
    }
}
