//! What the kernel of a node has to look like, in plain values, and the trait that makes it so.

mod shared;
mod veth;

use std::fmt::{self, Debug};
use std::net::IpAddr;

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentMark, IfName, NetnsPath, Sandbox};
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::GatewayNumber;
use crate::id::MacAddr;

pub use shared::{MarkedSharedNic, MarkedSharedPod, SharedNicPlan, SharedPlan, SharedRoutes};
pub use veth::{
    Hairpin, MarkedVeth, MarkedVethEnd, NatMark, NicTable, PodsTable, ServiceVeth, VethNode, VethPlan,
};

/// How a node joins its pods to their NICs where nothing else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Datapath {
    /// The NIC itself is moved into the pod.
    Passthrough,
    /// The NIC stays in the node, and the pod is behind a veth.
    Veth,
    /// The NIC stays in the node and carries all pods of its subnet there, each behind a veth. Their addresses are not the
    /// NIC's own, but come from an [`AddressSource`](crate::ipam::AddressSource).
    Shared,
}

/// A route inside a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By which neighbour; `None` for what is on the link.
    pub next_hop: Option<IpAddr>,
}

/// What a node needs once, whatever its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodePlan {
    /// Nothing: NICs are moved into pods.
    Passthrough,
    /// What pods behind veths need. Pods that NICs are moved into may be beside them.
    Veth(VethNode),
}

/// How one pod is joined to its NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PodDatapath {
    /// The NIC itself is moved into the pod.
    Passthrough,
    /// The NIC stays in the node, and the pod is behind a veth.
    Veth(VethPlan),
    /// The NIC itself is moved into the pod, and a veth beside it leads to services by the node.
    PassthroughWithServices(ServiceVeth),
    /// The NIC stays in the node and is shared with other pods, and the pod is behind a veth.
    Shared(SharedPlan),
}

/// What one pod needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlan {
    /// How the pod is joined to its NIC.
    pub datapath: PodDatapath,
    /// The attachment; written on the pod's link.
    pub mark: AttachmentMark,
    /// Where the pod's namespace was when the plan was made.
    pub netns: NetnsPath,
    /// The namespace itself: a path that has come to name another one is not followed.
    pub sandbox: Sandbox,
    /// The interface that the pod gets.
    pub ifname: IfName,
    /// The NIC.
    pub mac: MacAddr,
    /// The pod's address, with its subnet's prefix length.
    pub address: IpNet,
    /// The VPC router, which the default route goes by.
    pub gateway: IpAddr,
    /// Routes beside the default one: in the pod or, behind a veth, in the NIC's table. None where the NIC is shared: its
    /// own plan has them.
    pub routes: Vec<Route>,
    /// The MTU of the pod's interface; `None` for the NIC's own.
    pub mtu: Option<u32>,
}

/// What makes a NIC in the node's own namespace the next hop of pods in its subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPlan {
    /// The NIC.
    pub mac: MacAddr,
    /// Its address, with its subnet's prefix length.
    pub address: IpNet,
    /// What leaves the node in its name, of what came in by the gateway.
    pub masquerade: Masquerade,
    /// How the NIC is set up; `None` where it is the operator's, about which nothing is changed.
    pub own: Option<OwnGateway>,
}

/// How a gateway NIC of ours is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnGateway {
    /// Its number; written on its link.
    pub number: GatewayNumber,
    /// The name of its link.
    pub ifname: IfName,
    /// The routing table for what leaves by it.
    pub table: u32,
    /// The VPC router's address in its subnet.
    pub router: IpAddr,
}

/// What leaves the node in its own name, of what came in by a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Masquerade {
    /// What was sent to a service and goes on to one of its back ends: else the back end would answer the pod
    /// directly, and the pod would not know the sender.
    Services,
    /// Everything: pods in the subnet have the gateway as their default route.
    Everything,
}

/// The pod's interface, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLink {
    /// Its link address.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// One way in which the kernel differs from a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The object: "address 192.168.50.4/24", "default route".
    pub object: String,
    /// How it differs: "missing", "mtu is 1400, not 1500".
    pub difference: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.difference)
    }
}

/// A link in the node's own namespace that can be a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Its link address.
    pub mac: MacAddr,
    /// Its name at this moment.
    pub name: String,
    /// Whether somebody uses it: it is up, or has an address.
    pub in_use: bool,
    /// Its addresses, but for those that the kernel gives to every link.
    pub addresses: Vec<IpNet>,
    /// Whether a default route of the node goes by it.
    pub default_route: bool,
    /// The number of the gateway of ours that it is.
    pub gateway: Option<GatewayNumber>,
}

impl HostLink {
    /// A link that nobody uses.
    pub fn unused(mac: MacAddr, name: impl Into<String>) -> Self {
        Self {
            mac,
            name: name.into(),
            in_use: false,
            addresses: Vec::new(),
            default_route: false,
            gateway: None,
        }
    }
}

