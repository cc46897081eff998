//! Stay until it fails.

use crate::id::SubnetId;

use super::{PolicyName, PolicyState, PoolPolicy, SubnetView, first_usable, start};

/// Stays on one subnet until a creation there fails or it is full, then goes on to the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct FailRotate;

impl PoolPolicy for FailRotate {
    fn name(&self) -> PolicyName {
        PolicyName::FailRotate
    }

    fn choose(&self, state: &PolicyState, subnets: &[SubnetView]) -> Option<(SubnetId, PolicyState)> {
        let chosen = first_usable(subnets, start(state, subnets, false))?.id.clone();
        Some((chosen.clone(), PolicyState { last: Some(chosen), draw: state.draw }))
    }
}
