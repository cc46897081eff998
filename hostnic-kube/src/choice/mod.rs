//! Which vxnet the node's pool draws from: what its annotation says or, where it says nothing, one that is chosen.

mod claims;
mod plan;
mod task;

use std::fmt;
use std::num::NonZeroU32;

use hostnic_core::id::SubnetId;

use crate::annotation::{Listed, VXNET};
pub(crate) use task::{Chooser, choose};

/// How many NICs one vxnet holds.
const NICS_PER_VXNET: u32 = 252;

/// From which vxnets one is chosen for a node without the annotation `hostnic.network.kubesphere.io/vxnet`.
///
/// A vxnet holds 252 NICs, so that at most `252 / max_nic` nodes may draw from one. Nodes choose one after the other: each claim
/// is written to the Lease `kube-system/hostnic-vxnets`, which the API server lets nobody write who has not seen the last
/// claim. A claim holds until the node's annotation has taken its place, or the node is gone. Where there is no room,
/// nodes wait, and the oldest of those that wait comes first when there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceRules {
    /// The vxnets to choose from (`vxNets`), the first of those with the fewest nodes. A node's annotation that names
    /// another one counts as missing. Empty: none is chosen, and any annotation counts.
    pub subnets: Vec<SubnetId>,
    /// How many NICs the node may have (`maxNic`), which is taken to be the same on all nodes. More than 252 count as 252.
    pub max_nic: NonZeroU32,
}

impl Default for ChoiceRules {
    /// None to choose from, and the 63 NICs that an instance can carry.
    fn default() -> Self {
        Self { subnets: vec![], max_nic: const { NonZeroU32::new(63).unwrap() } }
    }
}

impl ChoiceRules {
    /// How many nodes one vxnet has room for.
    pub fn nodes_per_subnet(&self) -> u32 {
        (NICS_PER_VXNET / self.max_nic).max(1)
    }
}

/// The subnet that the node's pool draws from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeSubnet {
    /// The API server has not been reached yet, or a choice is under way: go on with what was in force before.
    Unknown,
    /// This one, by the node's annotation. A choice becomes the annotation before it is told here.
    Known(SubnetId),
    /// None: the node serves only pods that ask for a vxnet, a NIC, themselves.
    None(NoSubnet),
}

/// Why a node has no subnet. Displays it, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoSubnet {
    /// Neither an annotation nor anything to choose from.
    Unset,
    /// Its annotation is no id of a subnet, and there is nothing to choose from.
    Invalid {
        /// What the annotation says.
        value: String,
    },
    /// All of those to choose from have as many nodes as they have room for.
    Full {
        /// The vxnets to choose from.
        subnets: Vec<SubnetId>,
        /// How many nodes each has room for.
        nodes_per_subnet: u32,
    },
}

impl fmt::Display for NoSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => write!(
                f,
                "the node has no annotation {VXNET}, and vxNets is empty: only pods with an annotation of their own are served; annotate the node, or set vxNets"
            ),
            Self::Invalid { value } => write!(
                f,
                "the node's annotation {VXNET} is {value:?}, which is no vxnet's id, and vxNets is empty: only pods with an annotation of their own are served; correct it, or set vxNets"
            ),
            Self::Full { subnets, nodes_per_subnet } => write!(
                f,
                "no vxnet has room for this node: each of {} has {nodes_per_subnet} nodes already, which is 252 NICs / maxNic; add a vxnet to vxNets, lower maxNic, or annotate the node with {VXNET}",
                Listed(subnets)
            ),
        }
    }
}
