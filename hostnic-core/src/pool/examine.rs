//! When a call's outcome is not known: look at the NICs themselves and go on from what is.

use crate::cloud::{Nic, NicAttachment, NicFilter};
use crate::error::Result;
use crate::id::NicId;
use crate::ledger::{NicRecord, NicState};
use crate::point::Point;

use super::{Change, Shared, out};

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
    let here = shared.inflight().instance.as_ref().map(|instance| instance.id.clone());
    let Some(here) = here else {
        // Before it is known where we are, every NIC that is attached looks like another instance's.
        shared.inflight().set_back(nics, shared.now(), shared.config.visibility);
        return Ok(());
    };
    let filter = NicFilter { ids: Some(nics.to_vec()), ..NicFilter::default() };
    let provider = &shared.parts.provider;
    let listed = match provider.at(Point::ExamineNics, |cloud| cloud.list_nics(&filter)).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "NICs could not be looked at; they are looked at again");
            shared.inflight().set_back(nics, shared.now(), shared.config.visibility);
            return Ok(());
        }
    };
    let found = |id: &NicId| match listed.iter().find(|nic| &nic.id == id) {
        None => Found::Nowhere,
        Some(Nic { attachment: NicAttachment::Available, .. }) => Found::Available,
        Some(Nic { attachment: NicAttachment::Attached { instance: at, .. }, .. }) if *at != here => {
            Found::Elsewhere
        }
        Some(_) => Found::Here,
    };
    let plugged: Vec<NicId> = shared.parts.ledger.read(|state| {
        let here = nics
            .iter()
            .filter_map(|id| state.nics.get(id))
            .filter(|nic| matches!((&nic.state, found(&nic.id)), (NicState::Attaching { .. }, Found::Here)));
        here.map(|nic| nic.id.clone()).collect()
    });
    {
        // Before the records are written: a link that is seen meanwhile takes its NIC out again.
        let now = shared.now();
        let mut inflight = shared.inflight();
        inflight.plugged.extend(plugged.into_iter().map(|nic| (nic, now)));
        inflight.set_back(nics, now, shared.config.visibility);
    }
    let shared_by_pods = shared.leased(nics);
    shared
        .change(Point::RecordExamined, nics, |nic| {
            next(shared, nic, &found(&nic.id), shared_by_pods.contains(&nic.id))
        })
        .await
}

fn next(shared: &Shared, nic: &NicRecord, found: &Found, leased: bool) -> Option<Change> {
    let now = shared.now();
    let put = |state| Some(Change::put(nic.clone().in_state(state, now)));
    match (&nic.state, found) {
        // Somebody else was faster, or its owner has taken it back.
        (NicState::Attaching { .. } | NicState::Detaching { .. }, Found::Elsewhere)
            if nic.role.is_lent() && !nic.has_holder() =>
        {
            Some(Change::Drop)
        }
        (NicState::Attaching { .. } | NicState::Detaching { .. } | NicState::Deleting, Found::Elsewhere) => {
            tracing::error!(nic = %nic.id, "a NIC of ours is in another instance; it is never touched again");
            put(NicState::Lost)
        }
        (NicState::Attaching { failures, .. }, Found::Available) => {
            put(NicState::Attaching { job: None, failures: failures + 1 })
        }
        (NicState::Detaching { .. }, Found::Available) => Some(out(nic, now)),
        (NicState::Detaching { .. } | NicState::Deleting, Found::Here) => {
            put(NicState::Detaching { job: None })
        }
        (NicState::Detaching { .. } | NicState::Deleting, Found::Nowhere) => Some(Change::Drop),
        // Its pod's lease stays until the DEL, whatever becomes of the NIC.
        (NicState::Attaching { failures, .. }, Found::Nowhere) if nic.has_holder() => {
            put(NicState::Attaching { job: None, failures: failures.saturating_add(1) })
        }
        // A list may lag behind a create: only what has been missing for long enough is gone.
        (NicState::Attaching { .. }, Found::Nowhere) if now.since(nic.since) > shared.config.visibility => {
            // Its pods get another one.
            if leased { put(NicState::Lost) } else { Some(Change::Drop) }
        }
        _ => None,
    }
}
