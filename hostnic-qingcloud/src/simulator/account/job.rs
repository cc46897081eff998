//! Jobs: what the API tells of them, and what becomes of those that the cloud only times.

use std::time::Duration;

use hostnic_core::cloud::{JobState, Submitted};
use hostnic_core::id::JobId;
use hostnic_core::sim::{ControlPlane, JobRecord, SubnetSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{Listing, Rows};
use super::vxnet::Network;
use super::{Account, Answer, Call};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional};
use crate::simulator::refusal::Refusal;

/// What a job was for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct JobNote {
    action: String,
    resources: Vec<String>,
    directive: String,
}

/// What happens when a job that the cloud only times has succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Pending {
    job: JobId,
    pub(super) effect: Effect,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Effect {
    Join { vxnet: String, network: Network, spec: SubnetSpec },
    Leave { vxnets: Vec<String> },
    Apply { group: String, revision: u64, instances: Option<Vec<String>> },
}

const STATUSES: &[&str] = &["pending", "working", "successful", "failed", "done with failure"];

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("jobs", TEXTS),
    optional("status", Form::List(&Form::OneOf(STATUSES))),
    optional("job_action", Form::Text),
];

/// An unknown job is an error, as documented.
pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let asked = call.arguments.texts("jobs");
    for id in asked.iter().flatten() {
        if !call.account.jobs.contains_key(*id) {
            return Err(Refusal::not_found("job", id));
        }
    }
    let mut jobs: Vec<(JobRecord, Value)> = call
        .account
        .jobs
        .iter()
        .filter(|(id, _)| asked.as_ref().is_none_or(|asked| asked.contains(&id.as_str())))
        .filter_map(|(id, note)| {
            let record = call.control.job(&id.parse().ok()?)?;
            let item = item(call, id, note, &record);
            Some((record, item))
        })
        .collect();
    // The latest first, as people look for them.
    jobs.sort_by_key(|(record, _)| std::cmp::Reverse(record.made));
    let rows = Rows::new(jobs.into_iter().map(|(_, item)| item))
        .only("status", call.arguments.texts("status"))
        .only("job_action", call.arguments.text("job_action").map(|action| vec![action]));
    let listing = Listing { set: "job_set", id: "job_id", name: "job_action" };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(call: &Call<'_>, id: &str, note: &JobNote, record: &JobRecord) -> Value {
    let status = status(note, record, call.now);
    let failed = matches!(record.state, JobState::Failed { .. });
    json!({
        "job_id": id,
        "job_action": note.action,
        "status": status,
        "resource_ids": note.resources.join(" "),
        "owner": call.account.owner,
        "error_codes": if failed { "5000" } else { "" },
        "directive": note.directive,
        "create_time": call.time(record.made),
        "status_time": call.time(record.ended.unwrap_or(record.made)),
    })
}

/// A job is pending for a moment before it is worked on.
fn status(note: &JobNote, record: &JobRecord, now: Duration) -> &'static str {
    const PENDING: Duration = Duration::from_millis(200);
    match &record.state {
        JobState::Succeeded => "successful",
        JobState::Failed { nics, .. } => {
            let all = note.resources.iter().filter(|id| id.contains(':')).count();
            if nics.is_empty() || nics.len() >= all { "failed" } else { "done with failure" }
        }
        _ if now.saturating_sub(record.made) < PENDING => "pending",
        _ => "working",
    }
}

impl Call<'_> {
    /// Writes down what a job is for that the cloud has begun, and returns its id.
    pub(super) fn submitted(
        &mut self,
        submitted: Submitted,
        resources: &[String],
        directive: &Value,
    ) -> String {
        let id = match submitted {
            Submitted::Job(id) => id,
            // The API has no other answer than a job, even where nothing was left to do.
            Submitted::Complete => self.control.begin_job(Duration::ZERO, self.fate),
        };
        let note = JobNote {
            action: self.action.to_owned(),
            resources: resources.to_vec(),
            directive: directive.to_string(),
        };
        self.account.jobs.insert(id.to_string(), note);
        id.to_string()
    }

    /// Begins a job whose effect is ours.
    pub(super) fn begin(
        &mut self,
        takes: Duration,
        effect: Effect,
        resources: &[String],
        directive: &Value,
    ) -> String {
        let job = self.control.begin_job(takes, self.fate);
        self.account.pending.push(Pending { job: job.clone(), effect });
        self.submitted(Submitted::Job(job), resources, directive)
    }
}

impl Account {
    /// Has the effects of the jobs that have succeeded. Nobody sees whether that is done when they end or when
    /// somebody looks.
    pub(in super::super) fn settle(&mut self, control: &ControlPlane) {
        for pending in std::mem::take(&mut self.pending) {
            match control.job(&pending.job).map(|job| job.state) {
                Some(JobState::Succeeded) => self.take_effect(control, pending.effect),
                Some(JobState::Running) => self.pending.push(pending),
                _ => {}
            }
        }
    }

    fn take_effect(&mut self, control: &ControlPlane, effect: Effect) {
        match effect {
            Effect::Join { vxnet, network, spec } => {
                // It can only fail where an earlier job has done the same.
                if control.add_subnet(spec).is_ok()
                    && let Some(vxnet) = self.vxnets.get_mut(&vxnet)
                {
                    vxnet.network = Some(network);
                }
            }
            Effect::Leave { vxnets } => {
                for id in vxnets {
                    let Ok(subnet) = id.parse() else { continue };
                    // NICs may have come in while the job ran: then the vxnet stays.
                    if control.remove_subnet(&subnet).is_ok()
                        && let Some(vxnet) = self.vxnets.get_mut(&id)
                    {
                        vxnet.network = None;
                    }
                }
            }
            Effect::Apply { group, revision, instances } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.applied = revision;
                    group.instances.extend(instances.into_iter().flatten());
                }
            }
        }
    }
}
