//! Security groups: the cloud's firewall.

use std::fmt::Display;

use serde::Deserialize;

use super::{Begun, Done};
use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SecurityGroupRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub security_group_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub security_group_name: String,
    /// 1 where all its rules are in force.
    #[serde(deserialize_with = "wire::number")]
    pub is_applied: Option<i64>,
}

impl Row for SecurityGroupRow {
    const SET: &'static str = "security_group_set";

    fn id(&self) -> &str {
        &self.security_group_id
    }
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuleRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub security_group_rule_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub security_group_rule_name: String,
    /// Which protocol; `all` for every one.
    #[serde(deserialize_with = "wire::text")]
    pub protocol: String,
    /// `accept` or `drop`.
    #[serde(deserialize_with = "wire::text")]
    pub action: String,
    /// 0 for what comes in, 1 for what goes out.
    #[serde(deserialize_with = "wire::number")]
    pub direction: Option<i64>,
    /// From 0, the first, to 100.
    #[serde(deserialize_with = "wire::number")]
    pub priority: Option<i64>,
    /// The first port, or the ICMP type.
    #[serde(deserialize_with = "wire::text")]
    pub val1: String,
    /// The last port, or the ICMP code.
    #[serde(deserialize_with = "wire::text")]
    pub val2: String,
    /// The other side: an address or a range; empty for all.
    #[serde(deserialize_with = "wire::text")]
    pub val3: String,
}

impl Row for RuleRow {
    const SET: &'static str = "security_group_rule_set";

    fn id(&self) -> &str {
        &self.security_group_rule_id
    }
}

/// A rule to add: everything from a range may come in.
#[derive(Debug, Clone)]
pub struct NewRule<'a> {
    /// Its name.
    pub name: &'a str,
    /// The range.
    pub source: &'a str,
}

impl Operation<'_> {
    /// `DescribeSecurityGroups` for one; `None` where there is no such group.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_security_group(&self, id: &str) -> Result<Option<SecurityGroupRow>, CallError> {
        let request = Request::new(Action::DescribeSecurityGroups).with_list("security_groups", [id]);
        match self.all(&request).await {
            Ok(rows) => Ok(rows.into_iter().find(|row: &SecurityGroupRow| row.security_group_id == id)),
            Err(error) if error.code() == Some(2100) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `DescribeSecurityGroupRules` for what comes in.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn rules_of_group(&self, group: &str) -> Result<Vec<RuleRow>, CallError> {
        let request = Request::new(Action::DescribeSecurityGroupRules)
            .with("security_group", group)
            .with("direction", 0);
        self.all(&request).await
    }

    /// `AddSecurityGroupRules` with one rule of the first priority. It is in force once the group is applied.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn add_rule(&self, group: &str, rule: &NewRule<'_>) -> Result<(), CallError> {
        let fields = [
            ("security_group_rule_name", rule.name),
            ("protocol", "all"),
            ("priority", "0"),
            ("action", "accept"),
            ("direction", "0"),
            ("val1", ""),
            ("val2", ""),
            ("val3", rule.source),
        ];
        let request = Request::new(Action::AddSecurityGroupRules)
            .with("security_group", group)
            .with_objects("rules", [fields]);
        self.call::<Done>(&request).await.map(|Done {}| ())
    }

    /// `DeleteSecurityGroupRules`, at most a hundred. They are out of force once their group is applied.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_rules(&self, rules: &[impl Display]) -> Result<(), CallError> {
        let request = Request::new(Action::DeleteSecurityGroupRules).with_list("security_group_rules", rules);
        self.call::<Done>(&request).await.map(|Done {}| ())
    }

    /// `ApplySecurityGroup`: puts the rules in force wherever the group is used. The id of the job.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn apply_security_group(&self, group: &str) -> Result<String, CallError> {
        let request = Request::new(Action::ApplySecurityGroup).with("security_group", group);
        Ok(self.call::<Begun>(&request).await?.job_id)
    }
}
