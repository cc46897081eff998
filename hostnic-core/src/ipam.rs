//! From "this pod wants an address" to an address on a NIC, and back.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentKey, AttachmentMark, PodRef};
use crate::error::Result;
use crate::id::{MacAddr, NicId, SubnetId};
use crate::pods::NicWish;

/// Who wants an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The attachment that it is for.
    pub key: AttachmentKey,
    /// The pod, where the runtime told.
    pub pod: Option<PodRef>,
    /// Which NIC is to carry it.
    pub nic: NicWish,
    /// How long to wait for an address that is on its way.
    pub patience: Duration,
}

/// An address, the NIC that carries it, and what a pod needs to know to use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The NIC that carries the address.
    pub nic: NicId,
    /// The NIC's link address.
    pub mac: MacAddr,
    /// The subnet of both.
    pub subnet: SubnetId,
    /// The address with the prefix length of its subnet.
    pub address: IpNet,
    /// The VPC router's address in that subnet.
    pub gateway: IpAddr,
}

/// Gives addresses to attachments.
///
/// # Contract
/// - **One holder**: no address is given to two attachments that both hold it.
/// - **Idempotency**: allocating again for the same key gives the same lease; releasing what is not held succeeds.
/// - **Durability** is the agent's: it records each lease before it relies on it, and tells the recorded ones with
///   [`Ipam::restore`] at start. What was allocated and never recorded may be forgotten by a restart.
/// - **Cancellation**: dropping [`Ipam::allocate`] either leaves nothing allocated, or leaves the lease allocated for the
///   key, where the next `allocate` or `release` of that key finds it.
#[async_trait]
pub trait Ipam: Send + Sync + Debug {
    /// Takes over the leases that were live before a restart. Called once, before anything else.
    async fn restore(&self, leases: &[(AttachmentMark, Lease)]) -> Result<()>;

    /// An address for the attachment; waits while one is on its way, no longer than the request's patience.
    ///
    /// # Errors
    /// `Exhausted` or `Quota` when none is free and none can be made, `Throttled`, `Unauthorised` or `Transient` when the
    /// cloud is the reason, `Invalid` or `Unsupported` for a wish that cannot be served. Where the
    /// reason is known more exactly, [`Error::refusal`](crate::Error::refusal) has it; the detail is fit to be shown to the pod's owner.
    async fn allocate(&self, request: &LeaseRequest) -> Result<Lease>;

    /// Takes the address back. `used` says whether anybody may have seen the address in use: if so it cools
    /// before it is given to another attachment.
    async fn release(&self, mark: &AttachmentMark, used: bool) -> Result<()>;
}

/// Who wants an address that no NIC has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRequest {
    /// The attachment that it is for.
    pub key: AttachmentKey,
    /// The pod.
    pub pod: PodRef,
    /// The addresses that it may be, the preferred one first; any where there are none.
    pub candidates: Vec<IpAddr>,
    /// How long to wait for one to become free.
    pub patience: Duration,
}

/// An address that was reserved in its subnet, and that any NIC of the subnet may carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedAddress {
    /// The address with the prefix length of its subnet.
    pub address: IpNet,
    /// The subnet.
    pub subnet: SubnetId,
    /// The VPC router's address in that subnet.
    pub gateway: IpAddr,
}

/// Gives addresses to attachments whose NIC is shared: the cloud knows of these addresses nothing but that they are ours.
///
/// # Contract
/// As for [`Ipam`]: one holder, claiming again for the same key gives the same address, releasing what is not held succeeds.
///
/// The agent restores before it claims or releases anything, and releases an address when nothing of this node speaks or
/// answers in its name any more.
#[async_trait]
pub trait AddressSource: Send + Sync + Debug {
    /// Takes over addresses that attachments of this node hold: those of the records at a start, and later whichever are found.
    async fn restore(&self, held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)]) -> Result<()>;

    /// Hears that all that attachments of this node hold has been told: what it has for this node besides is nobody's. Called
    /// when that is known after a start, and again where it failed; others are served meanwhile. By default nothing is done.
    ///
    /// # Errors
    /// `Transient` where whoever must know cannot be told; it may be called again then.
    async fn settled(&self) -> Result<()> {
        Ok(())
    }

    /// An address for the attachment; waits for one to become free, no longer than the request's patience.
    ///
    /// # Errors
    /// `Exhausted` or `Invalid` with a [`Refusal`](crate::Refusal) where there is none, `Transient` where whoever knows cannot
    /// be asked. Dropping the future either leaves nothing claimed, or leaves the address claimed for the key.
    async fn claim(&self, request: &AddressRequest) -> Result<ClaimedAddress>;

    /// Gives the address of an attachment back. When this has returned, it is durable that it was given back.
    ///
    /// # Errors
    /// `Transient` where that cannot be told to whoever must know; it may be called again then.
    async fn release(&self, mark: &AttachmentMark) -> Result<()>;
}
