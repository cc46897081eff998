//! What a cloud tells about instances, subnets, NICs and jobs, in plain values.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{CreateToken, InstanceId, JobId, MacAddr, NicId, RouterId, SubnetId};

/// The virtual machine that a node runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The router of the VPC that the instance is in; `None` outside a VPC.
    pub router: Option<RouterId>,
    /// How many NICs the instance may carry besides its primary one.
    pub nic_limit: u32,
}

/// A layer-2 network of the VPC with one address range (QingCloud's vxnet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its address range.
    pub prefix: IpNet,
    /// The VPC router's address in it.
    pub gateway: IpAddr,
    /// The VPC router that it is bound to; `None` when it is bound to none.
    pub router: Option<RouterId>,
    /// The addresses that the cloud hands out in it (DHCP); `None` where it hands out none.
    pub dhcp: Option<RangeInclusive<IpAddr>>,
    /// What it is made of.
    pub carrier: Carrier,
    /// How many more NICs it can take, as the cloud counts; `None` where the cloud does not tell.
    pub room: Option<u32>,
}

/// What a subnet's frames travel in between the cloud's hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Carrier {
    /// An overlay.
    #[default]
    Vxlan,
    /// A VLAN of the physical network, which machines outside the cloud may be in.
    Vlan,
}

impl Carrier {
    /// Whether it is what subnets are made of where nothing else is said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A network interface, as the cloud describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its id.
    pub id: NicId,
    /// The link address that it has inside the instance.
    pub mac: MacAddr,
    /// The name that its maker gave it.
    pub name: String,
    /// The subnet that it is in.
    pub subnet: SubnetId,
    /// The addresses that the cloud gave it; the first is its own. Empty for a NIC made without any.
    pub addresses: Vec<IpAddr>,
    /// Whether, and where, it is attached.
    pub attachment: NicAttachment,
}

/// Where a NIC is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NicAttachment {
    /// Nowhere: it can be attached or deleted.
    Available,
    /// In an instance.
    Attached {
        /// The instance.
        instance: InstanceId,
        /// Whether it is the instance's first NIC, which cannot be detached.
        primary: bool,
    },
}

impl NicAttachment {
    /// The instance that carries the NIC.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Available => None,
            Self::Attached { instance, .. } => Some(instance),
        }
    }
}

/// What a node must know of its cloud before it can work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The instance that the node is.
    pub instance: Instance,
    /// The subnets asked for, in that order; unknown ids are left out.
    pub subnets: Vec<Subnet>,
    /// The NICs attached to the instance.
    pub attached: Vec<Nic>,
}

/// The name by which we recognise our NICs in the cloud: `hostnic_<instance id>.<token>`.
///
/// The Go versions wrote `hostnic_<instance id>`; such NICs are ours too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicName {
    /// The instance that the NIC was made for.
    pub instance: InstanceId,
    /// The create call that made it; `None` for NICs of the Go versions.
    pub token: Option<CreateToken>,
}

impl NicName {
    const PREFIX: &'static str = "hostnic_";

    /// Reads a name; `None` where it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(Self::PREFIX)?;
        let (instance, token) = match rest.split_once('.') {
            Some((instance, token)) => (instance, Some(token.parse().ok()?)),
            None => (rest, None),
        };
        Some(Self { instance: instance.parse().ok()?, token })
    }
}

impl fmt::Display for NicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.instance)?;
        match &self.token {
            Some(token) => write!(f, ".{token}"),
            None => Ok(()),
        }
    }
}

/// Which NICs to list. Every condition that is set must hold; none set lists all of the account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NicFilter {
    /// Only these ids; ids that do not exist are left out of the answer, not an error.
    pub ids: Option<Vec<NicId>>,
    /// Only those attached to this instance.
    pub instance: Option<InstanceId>,
    /// Only those in these subnets.
    pub subnets: Option<Vec<SubnetId>>,
    /// Only those attached nowhere.
    pub available: bool,
    /// Only those with exactly this name.
    pub name: Option<NicName>,
}

impl NicFilter {
    /// Whether `nic` meets every condition.
    pub fn matches(&self, nic: &Nic) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&nic.id))
            && self.instance.as_ref().is_none_or(|i| nic.attachment.instance() == Some(i))
            && self.subnets.as_ref().is_none_or(|s| s.contains(&nic.subnet))
            && (!self.available || nic.attachment == NicAttachment::Available)
            && self.name.as_ref().is_none_or(|n| nic.name == n.to_string())
    }
}

/// What the cloud made of a call that only began something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Submitted {
    /// It is done already.
    Complete,
    /// It goes on under this id; ask [`crate::NicProvider::jobs`] about it.
    Job(JobId),
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
}

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Waiting or at work.
    Running,
    /// All of it is done.
    Succeeded,
    /// It ended, and for these NICs it did nothing.
    Failed {
        /// The NICs concerned; empty where the cloud did not say which.
        nics: Vec<NicId>,
        /// What the cloud said.
        reason: String,
    },
    /// The cloud knows no such job (any more): look at the NICs themselves.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_are_read_and_written_and_others_are_left_alone() {
        let ours = NicName::parse("hostnic_i-abcd1234.abcdefgh").unwrap();
        assert_eq!(ours.to_string(), "hostnic_i-abcd1234.abcdefgh");
        assert_eq!(NicName::parse("hostnic_i-abcd1234").unwrap().token, None);
        for other in ["", "eth0", "hostnic_", "hostnic_i-1.", "hostnic_i-1.UPPER-CASE", "my hostnic_i-1"] {
            assert_eq!(NicName::parse(other), None, "{other:?}");
        }
    }
}