/// A pod's link that carries our mark, found in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedLink {
    /// The mark on it.
    pub mark: AttachmentMark,
    /// Its link address.
    pub mac: MacAddr,
    /// Its name there.
    pub ifname: IfName,
    /// The namespace's path, where one is known.
    pub netns: NetnsPath,
    /// The namespace.
    pub sandbox: Sandbox,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Whether it was [silenced](RouteProgrammer::silence_pod): its DEL was answered, and only its NIC's way back is left.
    pub silenced: bool,
    /// Whom the pod's default route by it goes to, where there is one.
    pub gateway: Option<IpAddr>,
    /// The veth to services beside it, where there is one, with both its ends.
    pub services: Option<ServiceVeth>,
}

/// All that a comparison needs to know about a node's kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelView {
    /// Ethernet links of the node's own namespace.
    pub host: Vec<HostLink>,
    /// Marked NICs in the namespaces that could be looked into.
    pub pods: Vec<MarkedLink>,
    /// Pods behind veths with NICs of their own, as far as anything of them is there.
    pub veths: Vec<MarkedVeth>,
    /// NICs that pods share. They are among `host`, too, and their addresses are none of the node's.
    pub shared_nics: Vec<MarkedSharedNic>,
    /// Pods that share NICs, as far as the node has anything of them. What answers for a pod of which nothing else is left
    /// is among [`MarkedSharedNic::answers_for`].
    pub shared_pods: Vec<MarkedSharedPod>,
}

/// Makes a node's kernel match plans.
///
/// # Contract
/// - **Idempotency**: setting up what is there and taking down what is gone succeed, and change nothing.
/// - **Only ours**: nothing without our mark is changed or removed; a name that another's object has is a `Conflict`.
/// - **All or nothing**: a set-up that fails takes back what it did; what cannot be taken back is told in the error.
/// - **Cancellation**: a dropped call may leave a part of the plan done. Taking the plan down puts that right, as does
///   setting it up again.
/// - **Blocking**: implementations never block the runtime's thread and keep no namespace of a pod open after a call,
///   but for the one that a [`SilencedPod`] is there to keep.
#[async_trait]
pub trait RouteProgrammer: Send + Sync + Debug {
    /// What the node needs once: rules, sysctls, tables of our own. Idempotent; repairs what is missing, and takes away
    /// what was left behind by another plan, or by pods and shared NICs of which nothing else is there.
    ///
    /// # Errors
    /// `Unauthorised` where a setting of the whole node is not as needed and cannot be changed.
    async fn setup_node(&self, plan: &NodePlan) -> Result<()>;

    /// How the node differs from the plan; empty when it does not.
    async fn check_node(&self, plan: &NodePlan) -> Result<Vec<Drift>>;

    /// The namespace that a path names.
    ///
    /// # Errors
    /// `NotFound` where nothing is there, `Invalid` where it is no network namespace or is the node's own.
    async fn sandbox(&self, netns: &NetnsPath) -> Result<Sandbox>;

    /// Waits until a link with this MAC is in the node's own namespace. The caller sets the deadline by dropping it.
    async fn wait_for_nic(&self, mac: MacAddr) -> Result<HostLink>;

    /// Makes the pod's interface as planned.
    ///
    /// # Errors
    /// `NotFound` when the NIC or the namespace is not there, `Conflict` when the pod has another interface of
    /// that name, or is to share a NIC that is not [set up](Self::setup_shared_nic) for that.
    async fn setup_pod(&self, plan: &PodPlan) -> Result<PodLink>;

    /// Tells the subnet once more which NIC has the pod's address, for those who missed it when the pod was set up. No
    /// effect for a pod that its NIC was moved into.
    ///
    /// # Errors
    /// `NotFound` when the NIC is not in the node.
    async fn announce_pod(&self, plan: &PodPlan) -> Result<()>;

    /// How the pod differs from the plan; empty when it does not.
    async fn check_pod(&self, plan: &PodPlan) -> Result<Vec<Drift>>;

    /// Ends the traffic of the pod's interface and frees its name, without waiting for what takes the kernel long: the
    /// rest of [`teardown_pod`](Self::teardown_pod) is left to the answer. `None` when the interface, the namespace or
    /// both are gone, so that nothing is left to do.
    ///
    /// The interface is then down, under a name of our own, and a NIC that is shared answers for it no more, also where
    /// nothing else was left to do. The interface still carries its mark, and a sign that
    /// [`observe`](Self::observe) tells of: whoever finds it without any record knows that its pod needs it no more. A
    /// set-up of the same plan takes all of that back.
    async fn silence_pod(&self, plan: &PodPlan) -> Result<Option<Box<dyn SilencedPod>>>;

