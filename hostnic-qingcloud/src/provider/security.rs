//! Letting the pods' subnets through the cloud's firewall.

use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::capability::SecurityRules;
use hostnic_core::cloud::JobState;
use hostnic_core::id::JobId;
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::IpNet;

use super::{QingCloudProvider, jobs};
use crate::api::{NewRule, RuleRow};
use crate::client::Operation;

const ALLOW: &str = "open the security group";

/// Between looks at the job that puts rules in force.
const LOOK: Duration = Duration::from_secs(2);

/// Rules are put in force on the instances that use the group, where they hold for the primary NIC.
///
/// Two nodes that ask for the same at the same moment may each add the rule; the second one has no effect.
#[async_trait]
impl SecurityRules for QingCloudProvider {
    async fn allow_from(&self, group: &str, source: IpNet) -> Result<()> {
        let subject = format!("{group} for {source}");
        let fail = |error: crate::CallError| error.into_error(ALLOW, &subject);
        let operation = self.client.operation();
        let found = operation.describe_security_group(group).await.map_err(fail)?;
        let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, ALLOW, &subject))?;
        let rules = operation.rules_of_group(group).await.map_err(fail)?;
        let has_rule = rules.iter().any(|rule| lets_in(rule, source));
        if !has_rule {
            let (name, range) = (format!("hostnic_{source}"), source.trunc().to_string());
            let rule = NewRule { name: &name, source: &range };
            operation.add_rule(group, &rule).await.map_err(fail)?;
        }
        if has_rule && found.is_applied == Some(1) {
            return Ok(());
        }
        let applied = apply(&operation, group, &subject).await;
        // The rule stays, and is found and put in force by the next call.
        applied.map_err(|error| if has_rule { error } else { error.effect_unknown() })
    }
}

impl QingCloudProvider {
    /// The security group of a cluster of the AppCenter; `None` for a cluster that the account does not have, or that has none.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn group_of_cluster(&self, cluster: &str) -> Result<Option<String>> {
        let found = self.client.operation().describe_clusters(&[cluster]).await;
        let rows = found.map_err(|error| error.into_error("look for the security group of", cluster))?;
        let group = rows.into_iter().find(|row| row.cluster_id == cluster).map(|row| row.security_group_id);
        Ok(group.filter(|group| !group.is_empty()))
    }
}

/// Whether a rule lets in everything from `source`, before any other rule can say no.
fn lets_in(rule: &RuleRow, source: IpNet) -> bool {
    let range = rule.val3.parse::<IpNet>().ok();
    rule.action == "accept"
        && rule.protocol == "all"
        && rule.direction.unwrap_or(0) == 0
        && rule.priority == Some(0)
        && range.is_some_and(|range| range.contains(&source))
}

async fn apply(operation: &Operation<'_>, group: &str, subject: &str) -> Result<()> {
    let fail = |error: crate::CallError| error.into_error(ALLOW, subject);
    let job = operation.apply_security_group(group).await.map_err(fail)?;
    let Ok(job) = JobId::new(job) else { return Ok(()) };
    let transient =
        |detail: String| Error::new(ErrorKind::Transient, ALLOW, subject).detail(detail).effect_unknown();
    loop {
        let mut states = jobs::states(operation, std::slice::from_ref(&job)).await.map_err(fail)?;
        match states.remove(job.as_str()) {
            Some(JobState::Succeeded) => return Ok(()),
            Some(JobState::Failed { reason, .. }) => return Err(transient(reason)),
            Some(JobState::Running) => {}
            // A forgotten job tells nothing: the group itself does.
            Some(JobState::Unknown) | None => {
                let found = operation.describe_security_group(group).await.map_err(fail)?;
                let in_force = found.is_some_and(|found| found.is_applied == Some(1));
                return if in_force {
                    Ok(())
                } else {
                    Err(transient(format!("{job} is not known any more")))
                };
            }
        }
        if !operation.pause(LOOK).await {
            return Err(transient(format!("{job} did not end in time; it goes on in the cloud")));
        }
    }
}
