//! Why a pod cannot have the NIC that it asks for: what a caller acts on, and what a person is told.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::{Error, ErrorKind, QuotaScope};
use crate::id::{InstanceId, NicId, SubnetId};

/// Why a pod cannot have a NIC, where that is known exactly. An [`Error`] carries it: see [`Error::refusal`].
///
/// `Display` is a sentence for the pod's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The node has as many NICs as it may, and none of them is to spare.
    NodeFull {
        /// That number.
        limit: u32,
    },
    /// The node draws NICs from no subnet, and the pod names none.
    NoSubnet,
    /// None of the subnets that the node draws from has room.
    SubnetsFull,
    /// The subnet that the pod is to be in has no room.
    SubnetFull(SubnetId),
    /// The cloud knows no such subnet.
    UnknownSubnet(SubnetId),
    /// The subnet is not in the VPC that the node is in.
    ForeignSubnet(SubnetId),
    /// Somebody has the address.
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it, where the cloud told.
        by: Option<AddressHolder>,
    },
    /// The address is none that a pod in the subnet can have.
    AddressOutside {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: SubnetId,
        /// Its range.
        prefix: IpNet,
    },
    /// The cloud knows no such NIC.
    UnknownNic(NicId),
    /// The NIC is in use, or on its way to be.
    NicInUse {
        /// The NIC.
        nic: NicId,
        /// The instance that carries it, where it is attached.
        instance: Option<InstanceId>,
    },
    /// The NIC carries neither our name nor a tag that lets pods have it.
    NicNotOffered(NicId),
    /// All addresses that pods of the namespace may have are in use.
    NoAddressLeft {
        /// The namespace.
        namespace: String,
    },
    /// Nobody said which addresses pods of the namespace may have.
    NoBlock {
        /// The namespace.
        namespace: String,
    },
    /// The address blocks that the namespace is said to have do not exist.
    MissingBlocks {
        /// The namespace.
        namespace: String,
        /// Their names.
        blocks: Vec<String>,
    },
    /// Each of the addresses that the pod may have is in use.
    CandidatesTaken {
        /// The addresses.
        candidates: Vec<IpAddr>,
    },
    /// None of the addresses that the pod asks for is one that pods of its namespace may have.
    CandidatesForeign {
        /// The addresses.
        candidates: Vec<IpAddr>,
        /// The namespace.
        namespace: String,
    },
    /// The account may own no more NICs.
    AccountFull,
    /// The cloud wants fewer calls.
    Throttled,
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressHolder {
    /// The NIC.
    pub nic: NicId,
    /// The instance that carries it, where it is attached.
    pub instance: Option<InstanceId>,
}

