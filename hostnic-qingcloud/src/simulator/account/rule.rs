//! The rules of security groups.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{Listing, Rows};
use super::{Answer, Call, body};
use crate::simulator::parameter::{Arguments, Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

/// A rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rule {
    id: String,
    name: String,
    protocol: String,
    priority: u8,
    action: String,
    direction: u8,
    values: [String; 3],
}

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("security_group", Form::Text),
    optional("security_group_rules", TEXTS),
    optional("direction", Form::Integer { least: 0, most: 1 }),
];

pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let group = call.arguments.text("security_group");
    if let Some(id) = group {
        call.account.group(id)?;
    }
    let groups = call.account.groups.iter().filter(|(id, _)| group.is_none_or(|wanted| *id == wanted));
    let rules = groups.flat_map(|(id, group)| group.rules.iter().map(move |rule| (id, rule)));
    let rows = Rows::new(rules.map(|(id, rule)| item(&call.account.owner, id, rule)))
        .only("security_group_rule_id", call.arguments.texts("security_group_rules"))
        .only("direction", call.arguments.text("direction").map(|direction| vec![direction]));
    let listing = Listing {
        set: "security_group_rule_set",
        id: "security_group_rule_id",
        name: "security_group_rule_name",
    };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(owner: &str, group: &str, rule: &Rule) -> Value {
    let [val1, val2, val3] = &rule.values;
    json!({
        "security_group_rule_id": rule.id,
        "security_group_rule_name": rule.name,
        "security_group_id": group,
        "protocol": rule.protocol,
        "priority": rule.priority,
        "action": rule.action,
        "direction": rule.direction,
        "val1": val1,
        "val2": val2,
        "val3": val3,
        "owner": owner,
        "disabled": 0,
    })
}

const PROTOCOLS: &[&str] = &["all", "ah", "esp", "gre", "icmp", "ipip", "tcp", "udp"];

pub(in super::super) const ADD: &[Parameter] = &[
    required("security_group", Form::Text),
    required(
        "rules",
        Form::Objects(&[
            required("protocol", Form::OneOf(PROTOCOLS)),
            required("priority", Form::Integer { least: 0, most: 100 }),
            optional("security_group_rule_id", Form::Text),
            optional("security_group_rule_name", Form::Text),
            optional("action", Form::OneOf(&["accept", "drop"])),
            optional("direction", Form::Integer { least: 0, most: 1 }),
            optional("val1", Form::Text),
            optional("val2", Form::Text),
            optional("val3", Form::Text),
        ]),
    ),
];

pub(in super::super) fn add(call: &mut Call<'_>) -> Answer {
    let group = call.arguments.needed("security_group");
    let before = call.account.group(group)?.rules.len();
    let mut added = Vec::new();
    for asked in call.arguments.objects("rules") {
        check_peer(asked)?;
        let rule = |id| Rule {
            id,
            name: asked.text("security_group_rule_name").unwrap_or_default().to_owned(),
            protocol: asked.needed("protocol").to_owned(),
            priority: asked.parsed("priority").unwrap_or(0),
            action: asked.text("action").unwrap_or("accept").to_owned(),
            direction: asked.parsed("direction").unwrap_or(0),
            values: ["val1", "val2", "val3"].map(|val| asked.text(val).unwrap_or_default().to_owned()),
        };
        added.push(rule(call.account.names.id("sgr")));
    }
    if before + added.len() > call.limits.security_group_rules {
        let limit = call.limits.security_group_rules;
        return Err(Refusal::quota(format!("a security group may hold {limit} rules")));
    }
    let ids: Vec<String> = added.iter().map(|rule| rule.id.clone()).collect();
    let group = call.account.group_mut(group)?;
    group.rules.extend(added);
    group.revision += 1;
    Ok(body([("security_group_rules", ids.into())]))
}

/// `val3` is an address or a network.
fn check_peer(asked: &Arguments) -> Result<(), Refusal> {
    let Some(peer) = asked.text("val3") else { return Ok(()) };
    if peer.parse::<std::net::IpAddr>().is_ok() || peer.parse::<ipnet::IpNet>().is_ok() {
        return Ok(());
    }
    Err(Refusal::malformed(format!("parameter [val3] must be an address or a network, not [{peer}]")))
}

pub(in super::super) const DELETE: &[Parameter] = &[required("security_group_rules", TEXTS)];

/// All of the rules, or none.
pub(in super::super) fn delete(call: &mut Call<'_>) -> Answer {
    let ids = call.arguments.texts("security_group_rules").unwrap_or_default();
    for id in &ids {
        let known = call.account.groups.values().flat_map(|group| &group.rules).any(|rule| rule.id == *id);
        if !known {
            return Err(Refusal::not_found("security_group_rule", id));
        }
    }
    for group in call.account.groups.values_mut() {
        let before = group.rules.len();
        group.rules.retain(|rule| !ids.contains(&rule.id.as_str()));
        group.revision += u64::from(group.rules.len() != before);
    }
    Ok(body([("security_group_rules", ids.into())]))
}
