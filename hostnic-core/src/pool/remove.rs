//! The way out: detach, and delete.

use crate::cloud::Submitted;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::id::NicId;
use crate::ledger::{AddressState, NicRecord, NicState};

use super::{Change, Shared, examine};

fn no_longer_busy(shared: &Shared, nics: &[NicId]) {
    let mut inflight = shared.inflight();
    for nic in nics {
        inflight.busy.remove(nic);
    }
}

/// Unplugs NICs, with one call.
pub(super) async fn detach(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let result = begin_detach(shared, nics).await;
    no_longer_busy(shared, nics);
    result
}

async fn begin_detach(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let now = shared.now();
    let mut leaving = Vec::new();
    let leaves = |nic: &NicRecord| {
        // Somebody may have got an address between the plan and this step.
        let idle = nic.is_idle() && shared.inflight().reserved_on(&nic.id) == 0;
        let may = match nic.state {
            NicState::Ready => idle,
            NicState::Attaching { .. } | NicState::Detaching { .. } => true,
            _ => false,
        };
        if !may {
            return None;
        }
        leaving.push(nic.id.clone());
        let mut record = nic.clone().in_state(NicState::Detaching { job: None }, now);
        for address in &mut record.addresses {
            if matches!(address.state, AddressState::Free { .. }) {
                address.state = AddressState::Claimed;
            }
        }
        Some(Change::Put(record))
    };
    shared.change(nics, leaves).await?;
    if leaving.is_empty() {
        return Ok(());
    }
    match shared.parts.provider.detach_nics(&leaving).await {
        Ok(Submitted::Job(job)) => {
            let now = shared.now();
            let waits = |nic: &NicRecord| {
                let state = NicState::Detaching { job: Some(job.clone()) };
                Some(Change::Put(nic.clone().in_state(state, now)))
            };
            shared.change(&leaving, waits).await
        }
        Ok(Submitted::Complete) => {
            let now = shared.now();
            shared
                .change(&leaving, |nic| Some(Change::Put(nic.clone().in_state(NicState::Deleting, now))))
                .await
        }
        Err(error) => refused(shared, &leaving, &error).await,
    }
}

/// Deletes NICs, with one call.
pub(super) async fn delete(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let result = match shared.parts.provider.delete_nics(nics).await {
        Ok(()) => {
            let dropped =
                shared.change(nics, |nic| (nic.state == NicState::Deleting).then_some(Change::Drop)).await;
            let mut inflight = shared.inflight();
            for nic in nics {
                inflight.not_before.remove(nic);
            }
            dropped
        }
        Err(error) => refused(shared, nics, &error).await,
    };
    no_longer_busy(shared, nics);
    result
}

/// What the cloud refused, or may have done: look at the NICs, or leave them alone for a while.
async fn refused(shared: &Shared, nics: &[NicId], error: &Error) -> Result<()> {
    tracing::warn!(error = %error.chain(), count = nics.len(), "NICs could not be given back; it is tried again");
    match (error.effect(), error.kind()) {
        (Effect::Unknown, _) | (Effect::None, ErrorKind::Conflict | ErrorKind::NotFound) => {
            examine::examine(shared, nics).await
        }
        _ => {
            let later = shared.now().after(shared.config.visibility);
            shared.inflight().not_before.extend(nics.iter().map(|nic| (nic.clone(), later)));
            Ok(())
        }
    }
}
