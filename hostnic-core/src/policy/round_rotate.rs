//! One from each in turn.

use crate::id::SubnetId;

use super::{PolicyName, PolicyState, PoolPolicy, SubnetView, first_usable, start};

/// Goes to the next subnet for each NIC.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRotate;

impl PoolPolicy for RoundRotate {
    fn name(&self) -> PolicyName {
        PolicyName::RoundRotate
    }

    fn choose(&self, state: &PolicyState, subnets: &[SubnetView]) -> Option<(SubnetId, PolicyState)> {
        let chosen = first_usable(subnets, start(state, subnets, true))?.id.clone();
        Some((chosen.clone(), PolicyState { last: Some(chosen), draw: state.draw }))
    }
}
