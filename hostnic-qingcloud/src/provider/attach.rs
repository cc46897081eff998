//! Plugging NICs in.

use hostnic_core::cloud::{NicAttachment, Submitted};
use hostnic_core::id::NicId;
use hostnic_core::layer::Call;
use hostnic_core::{Error, ErrorKind, QuotaScope, Result};

use super::describe::look;
use super::{NIC_LIMIT, QingCloudProvider, distinct, failed, failed_as, refused, submitted};
use crate::api::NicQuery;
use crate::client::Operation;
use crate::convert;
use crate::failure::CallError;
use crate::paging::PAGE;

impl QingCloudProvider {
    pub(super) async fn attach(&self, nics: &[NicId]) -> Result<Submitted> {
        let call = Call::Attach(nics);
        let nics = distinct(nics);
        if nics.is_empty() {
            return Ok(Submitted::Complete);
        }
        if nics.len() > PAGE {
            return Err(refused(ErrorKind::Invalid, call).detail("one call takes at most 100 NICs"));
        }
        let operation = self.client.operation();
        match operation.attach_nics(&nics, &self.instance).await {
            Ok(job) => submitted(call, job),
            Err(error) => Err(self.why_not_attached(&operation, &nics, error, call).await),
        }
    }

    /// Finds out what a refusal means where its code has several meanings: for 1400 a NIC's state, the
    /// instance's, or an instance that has no room; for 2500 that too, or too many requests.
    async fn why_not_attached(
        &self,
        operation: &Operation<'_>,
        nics: &[NicId],
        error: CallError,
        call: Call<'_>,
    ) -> Error {
        if !matches!((error.code(), error.kind()), (Some(1400), _) | (Some(2500), ErrorKind::Quota(_))) {
            return failed(call, error);
        }
        match self.obstacle(operation, nics).await {
            Ok(Some(kind)) => failed_as(kind, call, error),
            Ok(None) => failed(call, error),
            Err(cause) => {
                tracing::debug!(error = %hostnic_core::Chain(&cause), "why NICs are not attached cannot be told");
                failed(call, error)
            }
        }
    }

    /// What stands in the way of attaching `nics`, as far as lists show.
    async fn obstacle(
        &self,
        operation: &Operation<'_>,
        nics: &[NicId],
    ) -> Result<Option<ErrorKind>, CallError> {
        let listed = look(operation, nics).await?;
        if listed.values().any(|nic| nic.attachment != NicAttachment::Available) {
            return Ok(Some(ErrorKind::Conflict));
        }
        if nics.iter().any(|nic| !listed.contains_key(nic)) {
            return Ok(Some(ErrorKind::NotFound));
        }
        // What is being attached counts already, but shows in the jobs alone.
        let running = operation.running_jobs().await?;
        let arriving: Vec<String> =
            running.iter().filter(|job| job.job_action == "AttachNics").flat_map(|job| job.nics()).collect();
        if nics.iter().any(|nic| arriving.iter().any(|id| id == nic.as_str())) {
            return Ok(Some(ErrorKind::Conflict));
        }
        let query = NicQuery { instance: Some(self.instance.to_string()), ..NicQuery::default() };
        let carried = convert::nics(operation.describe_nics(&query).await?);
        let is_secondary =
            |attachment: &NicAttachment| matches!(attachment, NicAttachment::Attached { primary: false, .. });
        let secondary = carried.iter().filter(|nic| is_secondary(&nic.attachment)).count();
        let limit = usize::try_from(NIC_LIMIT).unwrap_or(usize::MAX);
        let too_many = secondary + nics.len() > limit;
        Ok(too_many.then_some(ErrorKind::Quota(QuotaScope::Instance)))
    }
}
