//! What is left of the account's quotas.

use serde_json::{Value, json};

use super::{Answer, Call, body};
use crate::simulator::parameter::{Parameter, TEXTS, optional};

pub(in super::super) const LEFT: &[Parameter] = &[optional("resource_types", TEXTS)];

/// The documented list has no NICs; they are told here, as `nic`, where the account's number of them is limited.
pub(in super::super) fn left(call: &mut Call<'_>) -> Answer {
    let mut left = vec![
        ("tag", call.limits.tags.saturating_sub(call.account.tags.len())),
        ("vxnet", call.limits.vxnets.saturating_sub(call.account.own_vxnets())),
    ];
    if let (_, Some(nics)) = call.control.nic_quota() {
        left.push(("nic", usize::try_from(nics).unwrap_or(usize::MAX)));
    }
    let wanted = call.arguments.texts("resource_types");
    let set: Vec<Value> = left
        .into_iter()
        .filter(|(kind, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(kind)))
        .map(|(kind, left)| json!({ "resource_type": kind, "left": left }))
        .collect();
    Ok(body([("quota_left_set", set.into())]))
}
