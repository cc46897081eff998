//! The cloud, as one node sees it.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::cloud::{Instance, Job, Nic, NicFilter, NicName, Submitted, Subnet, Survey};
use crate::error::Result;
use crate::id::{JobId, NicId, SubnetId};

/// What to create. Every NIC of one call is in one subnet and has one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateNics {
    /// Where.
    pub subnet: SubnetId,
    /// How many; at least 1, at most [`Capabilities::create_batch`].
    pub count: u32,
    /// The name that every one gets. Its token is new for each call, so that a call whose answer was lost can be
    /// looked up with [`NicFilter::name`] and need not be repeated blindly.
    pub name: NicName,
    /// What addresses each NIC gets.
    pub addresses: NicAddresses,
}

/// The addresses of a NIC to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicAddresses {
    /// This many, chosen by the cloud; at most [`Capabilities::addresses_per_nic`].
    Assigned(u32),
    /// Exactly this one each, in this order; as many as NICs.
    Fixed(Vec<IpAddr>),
    /// None: pods on it use addresses that were reserved in the subnet.
    None,
}

/// What a cloud can do, and in which sizes. Constant for the life of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The most NICs that one create makes.
    pub create_batch: u32,
    /// The most NICs or jobs that one of the other calls takes.
    pub batch: u32,
    /// The most addresses that one NIC carries.
    pub addresses_per_nic: u32,
    /// Whether [`NicAddresses::Fixed`] works.
    pub fixed_addresses: bool,
    /// Whether [`NicAddresses::None`] works.
    pub bare_nics: bool,
}

/// This node's cloud: its instance, and the NICs that can be made for and plugged into it.
///
/// Implement this for a cloud; put the wrappers of [`crate::layer`] around it for retry, rate limits, deadlines,
/// metrics and tracing rather than writing those into the implementation. `hostnic_core::conformance` tests
/// everything that is promised here.
///
/// # Contract
/// - **Batches**: each call takes many NICs or jobs. A call that would exceed a limit of [`Capabilities`] is
///   [`Invalid`](crate::ErrorKind::Invalid), or is split by the implementation; it is never cut silently.
/// - **All or nothing**: a call that returns an error with [`Effect::None`](crate::Effect::None) changed nothing,
///   for any of its NICs. A job may fail for some of its NICs; it then names them.
/// - **Errors** carry the kind that their caller acts on. `Quota` tells its scope, `Throttled` its delay where
///   the cloud says so, and neither is ever reported as `Transient`. An error after which the request may have been
///   carried out says so by [`Effect::Unknown`](crate::Effect::Unknown).
/// - **Reads** may lag behind writes for a short while: what was just created may be missing from a list. They never
///   invent: what is listed exists or existed a moment ago.
/// - **Cancellation**: dropping a future stops waiting, not the cloud. Whatever a dropped create made carries the name
///   with its token, from the moment it exists.
#[async_trait]
pub trait NicProvider: Send + Sync + Debug {
    /// The sizes and abilities of this cloud. Constant and without a call.
    fn capabilities(&self) -> Capabilities;

    /// The instance that this node is.
    ///
    /// # Errors
    /// `NotFound` when the cloud knows no such instance.
    async fn instance(&self) -> Result<Instance>;

    /// Describes subnets, in the order asked; unknown ids are left out.
    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>>;

    /// This node's instance, these subnets and the NICs attached to the instance, as the three calls for them would tell.
    ///
    /// Every node asks this when it starts. A cloud that can tell it in fewer requests than one for each should.
    ///
    /// # Errors
    /// Those of the three.
    async fn survey(&self, subnets: &[SubnetId]) -> Result<Survey> {
        let (instance, subnets) = tokio::try_join!(self.instance(), self.subnets(subnets))?;
        let here = NicFilter { instance: Some(instance.id.clone()), ..NicFilter::default() };
        let attached = self.list_nics(&here).await?;
        Ok(Survey { instance, subnets, attached })
    }

    /// Makes exactly `count` NICs, attached nowhere, each with its own id, MAC and addresses.
    ///
    /// Not idempotent: who does not know whether a call was carried out lists by its name first.
    ///
    /// # Errors
    /// `NotFound` for an unknown subnet, `Quota(Subnet)` for a full one, `Quota(Account)`, `Conflict` for a fixed
    /// address that is taken, `Invalid` for a count of 0 or above the limit.
    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>>;

    /// Begins to plug NICs into this instance. A link with each NIC's MAC appears in the node when it is done.
    ///
    /// # Errors
    /// `NotFound` for an unknown NIC, `Conflict` for one that is attached (here or elsewhere) or in transition,
    /// `Quota(Instance)` when not all would fit. On each of these no NIC of the call is attached.
    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted>;

    /// Begins to unplug NICs from this instance. Those unknown or attached nowhere count as done.
    ///
    /// # Errors
    /// `Conflict` for the primary NIC, for one of another instance and for one in transition.
    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted>;

    /// Deletes NICs that are attached nowhere. Those unknown count as done.
    ///
    /// # Errors
    /// `Conflict` for one that is attached or in transition; then none of the call is deleted.
    async fn delete_nics(&self, nics: &[NicId]) -> Result<()>;

    /// All NICs of the account that meet the filter, however many; in no particular order.
    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>>;

    /// How far each job is, in the order asked. An unknown one is [`JobState::Unknown`](crate::cloud::JobState),
    /// never done.
    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>>;
}
