//! Cuts an agent off from the world between any two polls, as a kill does.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use hostnic_core::attachment::{AttachmentMark, NetnsPath, PodRef, Sandbox};
use hostnic_core::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet};
use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::id::{JobId, MacAddr, NicId, SubnetId};
use hostnic_core::ipam::{AddressRequest, AddressSource, ClaimedAddress};
use hostnic_core::ledger::{State, Write};
use hostnic_core::provider::{Capabilities, CreateNics};
use hostnic_core::route::{
    Drift, GatewayPlan, HostLink, KernelView, NodePlan, PodLink, PodPlan, SharedNicPlan, SilencedPod,
};
use hostnic_core::store::StateStore;
use hostnic_core::{NicProvider, Result, RouteProgrammer};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

/// Lets so many polls of calls to cloud, kernel and store through, and then none any more: what was half done stays
/// half done, and no answer comes. Clones are the same fuse.
#[derive(Debug, Clone)]
pub(crate) struct Fuse {
    left: Arc<AtomicI64>,
    blown: Arc<Notify>,
    looks: Arc<Mutex<()>>,
}

impl Fuse {
    /// One that blows before the poll after `polls` of them.
    pub(crate) fn after(polls: i64) -> Self {
        Self { left: Arc::new(AtomicI64::new(polls)), blown: Arc::default(), looks: Arc::default() }
    }

    /// One that only counts.
    pub(crate) fn whole() -> Self {
        Self::after(i64::MAX)
    }

    /// Makes it blow before the poll after `polls` more of them.
    pub(crate) fn burn(&self, polls: i64) {
        self.left.store(polls, Ordering::SeqCst);
    }

    /// Keeps what the kernel was seen to have from whoever looked, until this is dropped.
    pub(crate) async fn hold_looks(&self) -> OwnedMutexGuard<()> {
        self.looks.clone().lock_owned().await
    }

    /// How many polls there have been.
    pub(crate) fn polls(&self) -> i64 {
        i64::MAX - self.left.load(Ordering::SeqCst)
    }

    /// Waits until it has blown.
    pub(crate) async fn blown(&self) {
        self.blown.notified().await;
    }

    async fn through<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        std::future::poll_fn(|context| {
            if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                self.blown.notify_one();
                return Poll::Pending;
            }
            call.as_mut().poll(context)
        })
        .await
    }

    pub(crate) fn provider(&self, inner: Arc<dyn NicProvider>) -> Fused<dyn NicProvider> {
        Fused { fuse: self.clone(), inner }
    }

    pub(crate) fn programmer(&self, inner: Arc<dyn RouteProgrammer>) -> Fused<dyn RouteProgrammer> {
        Fused { fuse: self.clone(), inner }
    }

    pub(crate) fn addresses(&self, inner: Arc<dyn AddressSource>) -> Fused<dyn AddressSource> {
        Fused { fuse: self.clone(), inner }
    }

    pub(crate) fn enforcer(&self, inner: Arc<dyn PolicyEnforcer>) -> Fused<dyn PolicyEnforcer> {
        Fused { fuse: self.clone(), inner }
    }

    pub(crate) fn store(&self, inner: Arc<dyn StateStore>) -> Fused<dyn StateStore> {
        Fused { fuse: self.clone(), inner }
    }
}

/// A part of the world, seen through a fuse.
#[derive(Debug)]
pub(crate) struct Fused<T: ?Sized> {
    fuse: Fuse,
    inner: Arc<T>,
}

#[async_trait]
impl NicProvider for Fused<dyn NicProvider> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn instance(&self) -> Result<Instance> {
        self.fuse.through(self.inner.instance()).await
    }
    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        self.fuse.through(self.inner.subnets(ids)).await
    }
    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        self.fuse.through(self.inner.create_nics(request)).await
    }
    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.fuse.through(self.inner.attach_nics(nics)).await
    }
    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.fuse.through(self.inner.detach_nics(nics)).await
    }
    async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        self.fuse.through(self.inner.delete_nics(nics)).await
    }
    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        self.fuse.through(self.inner.list_nics(filter)).await
    }
    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        self.fuse.through(self.inner.jobs(jobs)).await
    }
}

