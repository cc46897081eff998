//! Unplugging and deleting NICs, where what is done already counts as done.
//!
//! The cloud refuses a whole call when one of its NICs is unknown. So those are left out, and the rest is
//! asked for again.

use hostnic_core::cloud::{Nic, NicAttachment, Submitted};
use hostnic_core::id::{InstanceId, NicId};
use hostnic_core::layer::Call;
use hostnic_core::{ErrorKind, Result};

use super::describe::look;
use super::{QingCloudProvider, distinct, failed, failed_as, refused, submitted};
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::PAGE;

impl QingCloudProvider {
    /// A look comes first: the cloud detaches NICs from whatever instance has them, and refuses those that
    /// are free.
    pub(super) async fn detach(&self, nics: &[NicId]) -> Result<Submitted> {
        let call = Call::Detach(nics);
        let nics = distinct(nics);
        if nics.len() > PAGE {
            return Err(refused(ErrorKind::Invalid, call).detail("one call takes at most 100 NICs"));
        }
        if nics.is_empty() {
            return Ok(Submitted::Complete);
        }
        let operation = self.client.operation();
        let fail = |error| failed(call, error);
        let (mut here, free) = self.where_they_are(&operation, nics, call).await?;
        if let Some(nic) = first_in_transition(&operation, &free).await.map_err(fail)? {
            let detail = format!("{nic} is being attached or detached; wait until its job has ended");
            return Err(refused(ErrorKind::Conflict, call).detail(detail));
        }
        // A job that ended between the two answers was in neither.
        here.extend(self.where_they_are(&operation, free, call).await?.0);
        while !here.is_empty() {
            let error = match operation.detach_nics(&here).await {
                Ok(job) => return submitted(call, job),
                Err(error) => error,
            };
            if error.code() != Some(2100) {
                return Err(failed(call, error));
            }
            here = without_unknown(&operation, here, error, call).await?;
        }
        Ok(Submitted::Complete)
    }

    /// Those that are attached to this instance, and those that are free or gone, as a list shows them.
    async fn where_they_are(
        &self,
        operation: &Operation<'_>,
        nics: Vec<NicId>,
        call: Call<'_>,
    ) -> Result<(Vec<NicId>, Vec<NicId>)> {
        let listed = look(operation, &nics).await.map_err(|error| failed(call, error))?;
        if let Some((nic, why)) = listed.values().find_map(|nic| Some((nic, not_ours(nic, &self.instance)?)))
        {
            return Err(refused(ErrorKind::Conflict, call).detail(format_args!("{} {why}", nic.id)));
        }
        let is_here =
            |nic: &NicId| listed.get(nic).is_some_and(|nic| nic.attachment != NicAttachment::Available);
        Ok(nics.into_iter().partition(is_here))
    }

    pub(super) async fn delete(&self, nics: &[NicId]) -> Result<()> {
        let call = Call::Delete(nics);
        let nics = distinct(nics);
        let operation = self.client.operation();
        if nics.len() > PAGE {
            // Split, a refusal of a later part would come after the deletion of an earlier one.
            let listed = look(&operation, &nics).await.map_err(|error| failed(call, error))?;
            if let Some(nic) = listed.values().find(|nic| nic.attachment != NicAttachment::Available) {
                let detail = format!("{} is attached; detach it first", nic.id);
                return Err(refused(ErrorKind::Conflict, call).detail(detail));
            }
        }
        for (part, nics) in nics.chunks(PAGE).enumerate() {
            let deleted = delete_some(&operation, nics.to_vec(), call).await;
            deleted.map_err(|error| if part == 0 { error } else { error.effect_unknown() })?;
        }
        Ok(())
    }
}

async fn delete_some(operation: &Operation<'_>, mut nics: Vec<NicId>, call: Call<'_>) -> Result<()> {
    while !nics.is_empty() {
        match operation.delete_nics(&nics).await {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == Some(2100) => {
                nics = without_unknown(operation, nics, error, call).await?;
            }
            Err(error) => return Err(failed(call, error)),
        }
    }
    Ok(())
}

/// Why a NIC is not for us to detach.
fn not_ours(nic: &Nic, here: &InstanceId) -> Option<String> {
    match &nic.attachment {
        NicAttachment::Available => None,
        NicAttachment::Attached { primary: true, .. } => {
            Some("is the primary NIC of its instance".to_owned())
        }
        NicAttachment::Attached { instance, .. } if instance != here => {
            Some(format!("is attached to {instance}"))
        }
        NicAttachment::Attached { .. } => None,
    }
}

/// One of `nics` that a job is at work on. Lists show a NIC as free until its attach has ended.
async fn first_in_transition(operation: &Operation<'_>, nics: &[NicId]) -> Result<Option<NicId>, CallError> {
    if nics.is_empty() {
        return Ok(None);
    }
    let busy: Vec<String> = operation.running_jobs().await?.iter().flat_map(|job| job.nics()).collect();
    Ok(nics.iter().find(|nic| busy.iter().any(|id| id == nic.as_str())).cloned())
}

/// Those of `nics` to ask for again, after the cloud refused them with `error` because one is unknown.
///
/// Its message may name it. Otherwise a list shows which are left; one that still shows all lags behind the
/// refusal.
async fn without_unknown(
    operation: &Operation<'_>,
    nics: Vec<NicId>,
    error: CallError,
    call: Call<'_>,
) -> Result<Vec<NicId>> {
    if nics.len() == 1 {
        return Ok(Vec::new());
    }
    let (named, others): (Vec<NicId>, _) = nics.iter().cloned().partition(|nic| error.names(nic.as_str()));
    if !named.is_empty() {
        return Ok(others);
    }
    let listed = look(operation, &nics).await.map_err(|error| failed(call, error))?;
    let left: Vec<NicId> = nics.iter().filter(|nic| listed.contains_key(nic)).cloned().collect();
    if left.len() < nics.len() {
        return Ok(left);
    }
    Err(failed_as(ErrorKind::Transient, call, error))
}
