//! VIPs: addresses that are taken without a NIC.

use hostnic_core::sim::Selection;
use serde_json::json;

use super::rows::{Listing, Rows};
use super::{Answer, Call, body};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("vips", TEXTS),
    optional("vxnets", TEXTS),
    optional("vip_name", Form::Text),
    optional("vip_addrs", Form::List(&Form::Address)),
];

/// A VIP is shown when its job has ended; `vip_name` is compared as a whole.
pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let vxnets = call.arguments.texts("vxnets");
    let mut records = call.control.reservations();
    // There may be tens of thousands in the account, and a page is a hundred of one vxnet's.
    records.retain(|record| {
        vxnets.as_ref().is_none_or(|vxnets| vxnets.iter().any(|id| *id == record.address.subnet.as_str()))
    });
    records.sort_by_key(|record| (record.made, record.address.address));
    let rows = Rows::new(records.iter().map(|record| {
        json!({
            "vip_id": record.address.id,
            "vip_name": record.name,
            "vip_addr": record.address.address,
            "vxnet_id": record.address.subnet,
            "instance_id": "",
            "instance_name": "",
            "nic_id": "",
            "eip_id": "",
            "need_sg": 0,
            "description": null,
            "create_time": call.time(record.made),
            "owner": call.account.owner,
            "root_user_id": call.account.owner,
            "console_id": "qingcloud",
            "controller": "self",
        })
    }))
    .only("vip_id", call.arguments.texts("vips"))
    .only("vip_addr", call.arguments.texts("vip_addrs"))
    .only("vip_name", call.arguments.text("vip_name").map(|name| vec![name]));
    let listing = Listing { set: "vip_set", id: "vip_id", name: "vip_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

pub(in super::super) const ALLOCATE: &[Parameter] = &[
    required("vxnet_id", Form::Text),
    optional("count", Form::Integer { least: 1, most: 252 }),
    optional("vip_name", Form::Text),
    optional("vip_range", Form::Text),
    optional("vip_addrs", Form::List(&Form::Address)),
];

pub(in super::super) fn allocate(call: &mut Call<'_>) -> Answer {
    let subnet = call.subnet(call.arguments.needed("vxnet_id"))?;
    let selection = selection(call)?;
    let name = call.arguments.text("vip_name").unwrap_or_default();
    let (vips, submitted) = call.control.reserve(&subnet, name, &selection, call.fate)?;
    let directive = json!({ "vxnet_id": subnet, "vips": vips, "zone": call.zone });
    let job = call.submitted(submitted, &vips, &directive);
    Ok(body([("job_id", job.into()), ("vips", vips.into())]))
}

/// What is to be taken. Where a range is given, `count` may be left at the SDKs' 1, or must be its size.
fn selection(call: &Call<'_>) -> Result<Selection, Refusal> {
    let count: u32 = call.arguments.parsed("count").unwrap_or(1);
    let wrong = |detail: &str| Refusal::wrong_value(format!("parameter [vip_range] {detail}"));
    let chosen = call.arguments.texts("vip_addrs");
    match (call.arguments.text("vip_range"), chosen) {
        (Some(_), Some(_)) => Err(wrong("and [vip_addrs] exclude each other")),
        (None, Some(addresses)) => {
            Ok(Selection::Chosen(addresses.iter().filter_map(|a| a.parse().ok()).collect()))
        }
        (None, None) => Ok(Selection::Next(count)),
        (Some(range), None) => {
            let form = || wrong("must be FIRST-LAST, two IPv4 addresses in order");
            let (first, last) = range.split_once('-').ok_or_else(form)?;
            let parse = |text: &str| text.trim().parse::<std::net::Ipv4Addr>().map_err(|_| form());
            let (first, last) = (parse(first)?, parse(last)?);
            let size = u32::from(last).checked_sub(u32::from(first)).ok_or_else(form)?.saturating_add(1);
            if count != 1 && count != size {
                return Err(wrong(&format!("holds {size} addresses, and [count] is {count}")));
            }
            Ok(Selection::Range(first.into(), last.into()))
        }
    }
}

pub(in super::super) const RELEASE: &[Parameter] = &[required("vips", TEXTS)];

/// All of the VIPs, or none.
pub(in super::super) fn release(call: &mut Call<'_>) -> Answer {
    let known = call.control.reservations();
    let mut vips: Vec<String> = Vec::new();
    for id in call.arguments.texts("vips").unwrap_or_default() {
        if !known.iter().any(|record| record.address.id == id) {
            return Err(Refusal::not_found("vip", id));
        }
        vips.push(id.to_owned());
    }
    let submitted = call.control.release(&vips, call.fate);
    let directive = json!({ "vips": vips, "zone": call.zone });
    Ok(body([("job_id", call.submitted(submitted, &vips, &directive).into())]))
}
