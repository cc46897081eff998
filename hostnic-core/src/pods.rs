//! What one pod asks for beside what its node gives to any, and where that is known from.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::attachment::PodRef;
use crate::error::{Error, Result};
use crate::id::{NicId, SubnetId};
use crate::ipam::Lease;
use crate::route::Datapath;

/// What one pod asks for. The default asks for nothing: any NIC of the pool, joined as the node joins its pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodWishes {
    /// Which NIC it is to have.
    pub nic: NicWish,
    /// How it is to be joined to that NIC; `None` for the node's way.
    pub datapath: Option<Datapath>,
    /// The addresses that it may have, the preferred one first; any where there are none. Only for a pod that shares its
    /// NIC: the address of another is its NIC's.
    pub addresses: Vec<IpAddr>,
}

/// Which NIC a pod is to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NicWish {
    /// Any of the pool.
    #[default]
    Any,
    /// One that is made for this pod, and that is deleted with it.
    Made {
        /// Its subnet; `None` for the one that the node's pool draws from.
        subnet: Option<SubnetId>,
        /// Its address; `None` for any of the subnet.
        address: Option<IpAddr>,
    },
    /// One that is there already and attached to nothing. It is detached when the pod goes, and never deleted.
    Existing(NicId),
}

/// Whoever knows the pods of this node: an orchestrator's API, seen from the node.
///
/// # Contract
/// - **Never a guess**: what is answered about a pod is about the pod of that uid, where a uid is given, and of no earlier
///   one of its name.
/// - **Deadline**: [`wishes`](Self::wishes) answers within a few seconds, whatever the orchestrator does. Those that tell
///   something return at once and never fail: it is told in the background, or not at all.
#[async_trait]
pub trait PodDirectory: Send + Sync + Debug {
    /// What the pod asks for. Without effect; the future may be dropped.
    ///
    /// # Errors
    /// `Transient` where the pod is not known and the orchestrator cannot be asked, `NotFound` where it says that there is no
    /// such pod, `Invalid` for wishes that make no sense: the detail names what was asked, with its value and what it may be.
    async fn wishes(&self, pod: &PodRef) -> Result<PodWishes>;

    /// Waits until the pod is not to run any more: it is gone, is being deleted, or has done its work. For ever where that cannot be
    /// known. Without effect; the future may be dropped.
    async fn over(&self, _pod: &PodRef) {
        std::future::pending().await
    }

    /// Hears that the pod was given an interface.
    fn attached(&self, pod: &PodRef, lease: &Lease);

    /// Hears that the pod could not be given an interface, or that it waits for one and why.
    fn failed(&self, pod: &PodRef, error: &Error);
}
