//! Vxnets: the subnets, with or without a router.

use std::net::IpAddr;

use hostnic_core::cloud::Subnet;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{Listing, Rows};
use super::{Answer, Call, body};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

/// A vxnet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Vxnet {
    pub(in super::super) name: String,
    /// 0 self-managed, 1 managed, 2 the base network.
    pub(in super::super) kind: u8,
    pub(in super::super) created: std::time::Duration,
    pub(in super::super) network: Option<Network>,
}

/// What a vxnet has from its router.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Network {
    pub(in super::super) router: String,
    pub(in super::super) prefix: IpNet,
    pub(in super::super) gateway: IpAddr,
    pub(in super::super) first: IpAddr,
    pub(in super::super) last: IpAddr,
    /// 1 DHCP, 2 internal DNS.
    pub(in super::super) features: u8,
}

impl Network {
    pub(super) fn dhcp(&self) -> bool {
        self.features & 1 == 1
    }

    /// The range that DHCP gives out; empty texts without DHCP.
    pub(super) fn range(&self) -> (String, String) {
        if self.dhcp() { (self.first.to_string(), self.last.to_string()) } else { Default::default() }
    }
}

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("vxnets", TEXTS),
    optional("vxnet_type", Form::List(&Form::Integer { least: 0, most: 2 })),
    optional("mode", Form::Integer { least: 0, most: 1 }),
];

/// Base networks are shown only when type 2 is asked for; unknown ids are left out.
pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let subnets = call.control.subnets();
    let types = call.arguments.texts("vxnet_type").unwrap_or_else(|| vec!["0", "1"]);
    let mut vxnets: Vec<(&String, &Vxnet)> = call.account.vxnets.iter().collect();
    vxnets.sort_by_key(|(id, vxnet)| (vxnet.created, *id));
    let items = vxnets.into_iter().map(|(id, vxnet)| {
        let subnet = subnets.iter().find(|subnet| subnet.id.as_str() == id);
        item(call, id, vxnet, subnet)
    });
    let rows =
        Rows::new(items).only("vxnet_id", call.arguments.texts("vxnets")).only("vxnet_type", Some(types));
    let listing = Listing { set: "vxnet_set", id: "vxnet_id", name: "vxnet_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(call: &Call<'_>, id: &str, vxnet: &Vxnet, subnet: Option<&Subnet>) -> Value {
    let router = vxnet.network.as_ref().map(|network| {
        let name = call.account.routers.get(&network.router).map(|router| router.name.as_str());
        let (first, last) = network.range();
        json!({
            "router_id": network.router,
            "router_name": name,
            "manager_ip": network.gateway,
            "ip_network": network.prefix,
            "dyn_ip_start": first,
            "dyn_ip_end": last,
            "mode": 0,
        })
    });
    let mut item = json!({
        "vxnet_id": id,
        "vxnet_name": vxnet.name,
        "vxnet_type": vxnet.kind,
        "tunnel_type": "vxlan",
        "description": null,
        "vpc_router_id": vxnet.network.as_ref().map(|network| network.router.as_str()).unwrap_or_default(),
        "router": router,
        "available_ip_count": subnet.and_then(|subnet| subnet.room).unwrap_or(0),
        "owner": call.account.owner,
        "zone_id": call.zone,
        "tags": call.account.tags_of("vxnet", id),
        "create_time": call.time(vxnet.created),
    });
    if call.arguments.integer("verbose").is_some_and(|verbose| verbose > 0) {
        item["instance_ids"] = instances_in(call, id).into();
    }
    item
}

fn instances_in(call: &Call<'_>, vxnet: &str) -> Vec<String> {
    let nics = call.control.nics();
    let inside = nics.iter().map(|record| &record.nic).filter(|nic| nic.subnet.as_str() == vxnet);
    let mut ids: Vec<String> =
        inside.filter_map(|nic| nic.attachment.instance()).map(ToString::to_string).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

pub(in super::super) const CREATE: &[Parameter] = &[
    required("vxnet_type", Form::Integer { least: 0, most: 1 }),
    optional("vxnet_name", Form::Text),
    optional("count", Form::Integer { least: 1, most: 100 }),
    optional("mode", Form::Integer { least: 0, most: 1 }),
];

pub(in super::super) fn create(call: &mut Call<'_>) -> Answer {
    let count: usize = call.arguments.parsed("count").unwrap_or(1);
    if call.account.own_vxnets() + count > call.limits.vxnets {
        return Err(Refusal::quota(format!("the account may own {} vxnets", call.limits.vxnets)));
    }
    let name = call.arguments.text("vxnet_name").unwrap_or_default().to_owned();
    let kind = call.arguments.parsed("vxnet_type").unwrap_or(1);
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = call.account.names.id("vxnet");
        let vxnet = Vxnet { name: name.clone(), kind, created: call.now, network: None };
        call.account.vxnets.insert(id.clone(), vxnet);
        ids.push(id);
    }
    Ok(body([("vxnets", ids.into())]))
}

pub(in super::super) const DELETE: &[Parameter] = &[required("vxnets", TEXTS)];

/// All of the vxnets, or none.
pub(in super::super) fn delete(call: &mut Call<'_>) -> Answer {
    let ids = call.arguments.texts("vxnets").unwrap_or_default();
    for id in &ids {
        let vxnet = call.account.vxnet(id)?;
        if vxnet.network.is_some() || vxnet.kind == 2 {
            let detail = format!("vxnet [{id}] is connected to a router or not yours: it can not be deleted");
            return Err(Refusal::denied(detail));
        }
        if call.account.joining(id) {
            return Err(Refusal::denied(format!("vxnet [{id}] is in transition, can not be deleted")));
        }
    }
    for id in &ids {
        call.account.vxnets.remove(*id);
        call.account.untag("vxnet", id);
    }
    Ok(body([("vxnets", ids.into())]))
}

impl super::Account {
    /// How many vxnets the account's quota counts.
    pub(super) fn own_vxnets(&self) -> usize {
        self.vxnets.values().filter(|vxnet| vxnet.kind != 2).count()
    }
}
