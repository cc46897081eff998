//! Tags, and what they are attached to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{Listing, Rows};
use super::{Account, Answer, Call, body};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

/// A tag.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Tag {
    name: String,
    color: String,
    created: Duration,
    /// Type and id of each resource that has it.
    resources: BTreeSet<(String, String)>,
}

/// What can be tagged: the documented types that this simulator has, and `nic`, which is not documented but used.
const TYPES: &[&str] = &["instance", "nic", "router", "security_group", "vxnet"];

const PAIRS: Parameter = required(
    "resource_tag_pairs",
    Form::Objects(&[
        required("tag_id", Form::Text),
        required("resource_type", Form::OneOf(TYPES)),
        required("resource_id", Form::Text),
        optional("status", Form::Text),
    ]),
);

pub(in super::super) const CREATE: &[Parameter] =
    &[optional("tag_name", Form::Text), optional("color", Form::Text)];

pub(in super::super) fn create(call: &mut Call<'_>) -> Answer {
    if call.account.tags.len() >= call.limits.tags {
        return Err(Refusal::quota(format!("the account may own {} tags", call.limits.tags)));
    }
    let name = call.arguments.text("tag_name").unwrap_or_default();
    if !name.is_empty() && call.account.tags.values().any(|tag| tag.name == name) {
        return Err(Refusal::coded(2110, format!("tag [{name}] already exists")));
    }
    let color = call.arguments.text("color").unwrap_or("default").to_owned();
    let tag = Tag { name: name.to_owned(), color, created: call.now, resources: BTreeSet::new() };
    let id = call.account.names.id("tag");
    call.account.tags.insert(id.clone(), tag);
    Ok(body([("tag_id", id.into())]))
}

pub(in super::super) const DESCRIBE: &[Parameter] = &[optional("resources", TEXTS)];

pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let resources = call.arguments.texts("resources");
    let has_any = |tag: &Tag| match &resources {
        Some(wanted) => tag.resources.iter().any(|(_, id)| wanted.contains(&id.as_str())),
        None => true,
    };
    let tags = call.account.tags.iter().filter(|(_, tag)| has_any(tag));
    let rows = Rows::new(tags.map(|(id, tag)| item(call, id, tag)));
    let listing = Listing { set: "tag_set", id: "tag_id", name: "tag_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(call: &Call<'_>, id: &str, tag: &Tag) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, _) in &tag.resources {
        *counts.entry(kind).or_default() += 1;
    }
    let counts: Vec<Value> =
        counts.into_iter().map(|(kind, count)| json!({ "resource_type": kind, "count": count })).collect();
    let mut item = json!({
        "tag_id": id,
        "tag_name": tag.name,
        "tag_key": tag.name,
        "color": tag.color,
        "description": null,
        "owner": call.account.owner,
        "resource_count": tag.resources.len(),
        "resource_type_count": counts,
        "create_time": call.time(tag.created),
    });
    if call.arguments.integer("verbose").is_some_and(|verbose| verbose > 0) {
        let pairs: Vec<Value> = tag
            .resources
            .iter()
            .map(|(kind, resource)| {
                json!({ "tag_id": id, "resource_type": kind, "resource_id": resource, "status": "" })
            })
            .collect();
        item["resource_tag_pairs"] = pairs.into();
    }
    item
}

pub(in super::super) const ATTACH: &[Parameter] = &[PAIRS];

/// All of the pairs, or none; one that is attached already stays so.
pub(in super::super) fn attach(call: &mut Call<'_>) -> Answer {
    let pairs = pairs(call)?;
    for (_, kind, resource) in &pairs {
        if !exists(call, kind, resource) {
            return Err(Refusal::not_found(kind, resource));
        }
    }
    for (tag, kind, resource) in pairs {
        if let Some(tag) = call.account.tags.get_mut(&tag) {
            tag.resources.insert((kind, resource));
        }
    }
    Ok(body([]))
}

pub(in super::super) const DETACH: &[Parameter] = &[PAIRS];

/// What is not attached is detached already.
pub(in super::super) fn detach(call: &mut Call<'_>) -> Answer {
    for (tag, kind, resource) in pairs(call)? {
        if let Some(tag) = call.account.tags.get_mut(&tag) {
            tag.resources.remove(&(kind, resource));
        }
    }
    Ok(body([]))
}

pub(in super::super) const DELETE: &[Parameter] = &[required("tags", TEXTS)];

pub(in super::super) fn delete(call: &mut Call<'_>) -> Answer {
    let ids = call.arguments.texts("tags").unwrap_or_default();
    if let Some(unknown) = ids.iter().find(|id| !call.account.tags.contains_key(**id)) {
        return Err(Refusal::not_found("tag", unknown));
    }
    for id in &ids {
        call.account.tags.remove(*id);
    }
    Ok(body([("tags", ids.into())]))
}

/// Tag, type and id of each pair of the request; the tags are there.
fn pairs(call: &Call<'_>) -> Result<Vec<(String, String, String)>, Refusal> {
    let mut pairs = Vec::new();
    for pair in call.arguments.objects("resource_tag_pairs") {
        let [tag, kind, resource] =
            ["tag_id", "resource_type", "resource_id"].map(|f| pair.needed(f).to_owned());
        if !call.account.tags.contains_key(&tag) {
            return Err(Refusal::not_found("tag", &tag));
        }
        pairs.push((tag, kind, resource));
    }
    Ok(pairs)
}

fn exists(call: &Call<'_>, kind: &str, id: &str) -> bool {
    match kind {
        "instance" => call.instance(id).is_ok(),
        "nic" => call.control.nics().iter().any(|record| record.nic.id.as_str() == id),
        "router" => call.account.routers.contains_key(id),
        "security_group" => call.account.groups.contains_key(id),
        _ => call.account.vxnets.contains_key(id),
    }
}

impl Account {
    /// The tags of a resource, as items show them.
    pub(super) fn tags_of(&self, kind: &str, id: &str) -> Vec<Value> {
        let resource = (kind.to_owned(), id.to_owned());
        let own = self.tags.iter().filter(|(_, tag)| tag.resources.contains(&resource));
        own.map(|(id, tag)| json!({ "tag_id": id, "tag_name": tag.name, "color": tag.color })).collect()
    }

    /// Forgets the tags of a resource that is gone.
    pub(super) fn untag(&mut self, kind: &str, id: &str) {
        let resource = (kind.to_owned(), id.to_owned());
        for tag in self.tags.values_mut() {
            tag.resources.remove(&resource);
        }
    }
}
