//! Security groups, and applying them to instances.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::job::Effect;
use super::rows::{Listing, Rows};
use super::rule::Rule;
use super::{Account, Answer, Call, body};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

/// A security group. It is applied when no rule has changed since the last apply job that succeeded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Group {
    name: String,
    default: bool,
    created: Duration,
    pub(super) rules: Vec<Rule>,
    pub(super) revision: u64,
    pub(super) applied: u64,
    pub(in super::super) instances: BTreeSet<String>,
}

pub(in super::super) const DESCRIBE: &[Parameter] =
    &[optional("security_groups", TEXTS), optional("security_group_name", Form::Text)];

/// An unknown id is an error, as documented.
pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let asked = call.arguments.texts("security_groups");
    for id in asked.iter().flatten() {
        call.account.group(id)?;
    }
    let rows = Rows::new(call.account.groups.iter().map(|(id, group)| item(call, id, group)))
        .only("security_group_id", asked)
        .only("security_group_name", call.arguments.text("security_group_name").map(|name| vec![name]));
    let listing = Listing { set: "security_group_set", id: "security_group_id", name: "security_group_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(call: &Call<'_>, id: &str, group: &Group) -> Value {
    let mut item = json!({
        "security_group_id": id,
        "security_group_name": group.name,
        "description": null,
        "is_applied": u8::from(group.revision == group.applied),
        "is_default": u8::from(group.default),
        "tags": call.account.tags_of("security_group", id),
        "owner": call.account.owner,
        "create_time": call.time(group.created),
    });
    if call.arguments.integer("verbose").is_some_and(|verbose| verbose > 0) {
        let resources: Vec<Value> = group
            .instances
            .iter()
            .map(|instance| {
                let name = call.account.instances.get(instance).map(|note| note.name.as_str());
                json!({ "resource_id": instance, "resource_name": name, "resource_type": "instance" })
            })
            .collect();
        item["resources"] = resources.into();
    }
    item
}

pub(in super::super) const APPLY: &[Parameter] =
    &[required("security_group", Form::Text), optional("instances", TEXTS)];

pub(in super::super) fn apply(call: &mut Call<'_>) -> Answer {
    let id = call.arguments.needed("security_group");
    let revision = call.account.group(id)?.revision;
    let mut instances = None;
    if let Some(named) = call.arguments.texts("instances") {
        for instance in &named {
            call.instance(instance)?;
        }
        instances = Some(named.iter().map(ToString::to_string).collect::<Vec<String>>());
    }
    let mut resources = vec![id.to_owned()];
    resources.extend(instances.iter().flatten().cloned());
    let directive = json!({ "security_group": id, "instances": instances, "zone": call.zone });
    let effect = Effect::Apply { group: id.to_owned(), revision, instances };
    let job = call.begin(call.times.security_group, effect, &resources, &directive);
    Ok(body([("job_id", job.into())]))
}

impl Group {
    /// The group that instances are in unless somebody says otherwise: without rules, and applied.
    pub(in super::super) fn default_group(created: Duration) -> Self {
        Self { name: "default security group".to_owned(), default: true, created, ..Self::default() }
    }
}

impl Account {
    pub(super) fn group(&self, id: &str) -> Result<&Group, Refusal> {
        self.groups.get(id).ok_or_else(|| Refusal::not_found("security_group", id))
    }

    pub(super) fn group_mut(&mut self, id: &str) -> Result<&mut Group, Refusal> {
        self.groups.get_mut(id).ok_or_else(|| Refusal::not_found("security_group", id))
    }

    /// The group of an instance, as its item shows it; null without one.
    pub(super) fn group_of(&self, instance: &str) -> Value {
        let group = self.groups.iter().find(|(_, group)| group.instances.contains(instance));
        group.map_or(
            Value::Null,
            |(id, group)| json!({ "security_group_id": id, "is_default": u8::from(group.default) }),
        )
    }
}
