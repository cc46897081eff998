//! The simulated cloud as programs hold it: the service behind a lock, on tokio's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::builder::{CloudBuilder, Durations};
use super::control::ControlPlane;
use super::driver::drive;
use super::fault::{Fate, Fault, When};
use super::history::{Call, Operation};
use super::job::{Plugged, Work};
use super::plug::Plug;
use super::provider::SimProvider;
use super::save::SavedCloud;
use super::service::{Caller, Service};
use super::state::State;
use super::time::Time;
use crate::cloud::Nic;
use crate::error::Result;
use crate::id::{InstanceId, JobId, NicId};

/// A cloud in memory. Clones are handles of the same cloud.
///
/// Its time is tokio's, so that tests with paused time are exact. What a call began goes on when its caller is gone.
/// With a [`Plug`] a task of the cloud's own calls it, which begins with the first call inside a runtime and ends
/// with the last handle (nodes' providers are handles too).
///
/// ```
/// # async fn example() -> hostnic_core::Result<()> {
/// use hostnic_core::NicProvider;
/// use hostnic_core::sim::Cloud;
///
/// let cloud = Cloud::builder().seed(7).subnet("vxnet-1", "192.168.50.0/24").instance("i-1").build()?;
/// let node = cloud.node(&"i-1".parse()?);
/// assert_eq!(node.instance().await?.nic_limit, 63);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cloud {
    shared: Arc<Shared>,
}

/// What the handles and the task share.
pub(super) struct Shared {
    service: Mutex<Service>,
    time: Time,
    plug: Option<Arc<dyn Plug>>,
    wake: Arc<Notify>,
    driver: Mutex<Option<Driver>>,
}

