//! Any of them, each as likely as the other.

use crate::id::SubnetId;
use crate::random::split_mix;

use super::{PolicyName, PolicyState, PoolPolicy, SubnetView};

/// Draws a usable subnet, each with the same probability.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl PoolPolicy for Random {
    fn name(&self) -> PolicyName {
        PolicyName::Random
    }

    fn choose(&self, state: &PolicyState, subnets: &[SubnetView]) -> Option<(SubnetId, PolicyState)> {
        let usable: Vec<_> = subnets.iter().filter(|s| s.usable()).collect();
        let count = u64::try_from(usable.len()).ok().filter(|n| *n > 0)?;
        let (value, draw) = split_mix(state.draw);
        // The bias of the remainder is below 2^-50 for any number of subnets that a node can have.
        let chosen = usable.get(usize::try_from(value % count).ok()?)?.id.clone();
        Some((chosen.clone(), PolicyState { last: Some(chosen), draw }))
    }
}
