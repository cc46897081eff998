//! What the suite is given to test with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capability::Tagging;
use crate::error::Result;
use crate::id::SubnetId;
use crate::provider::NicProvider;

/// Hands out what the cases are run on. Implemented by whoever tests a provider.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A world for one case. A new one each time where that is cheap; always the same where it is a real cloud.
    async fn world(&self) -> Result<World>;

    /// Lets time pass: by default tokio's, paused or not.
    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A provider and what can be done with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct World {
    /// What is tested.
    pub provider: Arc<dyn NicProvider>,
    /// Subnets to create NICs in, which nobody else uses meanwhile. One is enough; two test the filters better.
    pub subnets: Vec<SubnetId>,
    /// How many NICs the first subnet and the account have room for; 256 unless set.
    pub room: u32,
    /// A subnet without any room.
    pub full_subnet: Option<SubnetId>,
    /// A provider of an account that may own no more NICs.
    pub full_account: Option<FullAccount>,
    /// The same cloud as another instance sees it.
    pub second_instance: Option<Arc<dyn NicProvider>>,
    /// The tags of the provider's cloud.
    pub tagging: Option<Arc<dyn Tagging>>,
    /// How long lists may lag behind; zero unless set.
    pub lag: Duration,
    /// How long a job may take; 2 min unless set.
    pub patience: Duration,
    /// How often jobs and lists are asked while something is awaited; 100 ms unless set.
    pub poll: Duration,
    /// How long one case may take; 15 min unless set.
    pub case_limit: Duration,
    /// Where names come from. No two runs against the same cloud may have the same.
    pub seed: u64,
}

/// An account that may own no more NICs.
#[derive(Debug, Clone)]
pub struct FullAccount {
    /// A provider of that account.
    pub provider: Arc<dyn NicProvider>,
    /// A subnet of it that has room.
    pub subnet: SubnetId,
}

impl World {
    /// A provider to test, subnets for its NICs, and a seed for names.
    ///
    /// Set the other fields where there is more to test with or the defaults do not fit.
    pub fn new(provider: Arc<dyn NicProvider>, subnets: Vec<SubnetId>, seed: u64) -> Self {
        Self {
            provider,
            subnets,
            room: 256,
            full_subnet: None,
            full_account: None,
            second_instance: None,
            tagging: None,
            lag: Duration::ZERO,
            patience: Duration::from_secs(120),
            poll: Duration::from_millis(100),
            case_limit: Duration::from_secs(900),
            seed,
        }
    }

    pub(super) fn offers(&self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::SecondInstance => self.second_instance.is_some(),
            Requirement::Tags => self.tagging.is_some(),
            Requirement::FullSubnet => self.full_subnet.is_some(),
            Requirement::FullAccount => self.full_account.is_some(),
            Requirement::Room(nics) => self.room >= nics,
            Requirement::FixedAddresses => self.provider.capabilities().fixed_addresses,
            Requirement::BareNics => self.provider.capabilities().bare_nics,
            Requirement::Batch(items) => self.provider.capabilities().batch >= items,
        }
    }
}

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// A [second instance](World::second_instance).
    SecondInstance,
    /// [Tags](World::tagging).
    Tags,
    /// A [full subnet](World::full_subnet).
    FullSubnet,
    /// A [full account](World::full_account).
    FullAccount,
    /// [Room](World::room) for so many NICs.
    Room(u32),
    /// The capability to give NICs chosen addresses.
    FixedAddresses,
    /// The capability to make NICs without addresses.
    BareNics,
    /// Calls that take so many things.
    Batch(u32),
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondInstance => f.write_str("a second instance"),
            Self::Tags => f.write_str("a cloud that has tags"),
            Self::FullSubnet => f.write_str("a full subnet"),
            Self::FullAccount => f.write_str("a full account"),
            Self::Room(nics) => write!(f, "room for {nics} NICs"),
            Self::FixedAddresses => f.write_str("a cloud that gives chosen addresses"),
            Self::BareNics => f.write_str("a cloud that makes NICs without addresses"),
            Self::Batch(items) => write!(f, "calls that take {items} things"),
        }
    }
}
