//! What an agent has done since its start, in numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::SubnetId;

use super::compare::Finding;

/// What was mended after records, cloud and kernel were found to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// A NIC that the cloud has no more was forgotten.
    Forgotten,
    /// A NIC of ours that no record knew was recorded.
    Adopted,
    /// A NIC and what a pod holds on it were recorded from what the kernel shows.
    Rebuilt,
    /// A NIC was set apart because whose it is cannot be told.
    Quarantined,
    /// A NIC that is attached nowhere was marked to be deleted.
    Expelled,
    /// A NIC that was unplugged behind our back was plugged in again or let go.
    Unplugged,
    /// A NIC that is in another instance was given up.
    Lost,
    /// An operation that had stopped half-way was finished.
    Finished,
    /// A NIC that was back from its pod's namespace was put back, or its lease released.
    CameBack,
    /// A pod's network, or what its node needs for pods, was set up again after somebody had changed it.
    SetUpAgain,
}

impl Repair {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Forgotten,
        Self::Adopted,
        Self::Rebuilt,
        Self::Quarantined,
        Self::Expelled,
        Self::Unplugged,
        Self::Lost,
        Self::Finished,
        Self::CameBack,
        Self::SetUpAgain,
    ];

    /// A short name in lower case, fit for a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Adopted => "adopted",
            Self::Rebuilt => "rebuilt",
            Self::Quarantined => "quarantined",
            Self::Expelled => "expelled",
            Self::Unplugged => "unplugged",
            Self::Lost => "lost",
            Self::Finished => "finished",
            Self::CameBack => "came_back",
            Self::SetUpAgain => "set_up_again",
        }
    }

    /// The repair of a finding; `None` for one that is only told.
    pub(super) fn of(finding: &Finding) -> Option<Self> {
        Some(match finding {
            Finding::Forget(_) => Self::Forgotten,
            Finding::Adopt(_) => Self::Adopted,
            Finding::Rebuild(..) | Finding::RebuildShared(_) => Self::Rebuilt,
            Finding::Quarantine(_) => Self::Quarantined,
            Finding::Expel(_) => Self::Expelled,
            Finding::Unplugged(_) => Self::Unplugged,
            Finding::Lose(_) => Self::Lost,
            Finding::Unfinished(_) => Self::Finished,
            Finding::CameBack(_) => Self::CameBack,
            Finding::BlindToSandboxes(_) => return None,
        })
    }
}

/// What an agent has done since its start. All numbers only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Repairs, by what they were; one that never happened is not there.
    pub repairs: BTreeMap<Repair, u64>,
    /// Repairs that failed and are tried again by the next comparison.
    pub failed_repairs: u64,
    /// NICs that the policy chose each subnet for.
    pub choices: BTreeMap<SubnetId, u64>,
    /// ADDs that had an address of a shared NIC and failed afterwards: for want of the NIC, or in the kernel.
    pub claimed_in_vain: u64,
}

/// The numbers that the agent itself counts.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Numbers are changed one at a time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A repair was tried.
    pub(super) fn repaired(&self, repair: Repair, success: bool) {
        let mut counts = self.counts();
        if success {
            *counts.repairs.entry(repair).or_default() += 1;
        } else {
            counts.failed_repairs += 1;
        }
    }

    /// A pod had an address, and could not be given it.
    pub(super) fn claimed_in_vain(&self) {
        self.counts().claimed_in_vain += 1;
    }

    /// The numbers at this moment.
    pub(super) fn snapshot(&self) -> Counts {
        self.counts().clone()
    }
}
