//! Where the simulated cloud's NICs come to light.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cloud::Nic;
use crate::error::Result;
use crate::id::{InstanceId, NicId};

/// What stands for the hypervisor: makes an attached NIC appear in its instance as a link, and a detached one
/// disappear.
#[async_trait]
pub trait Plug: Send + Sync + Debug {
    /// A link with the NIC's MAC appears in the instance: down, without addresses, with a name that says nothing.
    ///
    /// `sources` are the addresses that may be sent from it: its own, or for a NIC without addresses the reserved
    /// ones of its subnet and what the DHCP server there has given it. 0.0.0.0 among them stands for any: the NIC routes for others. The cloud calls this when an
    /// attach job ends; an error makes the job fail for this NIC.
    async fn plug(&self, instance: &InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()>;

    /// The link disappears, wherever in the instance it is. Success when it is gone already.
    async fn unplug(&self, instance: &InstanceId, nic: &Nic) -> Result<()>;

    /// The addresses that may be sent from a plugged NIC have changed.
    async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()>;

    /// What was dropped at NICs because it broke a rule of the cloud's, since each was first plugged in; also of NICs
    /// that are gone. Nothing where nobody looks.
    async fn dropped(&self) -> Result<Vec<DroppedFrames>> {
        Ok(Vec::new())
    }
}

/// Frames from one NIC that were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedFrames {
    /// The NIC.
    pub nic: NicId,
    /// Which rule they broke.
    pub reason: String,
    /// How many there were.
    pub packets: u64,
}
