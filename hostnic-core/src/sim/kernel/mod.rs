//! A simulated kernel: the links of one node and the namespaces of its pods, in memory.

mod plug;
mod program;
mod shared;
mod silenced;
mod state;
mod veth;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Notify;

pub use self::plug::PlugByInstance;
use self::state::{Link, Links};
use super::fault::{Faults, When};
use super::seed::Random;
use crate::attachment::{IfName, NetnsPath, Sandbox};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{MacAddr, NicId};
use crate::route::{GatewayPlan, NodePlan};

/// What the simulated kernel can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelOperation {
    /// [`RouteProgrammer::setup_node`](crate::RouteProgrammer::setup_node)
    SetupNode,
    /// [`RouteProgrammer::check_node`](crate::RouteProgrammer::check_node)
    CheckNode,
    /// [`RouteProgrammer::sandbox`](crate::RouteProgrammer::sandbox)
    Sandbox,
    /// [`RouteProgrammer::wait_for_nic`](crate::RouteProgrammer::wait_for_nic)
    WaitForNic,
    /// [`RouteProgrammer::setup_pod`](crate::RouteProgrammer::setup_pod)
    SetupPod,
    /// [`RouteProgrammer::announce_pod`](crate::RouteProgrammer::announce_pod)
    AnnouncePod,
    /// [`RouteProgrammer::check_pod`](crate::RouteProgrammer::check_pod)
    CheckPod,
    /// [`RouteProgrammer::silence_pod`](crate::RouteProgrammer::silence_pod)
    SilencePod,
    /// [`SilencedPod::give_back`](crate::route::SilencedPod::give_back)
    GiveBack,
    /// [`SilencedPod::forget`](crate::route::SilencedPod::forget)
    Forget,
    /// [`RouteProgrammer::teardown_pod`](crate::RouteProgrammer::teardown_pod)
    TeardownPod,
    /// [`RouteProgrammer::teardown_marked`](crate::RouteProgrammer::teardown_marked)
    TeardownMarked,
    /// [`RouteProgrammer::setup_shared_nic`](crate::RouteProgrammer::setup_shared_nic)
    SetupSharedNic,
    /// [`RouteProgrammer::check_shared_nic`](crate::RouteProgrammer::check_shared_nic)
    CheckSharedNic,
    /// [`RouteProgrammer::teardown_shared_nic`](crate::RouteProgrammer::teardown_shared_nic)
    TeardownSharedNic,
    /// [`RouteProgrammer::setup_gateways`](crate::RouteProgrammer::setup_gateways)
    SetupGateways,
    /// [`RouteProgrammer::check_gateways`](crate::RouteProgrammer::check_gateways)
    CheckGateways,
    /// [`RouteProgrammer::observe`](crate::RouteProgrammer::observe)
    Observe,
    /// [`Plug::plug`](super::Plug::plug)
    Plug,
    /// [`Plug::unplug`](super::Plug::unplug)
    Unplug,
    /// [`Plug::set_sources`](super::Plug::set_sources)
    SetSources,
}

impl KernelOperation {
    fn verb(self) -> &'static str {
        match self {
            Self::SetupNode => "set up node",
            Self::CheckNode => "check node",
            Self::Sandbox => "look up namespace",
            Self::WaitForNic => "wait for NIC",
            Self::SetupPod => "set up pod",
            Self::AnnouncePod => "announce pod",
            Self::CheckPod => "check pod",
            Self::SilencePod => "silence pod",
            Self::GiveBack => "give NIC back",
            Self::Forget => "forget flows of pod",
            Self::TeardownPod => "take down pod",
            Self::TeardownMarked => "take down mark",
            Self::SetupSharedNic => "set up shared NIC",
            Self::CheckSharedNic => "check shared NIC",
            Self::TeardownSharedNic => "take down shared NIC",
            Self::SetupGateways => "set up gateways",
            Self::CheckGateways => "check gateways",
            Self::Observe => "observe kernel",
            Self::Plug => "plug NIC",
            Self::Unplug => "unplug NIC",
            Self::SetSources => "set sources of NIC",
        }
    }
}

/// What goes wrong with an operation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFault {
    /// It fails with this kind and changes nothing.
    Before(ErrorKind),
    /// It does all that it should and then fails with this kind; the error says `Effect::Unknown`.
    After(ErrorKind),
}

