//! Jobs: what goes on after a call was answered.

use std::fmt::Display;

use serde::Deserialize;

use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::{PAGE, Row};
use crate::request::Request;
use crate::wire;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JobRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub job_id: String,
    /// The action that began it.
    #[serde(deserialize_with = "wire::text")]
    pub job_action: String,
    /// How far it is; see [`JobRow::status`].
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
    /// What it is about, parted by spaces.
    #[serde(deserialize_with = "wire::text")]
    pub resource_ids: String,
    /// What went wrong; its form is not documented.
    #[serde(deserialize_with = "wire::text")]
    pub error_codes: String,
    /// The request that began it, as JSON.
    #[serde(deserialize_with = "wire::text")]
    pub directive: String,
}

impl Row for JobRow {
    const SET: &'static str = "job_set";

    fn id(&self) -> &str {
        &self.job_id
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// `pending` or `working`.
    Running,
    /// `successful`.
    Successful,
    /// `failed`.
    Failed,
    /// `done with failure`: a part of it is done.
    PartlyFailed,
    /// A word that is not documented.
    Other,
}

impl JobRow {
    /// How far it is.
    pub fn status(&self) -> JobStatus {
        match self.status.as_str() {
            "pending" | "working" => JobStatus::Running,
            "successful" => JobStatus::Successful,
            "failed" => JobStatus::Failed,
            "done with failure" | "done_with_failure" => JobStatus::PartlyFailed,
            _ => JobStatus::Other,
        }
    }

    /// The ids of the NICs that it is about, in lower case.
    pub fn nics(&self) -> Vec<String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Directive {
            #[serde(deserialize_with = "wire::list")]
            nics: Vec<String>,
        }
        let directive: Directive = serde_json::from_str(&self.directive).unwrap_or_default();
        let listed = self.resource_ids.split([' ', ',']).filter(|id| id.contains(':')).map(str::to_owned);
        let nics = if directive.nics.is_empty() { listed.collect() } else { directive.nics };
        nics.iter().map(|nic| nic.to_ascii_lowercase()).collect()
    }
}

impl Operation<'_> {
    /// `DescribeJobs`. Unknown ids are left out.
    ///
    /// The documentation says that an unknown id is an error. Those that the message names are left out then;
    /// where it names none, each half is asked for, down to the unknown ones.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_jobs(&self, ids: &[impl Display]) -> Result<Vec<JobRow>, CallError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut rows: Vec<JobRow> = Vec::new();
        let mut open: Vec<Vec<String>> = ids.chunks(PAGE).map(<[String]>::to_vec).collect();
        while let Some(ids) = open.pop() {
            let request = Request::new(Action::DescribeJobs).with_list("jobs", &ids);
            match (self.all(&request).await, &*ids) {
                (Ok(found), _) => rows.extend(found),
                (Err(error), [only]) if is_unknown(&error, only) => {}
                (Err(error), [_, _, ..]) if matches!(error.code(), Some(1100 | 2100)) => {
                    open.extend(without_unknown(&error, ids));
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(rows)
    }

    /// `DescribeJobs` for those of the account that have not ended.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn running_jobs(&self) -> Result<Vec<JobRow>, CallError> {
        let request = Request::new(Action::DescribeJobs).with_list("status", ["pending", "working"]);
        let mut rows: Vec<JobRow> = self.all(&request).await?;
        rows.retain(|row| row.status() == JobStatus::Running);
        Ok(rows)
    }
}

/// Whether the error says that there is no such job. An id that is not even shaped like one may be called
/// invalid.
fn is_unknown(error: &CallError, id: &str) -> bool {
    match error.code() {
        Some(2100) => true,
        Some(1100) => !id.starts_with("j-"),
        _ => false,
    }
}

/// What to ask for again, after the cloud refused `ids` because one is unknown.
fn without_unknown(error: &CallError, ids: Vec<String>) -> Vec<Vec<String>> {
    if ids.iter().any(|id| error.names(id)) {
        let others: Vec<String> = ids.into_iter().filter(|id| !error.names(id)).collect();
        return if others.is_empty() { Vec::new() } else { vec![others] };
    }
    let (one, other) = ids.split_at(ids.len() / 2);
    vec![one.to_vec(), other.to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nics_of_a_job_are_found_in_either_field() {
        let row = |directive: &str, resource_ids: &str| JobRow {
            directive: directive.to_owned(),
            resource_ids: resource_ids.to_owned(),
            ..JobRow::default()
        };
        let nic = "52:54:00:00:00:0a";
        for row in [
            row(r#"{"nics":["52:54:00:00:00:0A"],"instance":"i-1","zone":"pek3a"}"#, "i-1"),
            row("", "52:54:00:00:00:0A i-1"),
            row("not JSON", "i-1,52:54:00:00:00:0a"),
            row(r#"{"nics":null}"#, "52:54:00:00:00:0a"),
        ] {
            assert_eq!(row.nics(), [nic], "{row:?}");
        }
        assert!(row("{}", "i-1 vip-2").nics().is_empty());
    }
}
