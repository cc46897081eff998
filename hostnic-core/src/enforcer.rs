//! Whoever enforces network policies between pods, and has to know a pod's address before the pod runs.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::attachment::PodRef;
use crate::error::Result;

/// Whoever enforces network policies, seen from the node.
///
/// # Contract
/// - **Never a guess**: what is told of a pod is told of the pod of that uid, where a uid is given, and of no later one of its name.
/// - **Idempotent**: the same told again changes nothing, and another address takes the place of the one before.
/// - **Nothing is taken back**: a pod that is gone has no address, and one whose ADD came to nothing is told with its next one.
#[async_trait]
pub trait PolicyEnforcer: Send + Sync + Debug {
    /// Tells the pod's address. Success promises that whatever enforces policies hears of it, though perhaps a moment later.
    ///
    /// The agent waits for this before it answers an ADD, for as long as
    /// [`AgentConfig::policy_deadline`](crate::agent::AgentConfig::policy_deadline), and drops the future then: what was told by
    /// then may count or not.
    ///
    /// # Errors
    /// `Transient`, `Throttled` or `Unauthorised` where it cannot be told, `Cancelled` where the pod is gone.
    async fn tell(&self, pod: &PodRef, address: IpAddr) -> Result<()>;

    /// Has the pod's address told in the background, as soon as that can be. Returns at once, and never fails.
    fn tell_later(&self, pod: &PodRef, address: IpAddr);
}
