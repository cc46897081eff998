//! The records of NICs, addresses and leases, and which state may follow which.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentKey, AttachmentMark, PodRef};
use crate::clock::BootTime;
use crate::cloud::{Carrier, Subnet};
use crate::gateway::GatewayNumber;
use crate::id::{CreateToken, JobId, MacAddr, NicId, SubnetId};
use crate::ipam::Lease;
use crate::route::{NicTable, PodLink, PodPlan};

/// What a NIC is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NicRole {
    /// Its addresses are leased to pods.
    #[default]
    Pods,
    /// It stays in the node's own namespace as the gateway of that number; its addresses are leased to nobody.
    Gateway(GatewayNumber),
    /// It was made for that attachment alone, and is deleted with it.
    Own(AttachmentMark),
    /// It is somebody else's, was there before, and that attachment has it for a while. It is detached when that ends, and
    /// never deleted.
    Lent(AttachmentMark),
    /// It stays in the node's own namespace, without an address of its own, and carries all pods of its subnet that share
    /// one: their leases name it. The table of what they send by it is chosen for the first of them.
    Shared(Option<NicTable>),
}

impl NicRole {
    /// Whether pods share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// The routing table of what pods send by it, where they share it.
    pub fn shared_table(&self) -> Option<NicTable> {
        match self {
            Self::Shared(table) => *table,
            _ => None,
        }
    }

    /// Whether it is a gateway.
    pub fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway(_))
    }

    /// Whether it is somebody else's.
    pub fn is_lent(&self) -> bool {
        matches!(self, Self::Lent(_))
    }

    /// The one attachment that it is for; `None` where it is for any, or for none.
    pub fn pod(&self) -> Option<&AttachmentMark> {
        match self {
            Self::Own(mark) | Self::Lent(mark) => Some(mark),
            Self::Pods | Self::Gateway(_) | Self::Shared(_) => None,
        }
    }

    /// Whether the attachment may have an address that is the NIC's own.
    pub fn serves(&self, attachment: &AttachmentMark) -> bool {
        match self {
            Self::Pods => true,
            Self::Gateway(_) | Self::Shared(_) => false,
            Self::Own(mark) | Self::Lent(mark) => mark == attachment,
        }
    }

    /// Whether `next` may follow: one attachment may be followed by another, and a table is chosen once.
    pub(super) fn may_become(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Own(_), Self::Own(_)) | (Self::Lent(_), Self::Lent(_)) => true,
            (Self::Shared(None), Self::Shared(_)) => true,
            _ => self == next,
        }
    }
}

/// A create call that was decided, and whose answer is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateIntent {
    /// The token in the name of every NIC of the call.
    pub token: CreateToken,
    /// Where.
    pub subnet: SubnetId,
    /// How many.
    pub count: u32,
    /// When it was decided.
    pub since: BootTime,
    /// What the NICs are for.
    #[serde(default)]
    pub role: NicRole,
}

/// What pods on a NIC must know of its subnet; kept, so that ADD needs no cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRange {
    /// The subnet.
    pub id: SubnetId,
    /// Its address range.
    pub prefix: IpNet,
    /// The VPC router's address in it.
    pub gateway: IpAddr,
    /// What it is made of.
    #[serde(default, skip_serializing_if = "Carrier::is_usual")]
    pub carrier: Carrier,
}

impl From<&Subnet> for SubnetRange {
    fn from(subnet: &Subnet) -> Self {
        let Subnet { id, prefix, gateway, carrier, .. } = subnet.clone();
        Self { id, prefix, gateway, carrier }
    }
}

/// One NIC of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicRecord {
    /// The cloud's name for it.
    pub id: NicId,
    /// Its link address.
    pub mac: MacAddr,
    /// Its subnet.
    pub subnet: SubnetRange,
    /// The create call that made it, where it is known.
    pub token: Option<CreateToken>,
    /// What it is for. It does not change, but that a NIC for one attachment may be left to another while nobody has it, and
    /// that the table of a shared one is chosen.
    #[serde(default)]
    pub role: NicRole,
    /// Where it is in its life.
    pub state: NicState,
    /// When it came into that state; of a shared one that is ready, also when its last pod left it.
    pub since: BootTime,
    /// The addresses that it carries, of its own: a shared one has none. One in the seeds' modes, where address and NIC are the same thing.
    pub addresses: Vec<AddressRecord>,
}

