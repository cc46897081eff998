//! When a call's outcome is not known: look at the NICs themselves and go on from what is.

use crate::cloud::{Nic, NicAttachment, NicFilter};
use crate::error::Result;
use crate::id::NicId;
use crate::ledger::{NicRecord, NicState};

use super::{Change, Shared};

/// Where a NIC was found.
enum Found {
    Here,
    Elsewhere,
    Available,
    Nowhere,
}

/// Asks the cloud where the NICs are, and moves their records on accordingly. What cannot be asked now is tried again
/// after a while.
pub(super) async fn examine(shared: &Shared, nics: &[NicId]) -> Result<()> {
    if nics.is_empty() {
        return Ok(());
    }
    let filter = NicFilter { ids: Some(nics.to_vec()), ..NicFilter::default() };
    let later = shared.now().after(shared.config.visibility);
    let listed = match shared.parts.provider.list_nics(&filter).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "NICs could not be looked at; they are looked at again");
            shared.inflight().not_before.extend(nics.iter().map(|nic| (nic.clone(), later)));
            return Ok(());
        }
    };
    let instance = shared.inflight().instance.as_ref().map(|i| i.id.clone());
    let found = |id: &NicId| match listed.iter().find(|nic| &nic.id == id) {
        None => Found::Nowhere,
        Some(Nic { attachment: NicAttachment::Available, .. }) => Found::Available,
        Some(Nic { attachment: NicAttachment::Attached { instance: at, .. }, .. })
            if Some(at) != instance.as_ref() =>
        {
            Found::Elsewhere
        }
        Some(_) => Found::Here,
    };
    let mut plugged = Vec::new();
    let changed = shared.change(nics, |nic| {
        let found = found(&nic.id);
        if matches!((&nic.state, &found), (NicState::Attaching { .. }, Found::Here)) {
            plugged.push(nic.id.clone());
        }
        next(shared, nic, &found)
    });
    changed.await?;
    let now = shared.now();
    let mut inflight = shared.inflight();
    inflight.plugged.extend(plugged.into_iter().map(|nic| (nic, now)));
    inflight.not_before.extend(nics.iter().map(|nic| (nic.clone(), later)));
    Ok(())
}

fn next(shared: &Shared, nic: &NicRecord, found: &Found) -> Option<Change> {
    let now = shared.now();
    let put = |state| Some(Change::Put(nic.clone().in_state(state, now)));
    match (&nic.state, found) {
        (NicState::Attaching { .. } | NicState::Detaching { .. } | NicState::Deleting, Found::Elsewhere) => {
            tracing::error!(nic = %nic.id, "a NIC of ours is in another instance; it is never touched again");
            put(NicState::Lost)
        }
        (NicState::Attaching { failures, .. }, Found::Available) => {
            put(NicState::Attaching { job: None, failures: failures + 1 })
        }
        (NicState::Detaching { .. }, Found::Available) => put(NicState::Deleting),
        (NicState::Detaching { .. } | NicState::Deleting, Found::Here) => {
            put(NicState::Detaching { job: None })
        }
        (NicState::Detaching { .. } | NicState::Deleting, Found::Nowhere) => Some(Change::Drop),
        // A list may lag behind a create: only what has been missing for long enough is gone.
        (NicState::Attaching { .. }, Found::Nowhere) if now.since(nic.since) > shared.config.visibility => {
            Some(Change::Drop)
        }
        _ => None,
    }
}
