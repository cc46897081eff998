//! What the simulated cloud was asked, for tests that count and bound calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::error::ErrorKind;
use crate::id::InstanceId;

/// What the simulated cloud can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`NicProvider::instance`](crate::NicProvider::instance)
    Instance,
    /// [`NicProvider::subnets`](crate::NicProvider::subnets)
    Subnets,
    /// [`NicProvider::create_nics`](crate::NicProvider::create_nics)
    CreateNics,
    /// [`NicProvider::attach_nics`](crate::NicProvider::attach_nics)
    AttachNics,
    /// [`NicProvider::detach_nics`](crate::NicProvider::detach_nics)
    DetachNics,
    /// [`NicProvider::delete_nics`](crate::NicProvider::delete_nics)
    DeleteNics,
    /// [`NicProvider::list_nics`](crate::NicProvider::list_nics)
    ListNics,
    /// [`NicProvider::jobs`](crate::NicProvider::jobs)
    Jobs,
    /// [`AddressReservation::reserve`](crate::capability::AddressReservation::reserve)
    Reserve,
    /// [`AddressReservation::reserved`](crate::capability::AddressReservation::reserved)
    Reserved,
    /// [`AddressReservation::release`](crate::capability::AddressReservation::release)
    Release,
    /// [`SecurityRules::allow_from`](crate::capability::SecurityRules::allow_from)
    AllowFrom,
    /// [`Tagging::tag_nics`](crate::capability::Tagging::tag_nics)
    TagNics,
    /// [`Tagging::tagged`](crate::capability::Tagging::tagged).
    Tagged,
    /// [`InstanceDirectory::existing`](crate::capability::InstanceDirectory::existing)
    Existing,
    /// [`NicForwarding::allow_forwarding`](crate::capability::NicForwarding::allow_forwarding)
    AllowForwarding,
    /// [`HostMachines::host_machines`](crate::capability::HostMachines::host_machines)
    HostMachines,
}

impl Operation {
    /// The operation as errors name it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Instance => "describe instance",
            Self::Subnets => "describe subnets",
            Self::CreateNics => "create NICs",
            Self::AttachNics => "attach NICs",
            Self::DetachNics => "detach NICs",
            Self::DeleteNics => "delete NICs",
            Self::ListNics => "list NICs",
            Self::Jobs => "describe jobs",
            Self::Reserve => "reserve addresses",
            Self::Reserved => "list reserved addresses",
            Self::Release => "release reserved addresses",
            Self::AllowFrom => "allow a range in",
            Self::TagNics => "tag NICs",
            Self::Tagged => "read the tags of NICs",
            Self::Existing => "look for instances",
            Self::AllowForwarding => "let NICs forward",
            Self::HostMachines => "look for host machines",
        }
    }
}

/// One call, as the cloud saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it came, counted from the cloud's making.
    pub at: Duration,
    /// What was asked.
    pub operation: Operation,
    /// The node that asked.
    pub instance: InstanceId,
    /// How many things it was about: NICs, subnets or jobs named, NICs to create; 0 for a list without ids.
    pub items: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out and answered.
    Answered,
    /// It was answered with an error and changed nothing.
    Refused(ErrorKind),
    /// Its caller was told that nobody knows.
    Lost {
        /// Whether it was carried out all the same.
        carried_out: bool,
    },
    /// It was carried out, and its caller waits for ever.
    Unanswered,
}

/// The latest calls, and the number of all.
#[derive(Debug, Default)]
pub(super) struct History {
    calls: VecDeque<Call>,
    counts: BTreeMap<Operation, u64>,
}

impl History {
    /// Enough for any test that looks at single calls, and bounded for runs of days.
    const KEPT: usize = 65_536;

    pub(super) fn record(&mut self, call: Call) {
        *self.counts.entry(call.operation).or_default() += 1;
        if self.calls.len() == Self::KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<Operation, u64> {
        self.counts.clone()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
