//! What became of jobs.

use std::collections::BTreeMap;

use hostnic_core::Result;
use hostnic_core::cloud::{Job, JobState, NicAttachment};
use hostnic_core::id::{JobId, NicId};
use hostnic_core::layer::Call;

use super::describe::look;
use super::{QingCloudProvider, failed};
use crate::api::{JobRow, JobStatus};
use crate::client::Operation;
use crate::failure::CallError;

impl QingCloudProvider {
    pub(super) async fn job_states(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let operation = self.client.operation();
        let states = states(&operation, ids).await.map_err(|error| failed(Call::Jobs(ids), error))?;
        let state = |id: &JobId| states.get(id.as_str()).cloned().unwrap_or(JobState::Unknown);
        Ok(ids.iter().map(|id| Job { id: id.clone(), state: state(id) }).collect())
    }
}

/// The states of the jobs that the cloud knows.
pub(super) async fn states(
    operation: &Operation<'_>,
    ids: &[JobId],
) -> Result<BTreeMap<String, JobState>, CallError> {
    let mut states = BTreeMap::new();
    for row in operation.describe_jobs(ids).await? {
        states.insert(row.job_id.clone(), state(operation, &row).await?);
    }
    Ok(states)
}

async fn state(operation: &Operation<'_>, row: &JobRow) -> Result<JobState, CallError> {
    Ok(match row.status() {
        JobStatus::Running => JobState::Running,
        JobStatus::Successful => JobState::Succeeded,
        JobStatus::Failed => JobState::Failed { nics: ids(&row.nics()), reason: reason(row) },
        JobStatus::PartlyFailed => {
            JobState::Failed { nics: not_done(operation, row).await?, reason: reason(row) }
        }
        // Waiting for a word that will not come could last for ever: the NICs themselves tell.
        JobStatus::Other => {
            tracing::warn!(
                job = row.job_id,
                status = row.status,
                "the cloud tells a job's state in an unknown word"
            );
            JobState::Unknown
        }
    })
}

/// The NICs for which a job did nothing that is done otherwise. The cloud does not say which, so a look must.
async fn not_done(operation: &Operation<'_>, row: &JobRow) -> Result<Vec<NicId>, CallError> {
    let nics = ids(&row.nics());
    let in_errors: Vec<NicId> = nics
        .iter()
        .filter(|nic| row.error_codes.to_ascii_lowercase().contains(nic.as_str()))
        .cloned()
        .collect();
    if !in_errors.is_empty() {
        return Ok(in_errors);
    }
    let listed = look(operation, &nics).await?;
    let is_free = |nic: &NicId| listed.get(nic).is_none_or(|nic| nic.attachment == NicAttachment::Available);
    Ok(match row.job_action.as_str() {
        "AttachNics" => nics.into_iter().filter(|nic| is_free(nic)).collect(),
        "DetachNics" => nics.into_iter().filter(|nic| !is_free(nic)).collect(),
        _ => nics,
    })
}

fn ids(nics: &[String]) -> Vec<NicId> {
    nics.iter().filter_map(|nic| NicId::new(nic).ok()).collect()
}

fn reason(row: &JobRow) -> String {
    match row.error_codes.as_str() {
        "" => format!("the cloud says: {} {}", row.job_action, row.status),
        codes => format!("the cloud says: {} {} ({codes})", row.job_action, row.status),
    }
}