#[async_trait]
impl RouteProgrammer for Fused<dyn RouteProgrammer> {
    async fn setup_node(&self, plan: &NodePlan) -> Result<()> {
        self.fuse.through(self.inner.setup_node(plan)).await
    }
    async fn check_node(&self, plan: &NodePlan) -> Result<Vec<Drift>> {
        self.fuse.through(self.inner.check_node(plan)).await
    }
    async fn sandbox(&self, netns: &NetnsPath) -> Result<Sandbox> {
        self.fuse.through(self.inner.sandbox(netns)).await
    }
    async fn wait_for_nic(&self, mac: MacAddr) -> Result<HostLink> {
        self.fuse.through(self.inner.wait_for_nic(mac)).await
    }
    async fn setup_pod(&self, plan: &PodPlan) -> Result<PodLink> {
        self.fuse.through(self.inner.setup_pod(plan)).await
    }
    async fn announce_pod(&self, plan: &PodPlan) -> Result<()> {
        self.fuse.through(self.inner.announce_pod(plan)).await
    }
    async fn check_pod(&self, plan: &PodPlan) -> Result<Vec<Drift>> {
        self.fuse.through(self.inner.check_pod(plan)).await
    }
    async fn silence_pod(&self, plan: &PodPlan) -> Result<Option<Box<dyn SilencedPod>>> {
        let silenced = self.fuse.through(self.inner.silence_pod(plan)).await?;
        let fused = |inner| Box::new(FusedPod { fuse: self.fuse.clone(), inner }) as Box<dyn SilencedPod>;
        Ok(silenced.map(fused))
    }
    async fn teardown_pod(&self, plan: &PodPlan) -> Result<()> {
        self.fuse.through(self.inner.teardown_pod(plan)).await
    }
    async fn teardown_marked(&self, mark: &AttachmentMark, netns: &NetnsPath) -> Result<Option<MacAddr>> {
        self.fuse.through(self.inner.teardown_marked(mark, netns)).await
    }
    async fn setup_shared_nic(&self, plan: &SharedNicPlan) -> Result<()> {
        self.fuse.through(self.inner.setup_shared_nic(plan)).await
    }
    async fn check_shared_nic(&self, plan: &SharedNicPlan) -> Result<Vec<Drift>> {
        self.fuse.through(self.inner.check_shared_nic(plan)).await
    }
    async fn teardown_shared_nic(&self, mac: MacAddr) -> Result<()> {
        self.fuse.through(self.inner.teardown_shared_nic(mac)).await
    }
    async fn setup_gateways(&self, plans: &[GatewayPlan]) -> Result<()> {
        self.fuse.through(self.inner.setup_gateways(plans)).await
    }
    async fn check_gateways(&self, plans: &[GatewayPlan]) -> Result<Vec<Drift>> {
        self.fuse.through(self.inner.check_gateways(plans)).await
    }
    async fn observe(&self) -> Result<KernelView> {
        let view = self.fuse.through(self.inner.observe()).await;
        drop(self.fuse.looks.lock().await);
        view
    }
}

#[derive(Debug)]
struct FusedPod {
    fuse: Fuse,
    inner: Box<dyn SilencedPod>,
}

#[async_trait]
impl SilencedPod for FusedPod {
    async fn give_back(&mut self) -> Result<()> {
        self.fuse.through(self.inner.give_back()).await
    }
    async fn forget(&mut self) -> Result<()> {
        self.fuse.through(self.inner.forget()).await
    }
}

#[async_trait]
impl AddressSource for Fused<dyn AddressSource> {
    async fn restore(&self, held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)]) -> Result<()> {
        self.fuse.through(self.inner.restore(held)).await
    }
    async fn settled(&self) -> Result<()> {
        self.fuse.through(self.inner.settled()).await
    }
    async fn claim(&self, request: &AddressRequest) -> Result<ClaimedAddress> {
        self.fuse.through(self.inner.claim(request)).await
    }
    async fn release(&self, mark: &AttachmentMark) -> Result<()> {
        self.fuse.through(self.inner.release(mark)).await
    }
}

#[async_trait]
impl PolicyEnforcer for Fused<dyn PolicyEnforcer> {
    async fn tell(&self, pod: &PodRef, address: IpAddr) -> Result<()> {
        self.fuse.through(self.inner.tell(pod, address)).await
    }
    fn tell_later(&self, pod: &PodRef, address: IpAddr) {
        self.inner.tell_later(pod, address);
    }
}

#[async_trait]
impl StateStore for Fused<dyn StateStore> {
    async fn load(&self) -> Result<State> {
        self.fuse.through(self.inner.load()).await
    }
    async fn commit(&self, writes: &[Write]) -> Result<()> {
        // As a disk does, it takes its turn: a kill may come between a write and its being durable, or just after.
        self.fuse
            .through(async {
                tokio::task::yield_now().await;
                let committed = self.inner.commit(writes).await;
                tokio::task::yield_now().await;
                committed
            })
            .await
    }
}
