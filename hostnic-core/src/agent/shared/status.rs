//! How the NICs that pods share are, for whoever shows them.

use crate::id::{MacAddr, NicId, SubnetId};
use crate::ledger::{NicState, State};
use crate::route::NicTable;

use super::super::Inner;

/// A NIC of the node that pods share, or one that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedNicStatus {
    /// The subnet.
    pub subnet: SubnetId,
    /// The NIC and its link address; `None` while it is being created.
    pub nic: Option<(NicId, MacAddr)>,
    /// The routing table of what its pods send; `None` before its first pod.
    pub table: Option<NicTable>,
    /// How far it is.
    pub phase: SharedNicPhase,
    /// How many pods have it, those included that come or go.
    pub pods: usize,
    /// For how many seconds no pod has had it; `None` while one has, and before it is ready.
    pub free_s: Option<u64>,
    /// Why the kernel does not have it as it should, where that was tried in vain.
    pub trouble: Option<String>,
}

/// How far a NIC is that pods share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedNicPhase {
    /// The cloud is asked for it.
    Creating,
    /// It is on its way into the node.
    Attaching,
    /// It is in the node, and the kernel does not have it yet as its pods need it.
    SettingUp,
    /// It serves its pods, or would.
    Ready,
    /// It is on its way out, or is deleted.
    Leaving,
    /// It is in another instance, or nobody knows whose it is.
    Astray,
}

/// All of them, by subnet. From memory.
pub(in crate::agent) fn shown(inner: &Inner) -> Vec<SharedNicStatus> {
    let now = inner.now();
    let mut all = inner.ledger.read(|state| {
        let intents = state.intents.values().filter(|intent| intent.role.is_shared());
        let coming = intents.map(|intent| SharedNicStatus {
            subnet: intent.subnet.clone(),
            nic: None,
            table: None,
            phase: SharedNicPhase::Creating,
            pods: 0,
            free_s: None,
            trouble: None,
        });
        coming.chain(made(state, now)).collect::<Vec<_>>()
    });
    for status in &mut all {
        let Some((nic, _)) = &status.nic else { continue };
        let (in_place, trouble) = inner.shared.nics.known(nic);
        status.trouble = trouble;
        let waits = status.pods > 0 && !in_place || status.trouble.is_some();
        if status.phase == SharedNicPhase::Ready && waits {
            status.phase = SharedNicPhase::SettingUp;
        }
    }
    all.sort_by(|a, b| (&a.subnet, &a.nic).cmp(&(&b.subnet, &b.nic)));
    all
}

fn made(state: &State, now: crate::clock::BootTime) -> impl Iterator<Item = SharedNicStatus> + '_ {
    state.nics.values().filter(|nic| nic.role.is_shared()).map(move |nic| {
        let pods = state.leases_on(&nic.id).count();
        let free = nic.state == NicState::Ready && pods == 0;
        SharedNicStatus {
            subnet: nic.subnet.id.clone(),
            nic: Some((nic.id.clone(), nic.mac)),
            table: nic.role.shared_table(),
            phase: match nic.state {
                NicState::Attaching { .. } => SharedNicPhase::Attaching,
                NicState::Ready => SharedNicPhase::Ready,
                NicState::Detaching { .. } | NicState::Deleting => SharedNicPhase::Leaving,
                NicState::Lost | NicState::Quarantined => SharedNicPhase::Astray,
            },
            pods,
            free_s: free.then(|| now.since(nic.since).as_secs()),
            trouble: None,
        }
    })
}
