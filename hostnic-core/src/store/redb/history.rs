//! What a store of an earlier boot still says.

use crate::clock::BootTime;
use crate::ledger::{AddressState, State};

/// The records of an earlier boot, as they hold from `now` on.
///
/// - Leases are dead: their namespaces are gone. Their addresses cool, because peers may still send to them.
/// - NICs and create intents stay as they are: the cloud knows nothing of our boots, and its job ids are still good.
/// - Every moment becomes `now`: how long the node was down is not known, so each wait is waited for again, in full.
/// - Tombstones go: no ADD of that boot can arrive any more.
pub(super) fn after_reboot(mut state: State, now: BootTime) -> State {
    state.leases.clear();
    state.tombstones.clear();
    for intent in state.intents.values_mut() {
        intent.since = now;
    }
    for nic in state.nics.values_mut() {
        nic.since = now;
        for address in &mut nic.addresses {
            match &mut address.state {
                AddressState::Claimed => {}
                AddressState::Free { since } | AddressState::Cooling { since } => *since = now,
                AddressState::Leased { .. } => address.state = AddressState::Cooling { since: now },
            }
        }
    }
    state
}
