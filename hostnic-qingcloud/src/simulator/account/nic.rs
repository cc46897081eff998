//! NICs.

use std::net::IpAddr;

use hostnic_core::cloud::NicAttachment;
use hostnic_core::provider::NicAddresses;
use hostnic_core::sim::NicRecord;
use serde_json::{Value, json};

use super::found::ids;
use super::rows::{Listing, Rows};
use super::{Answer, Call, body};
use crate::simulator::parameter::{FLAG, Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("nics", TEXTS),
    optional("nic_name", Form::Text),
    optional("status", Form::OneOf(&["available", "in-use"])),
    optional("vxnets", TEXTS),
    optional("vxnet_type", Form::List(&Form::Integer { least: 0, most: 2 })),
    optional("instances", TEXTS),
];

/// `nic_name` is compared as a whole; ids that are unknown are left out.
pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let mut records = if call.stale { call.control.listed_nics() } else { call.control.nics() };
    let types = call.arguments.texts("vxnet_type");
    if let Some(types) = types {
        records.retain(|record| {
            let vxnet = call.account.vxnets.get(record.nic.subnet.as_str());
            vxnet.is_some_and(|vxnet| types.contains(&vxnet.kind.to_string().as_str()))
        });
    }
    // Before rows are made of them: an account may have thousands of NICs, and a node asks for a few.
    let among = |name, value: &str| call.arguments.texts(name).is_none_or(|wanted| wanted.contains(&value));
    let is = |name, value: &str| call.arguments.text(name).is_none_or(|wanted| wanted == value);
    records.retain(|NicRecord { nic, .. }| {
        let (status, instance) = place(&nic.attachment);
        among("nics", nic.id.as_str())
            && is("nic_name", &nic.name)
            && is("status", status)
            && among("vxnets", nic.subnet.as_str())
            && among("instances", instance)
    });
    records.sort_by(|a, b| (a.made, &a.nic.id).cmp(&(b.made, &b.nic.id)));
    let rows = Rows::new(records.iter().map(|record| item(call, record)));
    let listing = Listing { set: "nic_set", id: "nic_id", name: "nic_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

/// The status and the instance; empty for none.
fn place(attachment: &NicAttachment) -> (&'static str, &str) {
    match attachment {
        NicAttachment::Available => ("available", ""),
        NicAttachment::Attached { instance, .. } => ("in-use", instance.as_str()),
    }
}

fn item(call: &Call<'_>, record: &NicRecord) -> Value {
    let nic = &record.nic;
    let (status, instance) = place(&nic.attachment);
    let role = u8::from(matches!(nic.attachment, NicAttachment::Attached { primary: true, .. }));
    json!({
        "nic_id": nic.id,
        "nic_name": nic.name,
        "status": status,
        "instance_id": instance,
        "vxnet_id": nic.subnet,
        "private_ip": private_ip(record),
        "role": role,
        "sequence": record.sequence,
        "security_group": "",
        "eip": null,
        "tags": call.account.tags_of("nic", nic.id.as_str()),
        "owner": call.account.owner,
        "root_user_id": call.account.owner,
        "create_time": call.time(record.made),
        "status_time": call.time(record.changed),
    })
}

/// The address; an empty text for a NIC without one (what the real API says there is not known).
pub(super) fn private_ip(record: &NicRecord) -> String {
    record.nic.addresses.first().map(IpAddr::to_string).unwrap_or_default()
}

pub(in super::super) const CREATE: &[Parameter] = &[
    required("vxnet", Form::Text),
    optional("count", Form::Integer { least: 1, most: 252 }),
    optional("nic_name", Form::Text),
    optional("private_ips", Form::List(&Form::Address)),
    optional("disable_ip", FLAG),
];

pub(in super::super) fn create(call: &mut Call<'_>) -> Answer {
    let subnet = call.subnet(call.arguments.needed("vxnet"))?;
    let chosen: Option<Vec<IpAddr>> =
        call.arguments.texts("private_ips").map(|ips| ips.iter().filter_map(|ip| ip.parse().ok()).collect());
    let as_many = chosen.as_ref().map_or(1, Vec::len);
    let count = call.arguments.parsed("count").unwrap_or(u32::try_from(as_many).unwrap_or(u32::MAX));
    let addresses = match (chosen, call.arguments.integer("disable_ip") == Some(1)) {
        (Some(_), true) => {
            return Err(Refusal::wrong_value("parameters [private_ips] and [disable_ip] exclude each other"));
        }
        (Some(chosen), false) if usize::try_from(count) != Ok(chosen.len()) => {
            let detail = format!("parameter [private_ips] holds {} addresses for {count} NICs", chosen.len());
            return Err(Refusal::malformed(detail));
        }
        (Some(chosen), false) => NicAddresses::Fixed(chosen),
        (None, true) => NicAddresses::None,
        (None, false) => NicAddresses::Assigned(1),
    };
    let name = call.arguments.text("nic_name").unwrap_or_default();
    let made = call.control.create_nics(&subnet, name, count, &addresses)?;
    let nics: Vec<Value> = made
        .iter()
        .map(|nic| {
            let address = nic.addresses.first().map(IpAddr::to_string).unwrap_or_default();
            json!({ "nic_id": nic.id, "private_ip": address })
        })
        .collect();
    Ok(body([("nics", nics.into())]))
}

pub(in super::super) const ATTACH: &[Parameter] =
    &[required("nics", TEXTS), required("instance", Form::Text)];

/// A NIC is `available` until its job has succeeded.
pub(in super::super) fn attach(call: &mut Call<'_>) -> Answer {
    let nics = ids(&call.nics("nics")?);
    let instance = call.instance(call.arguments.needed("instance"))?;
    let submitted = call.control.attach_nics(&instance, &nics, call.fate)?;
    let mut resources: Vec<String> = nics.iter().map(ToString::to_string).collect();
    resources.push(instance.to_string());
    let directive = json!({ "nics": nics, "instance": instance, "zone": call.zone });
    Ok(body([("job_id", call.submitted(submitted, &resources, &directive).into())]))
}

pub(in super::super) const DETACH: &[Parameter] = &[required("nics", TEXTS)];

/// NICs of several instances in one call are refused; whether the real API takes them is not known.
pub(in super::super) fn detach(call: &mut Call<'_>) -> Answer {
    let records = call.nics("nics")?;
    let mut carrier = None;
    for NicRecord { nic, .. } in &records {
        let Some(instance) = nic.attachment.instance() else {
            return Err(Refusal::denied(format!("nic [{}] is not attached", nic.id)));
        };
        if carrier.get_or_insert_with(|| instance.clone()) != instance {
            return Err(Refusal::denied("the NICs are attached to different instances"));
        }
    }
    let nics = ids(&records);
    let carrier = carrier.ok_or_else(|| Refusal::malformed("parameter [nics] is empty"))?;
    let submitted = call.control.detach_nics(&carrier, &nics, call.fate)?;
    let resources: Vec<String> = nics.iter().map(ToString::to_string).collect();
    let directive = json!({ "nics": nics, "zone": call.zone });
    Ok(body([("job_id", call.submitted(submitted, &resources, &directive).into())]))
}

pub(in super::super) const DELETE: &[Parameter] = &[required("nics", TEXTS)];

/// All of the NICs, or none.
pub(in super::super) fn delete(call: &mut Call<'_>) -> Answer {
    let nics = ids(&call.nics("nics")?);
    call.control.delete_nics(&nics)?;
    for nic in &nics {
        call.account.untag("nic", nic.as_str());
    }
    Ok(body([]))
}

pub(in super::super) const MODIFY: &[Parameter] = &[
    required("nic", Form::Text),
    optional("nic_name", Form::Text),
    optional("private_ip", Form::Address),
    optional("enable_aspoof", FLAG),
];

/// The address can be changed while the NIC is available, the anti-spoof switch at any time. Moving to another vxnet and IPv6
/// are not simulated.
pub(in super::super) fn modify(call: &mut Call<'_>) -> Answer {
    let id = call.arguments.needed("nic");
    let parsed = id.parse().map_err(|_| Refusal::not_found("nic", id))?;
    let (name, address) = (call.arguments.raw("nic_name"), call.arguments.parsed("private_ip"));
    call.control.modify_nic(&parsed, name, address)?;
    if let Some(anti_spoofing) = call.arguments.integer("enable_aspoof") {
        call.control.set_forwarding(&parsed, anti_spoofing == 0)?;
    }
    Ok(body([]))
}