impl Refusal {
    /// What a caller can do about it. What is wrong with the wish itself is `Invalid`, and never `NotFound`, which would be
    /// about the pod's namespace.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NodeFull { .. }
            | Self::NoSubnet
            | Self::SubnetsFull
            | Self::AddressTaken { .. }
            | Self::NoAddressLeft { .. }
            | Self::NoBlock { .. }
            | Self::MissingBlocks { .. }
            | Self::CandidatesTaken { .. }
            | Self::NicInUse { .. } => ErrorKind::Exhausted,
            Self::SubnetFull(_) => ErrorKind::Quota(QuotaScope::Subnet),
            Self::AccountFull => ErrorKind::Quota(QuotaScope::Account),
            Self::Throttled => ErrorKind::Throttled { retry_after: None },
            Self::UnknownSubnet(_)
            | Self::ForeignSubnet(_)
            | Self::AddressOutside { .. }
            | Self::CandidatesForeign { .. }
            | Self::UnknownNic(_)
            | Self::NicNotOffered(_) => ErrorKind::Invalid,
        }
    }

    /// A name in one word, fit for an event's reason.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NodeFull { .. } => "NoNicLeft",
            Self::NoSubnet => "NoSubnet",
            Self::SubnetsFull | Self::SubnetFull(_) => "SubnetFull",
            Self::UnknownSubnet(_) => "UnknownSubnet",
            Self::ForeignSubnet(_) => "ForeignSubnet",
            Self::AddressTaken { .. } => "AddressTaken",
            Self::AddressOutside { .. } => "AddressOutsideSubnet",
            Self::UnknownNic(_) => "UnknownNic",
            Self::NicInUse { .. } => "NicInUse",
            Self::NicNotOffered(_) => "NicNotOffered",
            Self::NoAddressLeft { .. } => "NoAddressLeft",
            Self::NoBlock { .. } => "NoAddressBlock",
            Self::MissingBlocks { .. } => "AddressBlockMissing",
            Self::CandidatesTaken { .. } => "AddressTaken",
            Self::CandidatesForeign { .. } => "AddressOutsideBlocks",
            Self::AccountFull => "AccountFull",
            Self::Throttled => "CloudThrottles",
        }
    }

    /// The error of `operation` on `subject` for this reason, with this sentence as its detail.
    pub fn into_error(self, operation: &'static str, subject: impl fmt::Display) -> Error {
        Error::new(self.kind(), operation, subject).detail(&self).refusal_of(self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeFull { limit } => write!(
                f,
                "no NIC is left: this node has all the {limit} NICs that it may have, and each has its pod; delete a pod \
                here, or let this one run on another node"
            ),
            Self::NoSubnet => f.write_str(
                "this node draws NICs from no subnet, and the pod names none; choose a subnet for the node or for the pod",
            ),
            Self::SubnetsFull => f.write_str("every subnet of this node is full or refuses NICs"),
            Self::SubnetFull(subnet) => {
                write!(f, "subnet {subnet} is full; delete NICs in it, or choose another subnet")
            }
            Self::UnknownSubnet(subnet) => {
                write!(f, "the cloud knows no subnet {subnet}; correct the subnet that is asked for")
            }
            Self::ForeignSubnet(subnet) => {
                write!(f, "subnet {subnet} is not in the VPC of this node; choose one that is")
            }
            Self::AddressTaken { address, by: None } => {
                write!(f, "address {address} is taken; free it, or choose another")
            }
            Self::AddressTaken { address, by: Some(AddressHolder { nic, instance: None }) } => {
                write!(f, "address {address} is taken by NIC {nic}, which is attached to no instance")
            }
            Self::AddressTaken { address, by: Some(AddressHolder { nic, instance: Some(instance) }) } => {
                write!(f, "address {address} is taken by NIC {nic} of instance {instance}")
            }
            Self::AddressOutside { address, subnet, prefix } => write!(
                f,
                "address {address} cannot be a pod's in subnet {subnet}, which is {prefix}; its ends and its gateway are \
                nobody's"
            ),
            Self::UnknownNic(nic) => write!(f, "the cloud knows no NIC {nic}; correct the NIC that is asked for"),
            Self::NicInUse { nic, instance: Some(instance) } => {
                write!(f, "NIC {nic} is attached to instance {instance}; detach it first, or choose another")
            }
            Self::NicInUse { nic, instance: None } => {
                write!(f, "NIC {nic} is in use; choose one that is attached to nothing")
            }
            Self::NicNotOffered(nic) => write!(
                f,
                "NIC {nic} is not for pods: it has neither our name nor one of the tags that are configured for that; \
                tag it, or choose another"
            ),
            Self::NoAddressLeft { namespace } => write!(
                f,
                "all addresses of namespace {namespace} are in use; delete a pod of it, or give it another address block"
            ),
            Self::NoBlock { namespace } => write!(
                f,
                "namespace {namespace} has no address block, and none is everybody's; give it one, or have that done by itself"
            ),
            Self::MissingBlocks { namespace, blocks } => write!(
                f,
                "namespace {namespace} is to have addresses of {}, which does not exist; correct the name, or make it",
                blocks.join(", ")
            ),
            Self::CandidatesTaken { candidates } => {
                write!(f, "none of the addresses {} is free; free one, or allow another", Listed(candidates))
            }
            Self::CandidatesForeign { candidates, namespace } => write!(
                f,
                "none of the addresses {} is in a block of namespace {namespace}; choose others, or give it that block",
                Listed(candidates)
            ),
            Self::AccountFull => {
                f.write_str("the account may own no more NICs; delete some, or have its quota raised")
            }
            Self::Throttled => f.write_str("the cloud refuses calls because there were too many; it is tried again"),
        }
    }
}

/// Displays addresses parted by commas.
struct Listed<'a>(&'a [IpAddr]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_refusal_to_people_and_to_programs() {
        let by = AddressHolder { nic: "nic-1".parse().unwrap(), instance: Some("i-2".parse().unwrap()) };
        let taken = Refusal::AddressTaken { address: "10.0.0.9".parse().unwrap(), by: Some(by) };
        let error = taken.clone().into_error("lease an address for", "net/p/eth0");
        assert_eq!(
            error.to_string(),
            "lease an address for net/p/eth0: address 10.0.0.9 is taken by NIC nic-1 of instance i-2"
        );
        assert_eq!((error.refusal(), error.kind()), (Some(&taken), ErrorKind::Exhausted));
    }
}
