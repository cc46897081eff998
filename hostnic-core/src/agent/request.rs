//! What a runtime asks of the agent, and what it is answered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::attachment::{AttachmentKey, ContainerId, IfName, NetnsPath, NetworkName, PodRef};
use crate::clock::BootTime;
use crate::error::Error;
use crate::ipam::Lease;
use crate::pods::PodWishes;
use crate::route::{PodLink, Route};

/// A pod is to get an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddRequest {
    /// The attachment.
    pub key: AttachmentKey,
    /// The pod's namespace.
    pub netns: NetnsPath,
    /// The pod, where the runtime told.
    pub pod: Option<PodRef>,
    /// What the pod asks for beside what the node gives to any.
    pub wishes: PodWishes,
    /// Routes beside the default one.
    pub routes: Vec<Route>,
    /// What goes by the node itself.
    pub by_host: ByHost,
    /// The MTU; `None` leaves the NIC's own.
    pub mtu: Option<u32>,
    /// When the runtime started it: a DEL that was started later wins, whichever arrives first.
    pub started: BootTime,
    /// How long to wait for an address that is on its way.
    pub patience: Duration,
}

/// What a pod sends by its node: by a NIC of the node's own in the pod's subnet, which is made where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByHost {
    /// Destinations of routes that go there, in that order, after those whose next hop is named.
    pub destinations: Vec<IpNet>,
    /// Whether the default route does, too. The node then sends everything on in its own name. Where the node keeps no
    /// such NICs, the default route goes by the VPC router.
    pub default_route: bool,
}

/// What a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddAnswer {
    /// Its address, and the NIC that carries it.
    pub lease: Lease,
    /// Its interface.
    pub link: PodLink,
    /// Whom its default route goes by.
    pub gateway: IpAddr,
    /// The routes that were set beside the default one.
    pub routes: Vec<Route>,
}

/// A pod is to lose an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelRequest {
    /// The attachment.
    pub key: AttachmentKey,
    /// The pod's namespace, where the runtime still knows it.
    pub netns: Option<NetnsPath>,
    /// When the runtime started it.
    pub started: BootTime,
}

/// A pod's interface is to be compared with what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// The attachment.
    pub key: AttachmentKey,
    /// The pod's namespace.
    pub netns: NetnsPath,
}

/// All attachments of a network that are not listed are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcRequest {
    /// The network; attachments of others are left alone.
    pub network: NetworkName,
    /// The attachments that are to stay.
    pub valid: BTreeSet<(ContainerId, IfName)>,
    /// When the runtime started it: what was attached later stays.
    pub started: BootTime,
}

/// What a garbage collection did.
#[derive(Debug, Default)]
pub struct GcReport {
    /// How many attachments were released.
    pub freed: u32,
    /// Those that could not be released, and why; a retry, or the next comparison, will.
    pub failures: Vec<(AttachmentKey, Error)>,
}