/// The kernel of one simulated node. Clones are handles of the same kernel.
///
/// It is a [`RouteProgrammer`](crate::RouteProgrammer) for the node's agent and a [`Plug`](super::Plug) for the
/// [`Cloud`](super::Cloud). Operations take no time unless told, and yield between their steps in any case, so that
/// one that is dropped midway leaves a part of its work done.
///
/// ```
/// use hostnic_core::attachment::NetnsPath;
/// use hostnic_core::sim::Kernel;
///
/// let kernel = Kernel::new();
/// let sandbox = kernel.add_sandbox(&NetnsPath::new("/run/netns/p1")?);
/// assert_ne!(kernel.add_sandbox(&NetnsPath::new("/run/netns/p2")?), sandbox);
/// # Ok::<(), hostnic_core::id::InvalidValue>(())
/// ```
#[derive(Clone)]
pub struct Kernel {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told whenever a link has come into the node's own namespace.
    arrived: Notify,
    /// An address of the node's own has come or gone.
    readdressed: Notify,
}

struct State {
    links: Links,
    sources: BTreeMap<NicId, Vec<IpAddr>>,
    latencies: BTreeMap<KernelOperation, Duration>,
    faults: Faults<KernelOperation, KernelFault>,
    calls: BTreeMap<KernelOperation, u64>,
    random: Random,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// A kernel without links; what it does by chance has seed 0.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// A kernel whose [`When::Chance`] faults are drawn from this seed.
    pub fn seeded(seed: u64) -> Self {
        let state = State {
            links: Links::default(),
            sources: BTreeMap::new(),
            latencies: BTreeMap::new(),
            faults: Faults::default(),
            calls: BTreeMap::new(),
            random: Random::new(seed),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                arrived: Notify::new(),
                readdressed: Notify::new(),
            }),
        }
    }

    /// Makes a pod's namespace. One that was under this path before is removed first.
    pub fn add_sandbox(&self, netns: &NetnsPath) -> Sandbox {
        let sandbox = self.lock().links.add_sandbox(netns.clone());
        self.shared.arrived.notify_waiters();
        sandbox
    }

    /// Removes a pod's namespace; NICs in it come back to the node, down and without addresses, once no
    /// [`SilencedPod`](crate::route::SilencedPod) keeps it. Nothing happens where there is none.
    pub fn remove_sandbox(&self, netns: &NetnsPath) {
        self.lock().links.remove_sandbox(netns);
        self.shared.arrived.notify_waiters();
    }

    /// Puts a link of somebody else's, without our mark, into a pod. Nothing happens where there is no such namespace.
    pub fn add_foreign_link(&self, netns: &NetnsPath, ifname: &IfName, mac: MacAddr) {
        if let Some(links) = self.lock().links.links_at_mut(netns) {
            links.insert(ifname.clone(), Link::new(mac));
        }
    }

    /// Puts a link into the node's own namespace, in use or not, without any cloud.
    pub fn add_host_link(&self, mac: MacAddr, in_use: bool) {
        let mut link = Link::new(mac);
        link.up = in_use;
        self.lock().links.put_on_host(link);
        self.shared.arrived.notify_waiters();
    }

    /// Puts a link of somebody else's with this name into the node's own namespace.
    pub fn add_host_link_named(&self, mac: MacAddr, name: &str) {
        self.lock().links.host.insert(mac, (name.to_owned(), Link::new(mac)));
        self.shared.arrived.notify_waiters();
    }

    /// Takes a pod's namespace out of sight, as where its folder is not mounted; the pod runs on. Nothing happens where there
    /// is none.
    pub fn hide_sandbox(&self, netns: &NetnsPath) {
        self.lock().links.hide_sandbox(netns);
    }

    /// Takes back [`Kernel::hide_sandbox`].
    pub fn show_sandbox(&self, netns: &NetnsPath) {
        self.lock().links.show_sandbox(netns);
    }

    /// Gives a link of the node an address and sets it up, as its operator does. Nothing happens where there is none.
    pub fn configure_host_link(&self, mac: MacAddr, address: IpNet, default_route: bool) {
        if let Some((_, link)) = self.lock().links.host.get_mut(&mac) {
            link.up = true;
            link.addresses.push(address);
            link.default_route = default_route;
        }
        self.shared.readdressed.notify_one();
    }

    /// Takes all addresses from a link of the node. Nothing happens where there is none.
    pub fn clear_host_link(&self, mac: MacAddr) {
        if let Some((_, link)) = self.lock().links.host.get_mut(&mac) {
            link.strip();
        }
        self.shared.readdressed.notify_one();
    }

    /// Lets a link of the node, which others may use as well, have this MTU. Nothing happens where there is none.
    pub fn set_host_link_mtu(&self, mac: MacAddr, mtu: u32) {
        if let Some((_, link)) = self.lock().links.host.get_mut(&mac) {
            link.mtu = mtu;
        }
    }

    /// The node as it was last set up; `None` before that, and after [`Kernel::forget_node`].
    pub fn node(&self) -> Option<NodePlan> {
        self.lock().links.node.clone()
    }

    /// Takes away what the node was set up with, as somebody who flushes its rules does.
    pub fn forget_node(&self) {
        self.lock().links.node = None;
    }

    /// Deletes the veth whose end in the node has this name, as somebody in the node could. Nothing happens where there is
    /// none.
    pub fn delete_veth(&self, name: &IfName) {
        let links = &mut self.lock().links;
        if let Some(mark) = links.veth_named(name) {
            links.delete_pair(&mark);
        }
    }

    /// The addresses of which flows are remembered: of pods that were set up, until they are forgotten.
    pub fn remembered(&self) -> BTreeSet<IpAddr> {
        self.lock().links.flows.values().copied().collect()
    }

    /// Ends all flows that are remembered, as a while does in which nobody sends anything.
    pub fn time_out_flows(&self) {
        self.lock().links.flows.clear();
    }

    /// The gateways as they were last set up.
    pub fn gateways(&self) -> Vec<GatewayPlan> {
        self.lock().links.gateways.clone()
    }

    /// Takes a link away, wherever it is.
    pub fn remove_link(&self, mac: MacAddr) {
        self.lock().links.unplug(mac);
    }

    /// Takes addresses and routes from a pod's interface and sets it down, as somebody in the pod could. Nothing
    /// happens where there is no such interface.
    pub fn strip_pod_link(&self, netns: &NetnsPath, ifname: &IfName) {
        if let Some(link) = self.lock().links.links_at_mut(netns).and_then(|links| links.get_mut(ifname)) {
            link.strip();
        }
    }

    /// The addresses that the cloud last allowed to be sent from a NIC; `None` for one that is not plugged in.
    pub fn sources(&self, nic: &NicId) -> Option<Vec<IpAddr>> {
        self.lock().sources.get(nic).cloned()
    }

    /// How long an operation takes from now on, all steps together.
    pub fn set_latency(&self, operation: KernelOperation, takes: Duration) {
        self.lock().latencies.insert(operation, takes);
    }

    /// Lets something go wrong from now on. Where several faults meet a call, the one that was injected first counts.
    pub fn inject(&self, operation: KernelOperation, when: When, fault: KernelFault) {
        self.lock().faults.inject(operation, when, fault);
    }

    /// Takes back all faults that were injected.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// How often each operation was called.
    pub fn calls(&self) -> BTreeMap<KernelOperation, u64> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, fails it where it is to fail at once, and says how it goes on.
    fn begin(&self, operation: KernelOperation, subject: &(dyn fmt::Display + Sync)) -> Result<Course> {
        let mut state = self.lock();
        *state.calls.entry(operation).or_default() += 1;
        let State { faults, random, latencies, .. } = &mut *state;
        let latency = latencies.get(&operation).copied().unwrap_or_default();
        let error = |kind: ErrorKind| {
            Error::new(kind, operation.verb(), subject).detail(format_args!("{kind} (injected)"))
        };
        let last = match faults.struck(operation, random) {
            Some(KernelFault::Before(kind)) => return Err(error(kind)),
            Some(KernelFault::After(kind)) => Some(error(kind).effect_unknown()),
            None => None,
        };
        Ok(Course { latency, last })
    }

    /// Begins an operation of a single step and waits until that step is to be taken.
    async fn single(
        &self,
        operation: KernelOperation,
        subject: &(dyn fmt::Display + Sync),
    ) -> Result<Course> {
        let course = self.begin(operation, subject)?;
        course.pause(1).await;
        Ok(course)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// How one operation goes.
struct Course {
    latency: Duration,
    /// The error with which it ends after all.
    last: Option<Error>,
}

impl Course {
    /// Waits for one of so many steps. Even one that takes no time lets others run, and can be the last.
    async fn pause(&self, steps: u32) {
        if self.latency.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.latency / steps).await;
        }
    }

    fn end<T>(self, value: T) -> Result<T> {
        self.last.map_or(Ok(value), Err)
    }
}
