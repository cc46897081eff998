//! [mockall](https://docs.rs/mockall) mocks of the four traits and of what they hand out, for tests of code that uses them.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use hostnic_core::cloud::{Job, JobState};
//! use hostnic_core::id::JobId;
//! use hostnic_core::mock::MockNicProvider;
//! use hostnic_core::{Error, ErrorKind, NicProvider};
//!
//! let mut cloud = MockNicProvider::new();
//! cloud.expect_jobs().times(1).returning(|_| Err(Error::new(ErrorKind::Transient, "ask about jobs", "j-1")));
//! cloud.expect_jobs().returning(|jobs| {
//!     Ok(jobs.iter().map(|id| Job { id: id.clone(), state: JobState::Succeeded }).collect())
//! });
//!
//! let job = JobId::new("j-1")?;
//! assert_eq!(cloud.jobs(&[job.clone()]).await.unwrap_err().kind(), ErrorKind::Transient);
//! assert_eq!(cloud.jobs(&[job]).await?[0].state, JobState::Succeeded);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use async_trait::async_trait;
use mockall::mock;

use crate::attachment::{AttachmentMark, NetnsPath, PodRef, Sandbox};
use crate::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet, Survey};
use crate::error::Result;
use crate::id::{JobId, MacAddr, NicId, SubnetId};
use crate::ipam::{AddressRequest, AddressSource, ClaimedAddress, Ipam, Lease, LeaseRequest};
use crate::policy::{PolicyName, PolicyState, PoolPolicy, SubnetView};
use crate::provider::{Capabilities, CreateNics, NicProvider};
use crate::route::{
    Drift, GatewayPlan, HostLink, KernelView, NodePlan, PodLink, PodPlan, RouteProgrammer, SharedNicPlan,
    SilencedPod,
};

mock! {
    /// A [`NicProvider`] that answers what a test tells it to.
    #[derive(Debug)]
    pub NicProvider {}

    #[async_trait]
    impl NicProvider for NicProvider {
        fn capabilities(&self) -> Capabilities;
        async fn instance(&self) -> Result<Instance>;
        async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>>;
        async fn survey(&self, subnets: &[SubnetId]) -> Result<Survey>;
        async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>>;
        async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted>;
        async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted>;
        async fn delete_nics(&self, nics: &[NicId]) -> Result<()>;
        async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>>;
        async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>>;
    }
}

mock! {
    /// An [`Ipam`] that answers what a test tells it to.
    #[derive(Debug)]
    pub Ipam {}

    #[async_trait]
    impl Ipam for Ipam {
        async fn restore(&self, leases: &[(AttachmentMark, Lease)]) -> Result<()>;
        async fn allocate(&self, request: &LeaseRequest) -> Result<Lease>;
        async fn release(&self, mark: &AttachmentMark, used: bool) -> Result<()>;
    }
}

mock! {
    /// An [`AddressSource`] that answers what a test tells it to.
    #[derive(Debug)]
    pub AddressSource {}

    #[async_trait]
    impl AddressSource for AddressSource {
        async fn restore(&self, held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)]) -> Result<()>;
        async fn settled(&self) -> Result<()>;
        async fn claim(&self, request: &AddressRequest) -> Result<ClaimedAddress>;
        async fn release(&self, mark: &AttachmentMark) -> Result<()>;
    }
}

mock! {
    /// A [`RouteProgrammer`] that answers what a test tells it to.
    #[derive(Debug)]
    pub RouteProgrammer {}

    #[async_trait]
    impl RouteProgrammer for RouteProgrammer {
        async fn setup_node(&self, plan: &NodePlan) -> Result<()>;
        async fn check_node(&self, plan: &NodePlan) -> Result<Vec<Drift>>;
        async fn sandbox(&self, netns: &NetnsPath) -> Result<Sandbox>;
        async fn wait_for_nic(&self, mac: MacAddr) -> Result<HostLink>;
        async fn setup_pod(&self, plan: &PodPlan) -> Result<PodLink>;
        async fn announce_pod(&self, plan: &PodPlan) -> Result<()>;
        async fn check_pod(&self, plan: &PodPlan) -> Result<Vec<Drift>>;
        async fn silence_pod(&self, plan: &PodPlan) -> Result<Option<Box<dyn SilencedPod>>>;
        async fn teardown_pod(&self, plan: &PodPlan) -> Result<()>;
        async fn teardown_marked(&self, mark: &AttachmentMark, netns: &NetnsPath) -> Result<Option<MacAddr>>;
        async fn setup_shared_nic(&self, plan: &SharedNicPlan) -> Result<()>;
        async fn check_shared_nic(&self, plan: &SharedNicPlan) -> Result<Vec<Drift>>;
        async fn teardown_shared_nic(&self, mac: MacAddr) -> Result<()>;
        async fn setup_gateways(&self, plans: &[GatewayPlan]) -> Result<()>;
        async fn check_gateways(&self, plans: &[GatewayPlan]) -> Result<Vec<Drift>>;
        async fn observe(&self) -> Result<KernelView>;
    }
}

mock! {
    /// A [`SilencedPod`] that answers what a test tells it to.
    #[derive(Debug)]
    pub SilencedPod {}

    #[async_trait]
    impl SilencedPod for SilencedPod {
        async fn give_back(&mut self) -> Result<()>;
        async fn forget(&mut self) -> Result<()>;
    }
}

mock! {
    /// A [`PoolPolicy`] that answers what a test tells it to.
    #[derive(Debug)]
    pub PoolPolicy {}

    impl PoolPolicy for PoolPolicy {
        fn name(&self) -> PolicyName;
        fn choose(&self, state: &PolicyState, subnets: &[SubnetView]) -> Option<(SubnetId, PolicyState)>;
    }
}