/// Where a NIC is in its life. `gone` is the absence of a record, `creating` is a [`CreateIntent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NicState {
    /// It exists and is, or is about to be, on its way into the instance.
    Attaching {
        /// The cloud's job; `None` before the call was answered.
        job: Option<JobId>,
        /// How many attach calls have failed.
        failures: u32,
    },
    /// It is in the node, and its addresses can be leased.
    Ready,
    /// It is, or is about to be, on its way out of the instance.
    Detaching {
        /// The cloud's job; `None` before the call was answered.
        job: Option<JobId>,
    },
    /// It is out of the instance and is to be deleted.
    Deleting,
    /// Cloud and store disagree for good: never touched again.
    Lost,
    /// Ours, but whose is unknown: not leased, detached or deleted while that is so. It ends when its pod is found, when its
    /// link is back in the node and unused, and when a person detaches it.
    Quarantined,
}

impl NicState {
    /// Whether `next` may follow. Staying in a state (with another job, say) is allowed.
    pub fn may_become(&self, next: &Self) -> bool {
        use NicState::{Attaching, Deleting, Detaching, Lost, Quarantined, Ready};
        match (self, next) {
            (Lost, Lost) => true,
            (Lost, _) => false,
            (_, Lost | Quarantined) => true,
            (Attaching { .. }, Attaching { .. } | Ready | Detaching { .. } | Deleting) => true,
            (Ready, Ready | Detaching { .. } | Attaching { .. }) => true,
            (Detaching { .. }, Detaching { .. } | Deleting) => true,
            (Deleting, Deleting | Detaching { .. }) => true,
            // Its owner was found, or is gone.
            (Quarantined, Ready | Detaching { .. }) => true,
            _ => false,
        }
    }

    /// The job that it waits for.
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::Attaching { job, .. } | Self::Detaching { job } => job.as_ref(),
            _ => None,
        }
    }

    /// One word for tables and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Attaching { .. } => "attaching",
            Self::Ready => "ready",
            Self::Detaching { .. } => "detaching",
            Self::Deleting => "deleting",
            Self::Lost => "lost",
            Self::Quarantined => "quarantined",
        }
    }
}

/// One address on a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub state: AddressState,
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressState {
    /// Ours in the cloud; its NIC is not ready yet.
    Claimed,
    /// Nobody's, and it may be leased.
    Free {
        /// Since when; what has been free for longest is leased first.
        since: BootTime,
    },
    /// A lease has it.
    Leased {
        /// The attachment.
        mark: AttachmentMark,
    },
    /// Somebody had it until a short while ago, and peers may still send to it.
    Cooling {
        /// When it was given back.
        since: BootTime,
    },
}

impl AddressState {
    /// Whether `next` may follow.
    pub fn may_become(&self, next: &Self) -> bool {
        use AddressState::{Claimed, Cooling, Free, Leased};
        match (self, next) {
            // A lease rebuilt from the kernel takes an address that was only adopted, or quarantined.
            (Claimed, Claimed | Free { .. } | Leased { .. } | Cooling { .. }) => true,
            (Free { .. } | Cooling { .. }, Leased { .. } | Free { .. } | Cooling { .. } | Claimed) => true,
            (Leased { mark: old }, Leased { mark: new }) => old == new,
            (Leased { .. }, Free { .. } | Cooling { .. }) => true,
            _ => false,
        }
    }

    /// One word for tables and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Free { .. } => "free",
            Self::Leased { .. } => "leased",
            Self::Cooling { .. } => "cooling",
        }
    }
}

/// What an attachment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The attachment in short.
    pub mark: AttachmentMark,
    /// The attachment; `None` where the lease was rebuilt from the kernel, which knows the mark only.
    pub key: Option<AttachmentKey>,
    /// The pod, where the runtime told.
    pub pod: Option<PodRef>,
    /// When the runtime started its ADD: a DEL that it started earlier is not about this lease.
    pub started: BootTime,
    /// How far it is.
    pub state: LeaseState,
    /// The address and the NIC.
    pub lease: Lease,
    /// What the kernel was, or is to be, told.
    pub plan: PodPlan,
    /// What ADD answered beside the lease; set when it became active.
    pub link: Option<PodLink>,
    /// When it came into its state.
    pub since: BootTime,
    /// Whether the pod itself asked how it is joined to its NIC; else it is as its node joined pods then.
    #[serde(default)]
    pub by_wish: bool,
}

/// How far a lease is. `gone` is the absence of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeaseState {
    /// Nobody has been answered: after a crash it is undone.
    Preparing,
    /// The runtime was, or may have been, told.
    Active,
    /// A DEL has begun and will be finished.
    Releasing,
}

impl LeaseState {
    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Preparing => true,
            Self::Active => matches!(next, Self::Active | Self::Releasing),
            Self::Releasing => next == Self::Releasing,
        }
    }

    /// One word for tables and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Active => "active",
            Self::Releasing => "releasing",
        }
    }
}