    /// Takes the pod's interface away and leaves its NIC in the node's namespace, down and without addresses.
    ///
    /// Success when the interface, the namespace or both are gone; where a namespace that is going away holds
    /// the NIC, the NIC comes back by itself. A NIC that is shared stays as it is, and answers for the pod no more. Whether the pod was silenced or its NIC is back makes no difference: what the
    /// kernel remembers of its address is forgotten in any case, for which it may wait as [`SilencedPod::forget`] does.
    async fn teardown_pod(&self, plan: &PodPlan) -> Result<()>;

    /// Takes away whatever in `netns` carries `mark`, for a DEL whose lease nobody remembers. Gives back the MAC of
    /// the NIC that was freed. Success, with `None`, when nothing is there, or the NIC is shared with others.
    async fn teardown_marked(&self, mark: &AttachmentMark, netns: &NetnsPath) -> Result<Option<MacAddr>>;

    /// Makes a NIC of the node one that pods share. Idempotent; repairs what is missing, also the answers to ARP for pods that
    /// share it, and takes away those for pods of which nothing else is there. Interrupts no pod but where the NIC is
    /// down or has another name.
    ///
    /// # Errors
    /// `NotFound` when the NIC is not in the node's namespace; `Conflict` when another link has the name that was planned, or
    /// the NIC is a pod's or a gateway; `Invalid` for a sender outside the subnet; `Unsupported` for addresses of IPv6,
    /// and from what has no such NICs, as this does unless it is written anew.
    async fn setup_shared_nic(&self, plan: &SharedNicPlan) -> Result<()> {
        Err(no_sharing("set up shared NIC", plan.mac))
    }

    /// How the NIC differs from the plan; empty when it does not.
    ///
    /// # Errors
    /// `Unsupported` as for [`setup_shared_nic`](Self::setup_shared_nic).
    async fn check_shared_nic(&self, plan: &SharedNicPlan) -> Result<Vec<Drift>> {
        Err(no_sharing("check shared NIC", plan.mac))
    }

    /// Makes a NIC that pods shared one like any other: down, without addresses, and without what led to it. Pods that
    /// still share it lose their way; their own take-downs find what is left of them. Success when it is gone, or is none
    /// that pods share.
    ///
    /// # Errors
    /// `Unsupported` as for [`setup_shared_nic`](Self::setup_shared_nic).
    async fn teardown_shared_nic(&self, mac: MacAddr) -> Result<()> {
        Err(no_sharing("take down shared NIC", mac))
    }

    /// Makes the node's gateways those of `plans`, and no others: what was set up for others before is taken down, and
    /// their NICs are left down and without addresses.
    ///
    /// NICs of the operator's are not changed; what is needed for them is in tables of our own.
    ///
    /// # Errors
    /// `NotFound` when one of the NICs is not in the node's namespace, `Conflict` when another link has the name that
    /// was planned, `Unsupported` for addresses of IPv6 and where the kernel lacks NAT, `Unauthorised` where the node
    /// does not forward and that cannot be changed.
    async fn setup_gateways(&self, plans: &[GatewayPlan]) -> Result<()>;

    /// How the node differs from the plans; empty when it does not. Gateways beside these are no difference.
    async fn check_gateways(&self, plans: &[GatewayPlan]) -> Result<Vec<Drift>>;

    /// What is there now, for a comparison.
    async fn observe(&self) -> Result<KernelView>;

    /// Waits until an address of the node's own may have come or gone since this last returned, or since the programmer was
    /// made: one that is no pod's. For one caller at a time; dropping the future loses no news. What cannot tell waits for
    /// ever, as this does unless it is written anew: comparisons find such a change, too, only later.
    async fn addresses_changed(&self) {
        std::future::pending().await
    }
}

fn no_sharing(operation: &'static str, nic: MacAddr) -> Error {
    Error::new(ErrorKind::Unsupported, operation, nic).detail("pods cannot share NICs here")
}

/// A pod whose interface carries nothing any more, and whose NIC is still in it; see [`RouteProgrammer::silence_pod`].
///
/// It keeps the pod's namespace alive, whatever becomes of its path, until the NIC is back or this is dropped. Dropped
/// before, it leaves the NIC where it is: for [`RouteProgrammer::teardown_pod`], or for the kernel, which takes the NIC
/// back when the namespace ends.
#[async_trait]
pub trait SilencedPod: Send + Debug {
    /// Brings the NIC back to the node, and lets go of the namespace. Success again once it succeeded; after an error, or
    /// when the future was dropped, it can be called again.
    async fn give_back(&mut self) -> Result<()>;

    /// Does what is left of [`RouteProgrammer::teardown_pod`] then: has the kernel forget what it remembers of the pod's
    /// address. Until this has succeeded nobody else may have that address.
    ///
    /// It may wait a second for other pods that end, so that one look at all that is remembered does for all of them: it is
    /// to be called for many pods at once. Success again once it succeeded; after an error, or when the future was dropped,
    /// it can be called again.
    async fn forget(&mut self) -> Result<()>;
}