/// The task that plugs; it ends with its owner.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Cloud {
    /// Begins to describe a cloud.
    pub fn builder() -> CloudBuilder {
        CloudBuilder::new()
    }

    pub(super) fn new(service: Service, plug: Option<Arc<dyn Plug>>, now: Duration) -> Self {
        let shared = Shared {
            service: Mutex::new(service),
            time: Time::new(now),
            plug,
            wake: Arc::new(Notify::new()),
            driver: Mutex::new(None),
        };
        let cloud = Self { shared: Arc::new(shared) };
        cloud.kick();
        cloud
    }

    /// The cloud as one instance sees it. Whether there is such an instance is found out by the first call.
    pub fn node(&self, instance: &InstanceId) -> SimProvider {
        SimProvider::new(self.clone(), instance.clone())
    }

    /// The cloud from its own side, for an API server in front of it.
    pub fn control(&self) -> ControlPlane {
        ControlPlane::new(self.clone())
    }

    /// Lets `by` pass at once: jobs that become due end, and what depends on time is so much later.
    pub fn advance(&self, by: Duration) {
        self.shared.time.advance(by);
        self.change(|service, now| service.state.settle(now));
    }

    /// The whole state, for [`CloudBuilder::resume`]. Faults, latencies and the history are no part of it.
    pub fn save(&self) -> SavedCloud {
        self.change(|service, now| SavedCloud::of(service, now))
    }

    /// Makes a call. It has its effect when the future is first polled; dropping the future later only loses the
    /// answer.
    pub(super) async fn call<T, F>(&self, caller: Caller<'_>, carry_out: F) -> Result<T>
    where
        F: FnOnce(&mut State, Fate, Duration) -> Result<T>,
    {
        let answer = self.change(|service, now| service.serve(&caller, now, carry_out));
        if answer.latency.is_zero() {
            // Real calls always give others a turn.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(answer.latency).await;
        }
        match answer.result {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    /// Changes or reads the state at this moment, all that is due done before, and has new work on links done.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Service, Duration) -> T) -> T {
        let changed = {
            let mut service = self.shared.lock();
            let now = self.shared.now();
            service.state.settle(now);
            change(&mut service, now)
        };
        self.kick();
        changed
    }

    /// Wakes the task that plugs, and starts it where it is not running and can.
    fn kick(&self) {
        let Some(plug) = &self.shared.plug else { return };
        let mut driver = self.shared.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if driver.as_ref().is_none_or(|d| d.0.is_finished())
            && let Ok(runtime) = Handle::try_current()
        {
            let weak = Arc::downgrade(&self.shared);
            *driver =
                Some(Driver(runtime.spawn(drive(weak, Arc::clone(plug), Arc::clone(&self.shared.wake)))));
        }
        self.shared.wake.notify_one();
    }

    /// Lets something go wrong with the calls of `operation` from now on. Where several faults meet a call, the one
    /// that was injected first counts.
    pub fn inject(&self, operation: Operation, when: When, fault: Fault) {
        self.change(|service, _| service.gate.faults.inject(operation, when, fault));
    }

    /// Takes back all faults that were injected. Jobs keep their fate.
    pub fn clear_faults(&self) {
        self.change(|service, _| service.gate.faults.clear());
    }

    /// Every call is `Unauthorised` until [`Cloud::restore_credentials`].
    pub fn revoke_credentials(&self) {
        self.change(|service, _| service.gate.revoked = true);
    }

    /// Ends what [`Cloud::revoke_credentials`] began.
    pub fn restore_credentials(&self) {
        self.change(|service, _| service.gate.revoked = false);
    }

    /// How long the answer to an operation takes from now on.
    pub fn set_latency(&self, operation: Operation, takes: Duration) {
        self.change(|service, _| service.latencies.insert(operation, takes));
    }

    /// How long jobs take that begin from now on.
    pub fn set_durations(&self, durations: Durations) {
        self.change(|service, _| service.state.durations = durations);
    }

    /// Has every stuck job end now.
    pub fn unstick_jobs(&self) {
        self.change(|service, now| {
            service.state.unstick(now);
            service.state.settle(now);
        });
    }

    /// Puts in a NIC that somebody else made, attached or not; no quota counts for it. With a [`Plug`] one that is
    /// attached is plugged soon after.
    ///
    /// # Errors
    /// `Conflict` where its id, MAC or an address is taken, `NotFound` for its subnet or instance.
    pub fn insert_nic(&self, nic: Nic) -> Result<()> {
        self.change(|service, now| service.state.insert_foreign(nic, now))
    }

    /// Takes a NIC away behind everybody's back, wherever it is. `None` where there is none.
    pub fn vanish(&self, nic: &NicId) -> Option<Nic> {
        self.change(|service, now| service.state.remove(nic, now))
    }

    /// Ends an instance: its primary NIC goes with it, its others become available.
    pub fn terminate(&self, instance: &InstanceId) {
        self.change(|service, now| service.state.terminate(instance, now));
    }

    /// Has the instance of this address run on another machine from now on, as after a live migration.
    pub fn set_host_machine(&self, address: IpAddr, machine: &str) {
        self.change(|service, _| drop(service.state.host_machines.insert(address, machine.to_owned())));
    }

    /// The machine that it runs on, where one was set.
    pub fn host_machine(&self, address: IpAddr) -> Option<String> {
        self.change(|service, _| service.state.host_machines.get(&address).cloned())
    }

    /// All NICs as they are, without lag and without a call.
    pub fn snapshot(&self) -> BTreeMap<NicId, Nic> {
        self.change(|service, _| {
            service.state.nics.iter().map(|(id, port)| (id.clone(), port.nic.clone())).collect()
        })
    }

    /// The tags of a NIC; none where there is no such NIC.
    pub fn tags(&self, nic: &NicId) -> BTreeSet<String> {
        self.change(|service, _| {
            service.state.nics.get(nic).map(|port| port.tags.clone()).unwrap_or_default()
        })
    }

    /// The ranges that a security group lets in; none where there is no such group.
    pub fn allowed(&self, group: &str) -> BTreeSet<IpNet> {
        self.change(|service, _| service.state.rules.get(group).cloned().unwrap_or_default())
    }

    /// The calls so far, oldest first; the latest 65,536 of them.
    pub fn history(&self) -> Vec<Call> {
        self.change(|service, _| service.history.calls())
    }

    /// How often each operation was called.
    pub fn calls(&self) -> BTreeMap<Operation, u64> {
        self.change(|service, _| service.history.counts())
    }

    /// Forgets the calls so far.
    pub fn clear_history(&self) {
        self.change(|service, _| service.history.clear());
    }

    /// The time since the cloud was made.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole state would bury every log line that a provider is part of.
        f.debug_struct("Cloud").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.time.now()
    }

    /// The work on links that is due, and when there may be more.
    pub(super) fn take_work(&self) -> (Vec<Work>, Option<Instant>) {
        let mut service = self.lock();
        service.state.settle(self.now());
        let work = std::mem::take(&mut service.state.work);
        (work, service.state.next_due().and_then(|due| self.time.instant(due)))
    }

    /// Ends a job whose links have been dealt with.
    pub(super) fn end_job(&self, id: &JobId, plugged: Plugged) {
        let now = self.now();
        self.lock().state.end_job(id, plugged, now);
        // Ending it may have made more work.
        self.wake.notify_one();
    }
}
