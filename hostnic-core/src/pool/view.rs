//! What the planner sees: one moment of the pool, in plain values.

use std::net::IpAddr;
use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::id::{CreateToken, NicId, SubnetId};
use crate::ledger::{NicRole, NicState};
use crate::policy::{PolicyState, SubnetView};

/// One moment of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// The moment.
    pub now: BootTime,
    /// Our NICs.
    pub nics: Vec<NicView>,
    /// Create calls that are not answered.
    pub creates: Vec<CreateView>,
    /// How many attachments wait for an address.
    pub waiting: u32,
    /// Since when addresses are short for which no create has been planned.
    pub unmet_since: Option<BootTime>,
    /// Attachments that wait for a particular NIC, for which nothing is under way yet.
    pub wishes: Vec<WishView>,
    /// How many NICs are being looked at, to be lent.
    pub lending: u32,
    /// The subnets that the pool draws from, in the order of preference.
    pub subnets: Vec<SubnetView>,
    /// Subnets in which a gateway is wanted, and none is there or on its way.
    pub gateways: Vec<SubnetId>,
    /// Subnets in which a NIC is wanted for pods to share, and none is there or on its way.
    pub unshared: Vec<SubnetId>,
    /// How many NICs of ours the instance may carry; `None` while the cloud has not told.
    pub nic_limit: Option<u32>,
    /// Nothing is made before this: the cloud refused us, or what exists is not known yet.
    pub hold: Hold,
    /// Whether everything that nobody holds is to be given back, and nothing made.
    pub draining: bool,
    /// Where the policy is.
    pub policy: PolicyState,
}

/// Whether NICs may be made at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// They may.
    No,
    /// Not before this moment.
    Until(BootTime),
    /// Not before the first comparison with the cloud and the kernel.
    Unsettled,
}

/// What a NIC is for, as far as the planner cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Any pod.
    Pods,
    /// None: the node itself.
    Gateway,
    /// One pod alone, for which it was made.
    Own,
    /// One pod alone, to which it is lent by its owner.
    Lent,
    /// All pods of its subnet that share a NIC.
    Shared,
}

impl Purpose {
    /// Whether it is for one pod alone.
    pub fn is_one_pod(self) -> bool {
        matches!(self, Self::Own | Self::Lent)
    }
}

impl From<&NicRole> for Purpose {
    fn from(role: &NicRole) -> Self {
        match role {
            NicRole::Pods => Self::Pods,
            NicRole::Gateway(_) => Self::Gateway,
            NicRole::Own(_) => Self::Own,
            NicRole::Lent(_) => Self::Lent,
            NicRole::Shared(_) => Self::Shared,
        }
    }
}

/// An attachment that waits for a particular NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishView {
    /// The attachment.
    pub mark: AttachmentMark,
    /// What it waits for.
    pub want: Want,
    /// NICs for one pod that fit, and that another attachment has left: those of the same pod's last try, say.
    pub left: Vec<NicId>,
    /// The NIC that has the address which is asked for.
    pub in_the_way: Option<NicId>,
    /// Nothing is tried before this.
    pub not_before: Option<BootTime>,
}

/// What an attachment waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A NIC to be made in this subnet; `None` for one that the pool draws from.
    Made(Option<SubnetId>),
    /// This NIC.
    Existing(NicId),
}

/// A NIC, as far as the planner cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicView {
    /// Which.
    pub id: NicId,
    /// Its subnet.
    pub subnet: SubnetId,
    /// What it is for.
    pub purpose: Purpose,
    /// Its state.
    pub state: NicState,
    /// Since when.
    pub since: BootTime,
    /// Whether a call about it is under way.
    pub busy: bool,
    /// Nothing is tried on it before this.
    pub not_before: Option<BootTime>,
    /// How many of its addresses anybody could have now.
    pub free: u32,
    /// Since when the one that was freed last is free.
    pub free_since: BootTime,
    /// How many are leased or reserved, or waited for by the one pod that the NIC is for; of a gateway, how many pods are
    /// in its subnet; of a shared one, how many have it and wait for it.
    pub held: u32,
    /// How many it carries in all.
    pub addresses: u32,
    /// Those that rest, and since when.
    pub cooling: Vec<(IpAddr, BootTime)>,
}

/// A create call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateView {
    /// Its token.
    pub token: CreateToken,
    /// How many NICs.
    pub count: u32,
    /// What they are for.
    pub purpose: Purpose,
    /// Whether its answer is still awaited by us; otherwise it was lost, and the NICs must be looked up.
    pub running: bool,
    /// When it was decided.
    pub since: BootTime,
}

/// How many more NICs a subnet can take, as far as that is known without asking: what the cloud told last, less what
/// this node made and more what it gave back since.
///
/// On a cloud whose NICs have one address each, this is the number of the subnet's free addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetRoom {
    /// The subnet.
    pub subnet: SubnetId,
    /// How many.
    pub nics: u32,
    /// How long ago the cloud told. What others made and gave back since is not in it.
    pub age: Duration,
}
