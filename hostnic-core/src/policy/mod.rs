//! Which subnet the next NIC comes from.

mod fail_rotate;
mod random;
mod round_rotate;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::id::{InvalidValue, SubnetId};

pub use fail_rotate::FailRotate;
pub use random::Random;
pub use round_rotate::RoundRotate;

/// What a policy may know of a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetView {
    /// The subnet.
    pub id: SubnetId,
    /// How many more NICs it can take, those chosen earlier in this round taken off; `None` where nobody knows.
    pub room: Option<u32>,
    /// Whether it failed or was full a short while ago, so that it is left alone for now.
    pub set_aside: bool,
}

impl SubnetView {
    /// Whether a NIC may be asked of it now.
    pub fn usable(&self) -> bool {
        !self.set_aside && self.room != Some(0)
    }
}

/// Where a policy is: all that it carries from one choice to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyState {
    /// The subnet of the last choice.
    pub last: Option<SubnetId>,
    /// The state of its random numbers; any value is a valid start.
    pub draw: u64,
}

/// Chooses the subnet of the next NIC. Pure: the same state and subnets give the same choice.
///
/// It is asked once per NIC; who asks groups the answers into one create per subnet. NICs of a create that failed are
/// asked about again, with that subnet set aside.
pub trait PoolPolicy: Send + Sync + Debug {
    /// The policy's name, as configuration and metrics have it.
    fn name(&self) -> PolicyName;

    /// The subnet of the next NIC and the state after that choice; `None` when no subnet is usable.
    ///
    /// Only [usable](SubnetView::usable) subnets may be chosen. The order of `subnets` is the order of configuration.
    fn choose(&self, state: &PolicyState, subnets: &[SubnetView]) -> Option<(SubnetId, PolicyState)>;
}

/// The policies that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PolicyName {
    /// [`FailRotate`].
    FailRotate,
    /// [`RoundRotate`].
    RoundRotate,
    /// [`Random`].
    Random,
}

impl PolicyName {
    /// The policy of that name.
    pub fn policy(self) -> Box<dyn PoolPolicy> {
        match self {
            Self::FailRotate => Box::new(FailRotate),
            Self::RoundRotate => Box::new(RoundRotate),
            Self::Random => Box::new(Random),
        }
    }
}

impl std::fmt::Display for PolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FailRotate => "FailRotate",
            Self::RoundRotate => "RoundRotate",
            Self::Random => "Random",
        })
    }
}

impl std::str::FromStr for PolicyName {
    type Err = InvalidValue;

    /// Without regard to case, as the earlier systems did.
    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        [Self::FailRotate, Self::RoundRotate, Self::Random]
            .into_iter()
            .find(|name| name.to_string().eq_ignore_ascii_case(value))
            .ok_or_else(|| InvalidValue::new("policy", value, "FailRotate, RoundRotate or Random"))
    }
}

impl TryFrom<String> for PolicyName {
    type Error = InvalidValue;
    fn try_from(value: String) -> Result<Self, InvalidValue> {
        value.parse()
    }
}

impl From<PolicyName> for String {
    fn from(value: PolicyName) -> String {
        value.to_string()
    }
}

/// The position at which a walk over `subnets` begins: at the last choice, or one after it.
fn start(state: &PolicyState, subnets: &[SubnetView], after_last: bool) -> usize {
    match state.last.as_ref().and_then(|last| subnets.iter().position(|s| &s.id == last)) {
        Some(position) => position + usize::from(after_last),
        None => 0,
    }
}

/// The first usable subnet from `start` on, once around.
fn first_usable(subnets: &[SubnetView], start: usize) -> Option<&SubnetView> {
    (0..subnets.len()).map(|step| &subnets[(start + step) % subnets.len()]).find(|s| s.usable())
}
