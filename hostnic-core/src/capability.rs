//! What some clouds can do and others cannot: small traits of their own, so that no provider needs stubs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cloud::Submitted;
use crate::error::Result;
use crate::id::{InstanceId, NicId, SubnetId};

/// An address that the cloud gives to nobody while we hold it (QingCloud's VIP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedAddress {
    /// The cloud's name for the reservation.
    pub id: String,
    /// The address.
    pub address: IpAddr,
    /// The subnet that it belongs to.
    pub subnet: SubnetId,
}

/// Clouds in which addresses of a subnet can be taken without a NIC.
#[async_trait]
pub trait AddressReservation: Send + Sync + Debug {
    /// The most addresses that one [`reserve`](Self::reserve) takes, at least 1.
    fn at_once(&self) -> u32 {
        u32::MAX
    }

    /// Begins to reserve every address from `first` to `last`, both included, under `name`.
    ///
    /// Not idempotent: list by name first. Errors: `Conflict` when one of them is taken, `NotFound` for the subnet, `Invalid` for
    /// more than [`at_once`](Self::at_once).
    async fn reserve(&self, subnet: &SubnetId, name: &str, first: IpAddr, last: IpAddr) -> Result<Submitted>;

    /// All reservations with that name in that subnet, however many.
    async fn reserved(&self, subnet: &SubnetId, name: &str) -> Result<Vec<ReservedAddress>>;

    /// Begins to give reservations back; unknown ones count as done.
    async fn release(&self, ids: &[String]) -> Result<Submitted>;
}

/// Clouds whose firewall can be opened for an address range.
#[async_trait]
pub trait SecurityRules: Send + Sync + Debug {
    /// Makes sure that the group `group` lets in everything from `source`, and that the rule is in force. Idempotent.
    async fn allow_from(&self, group: &str, source: IpNet) -> Result<()>;
}

/// Clouds that drop what a NIC sends from addresses that are not its own, and can be told of NICs that route.
///
/// A node answers its pods in the name of services, whose addresses are no NIC's; so its gateway is such a NIC.
#[async_trait]
pub trait NicForwarding: Send + Sync + Debug {
    /// Lets the NICs send packets from any address. Idempotent. Lasts until the NIC is deleted.
    async fn allow_forwarding(&self, nics: &[NicId]) -> Result<()>;
}

/// Clouds whose NICs can carry a tag.
#[async_trait]
pub trait Tagging: Send + Sync + Debug {
    /// Puts `tag` on the NICs. Idempotent. What we do with our own NICs never depends on a tag.
    ///
    /// # Errors
    /// `NotFound` for an unknown NIC; some of the others may be tagged then.
    async fn tag_nics(&self, tag: &str, nics: &[NicId]) -> Result<()>;

    /// Those of the NICs that carry any of the tags. Unknown NICs and tags are left out of the answer, not an error.
    async fn tagged(&self, tags: &[String], nics: &[NicId]) -> Result<BTreeSet<NicId>>;
}

/// Clouds that tell which instances of the account there are.
#[async_trait]
pub trait InstanceDirectory: Send + Sync + Debug {
    /// Those of `ids` that exist, stopped ones included. One that was terminated does not, even while it is still listed.
    ///
    /// # Errors
    /// When the cloud did not tell about each of them: an instance is never left out because a question failed.
    async fn existing(&self, ids: &BTreeSet<InstanceId>) -> Result<BTreeSet<InstanceId>>;
}

/// Clouds that tell which machine an instance runs on. It is another one after a live migration.
#[async_trait]
pub trait HostMachines: Send + Sync + Debug {
    /// The machines under the instances of a cluster, by the instances' own addresses. One of which the cloud tells no machine is left
    /// out.
    ///
    /// # Errors
    /// `NotFound` for an unknown cluster.
    async fn host_machines(&self, cluster: &str) -> Result<BTreeMap<IpAddr, String>>;
}
