//! Routers (VPCs), and vxnets joining and leaving them.

use std::net::IpAddr;
use std::time::Duration;

use hostnic_core::cloud::Carrier;
use hostnic_core::sim::SubnetSpec;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::job::Effect;
use super::rows::{Listing, Rows};
use super::vxnet::Network;
use super::{Account, Answer, Call, body};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

/// A router.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Router {
    pub(in super::super) name: String,
    pub(in super::super) network: IpNet,
    pub(in super::super) created: Duration,
}

pub(in super::super) const DESCRIBE: &[Parameter] =
    &[optional("routers", TEXTS), optional("vxnet", Form::Text), optional("status", TEXTS)];

pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let vxnet = call.arguments.text("vxnet");
    let behind = |id: &str| match vxnet {
        Some(vxnet) => call.account.members(id).any(|(member, _)| member == vxnet),
        None => true,
    };
    let routers = call.account.routers.iter().filter(|(id, _)| behind(id));
    let rows = Rows::new(routers.map(|(id, router)| item(call, id, router)))
        .only("router_id", call.arguments.texts("routers"))
        .only("status", call.arguments.texts("status"));
    let listing = Listing { set: "router_set", id: "router_id", name: "router_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(call: &Call<'_>, id: &str, router: &Router) -> Value {
    let vxnets: Vec<Value> =
        call.account.members(id).map(|(vxnet, _)| json!({ "vxnet_id": vxnet, "nic_id": "" })).collect();
    json!({
        "router_id": id,
        "router_name": router.name,
        "router_type": 1,
        "vpc_network": router.network,
        "private_ip": "",
        "is_applied": 1,
        "mode": 0,
        "status": "active",
        "transition_status": "",
        "security_group_id": "",
        "eip": { "eip_id": "", "eip_addr": "", "eip_name": "" },
        "vxnets": vxnets,
        "tags": call.account.tags_of("router", id),
        "description": null,
        "owner": call.account.owner,
        "create_time": call.time(router.created),
        "status_time": call.time(router.created),
    })
}

pub(in super::super) const DESCRIBE_VXNETS: &[Parameter] =
    &[required("router", Form::Text), optional("vxnet", Form::Text)];

pub(in super::super) fn describe_vxnets(call: &mut Call<'_>) -> Answer {
    let router = call.arguments.needed("router");
    if router != "*" && !call.account.routers.contains_key(router) {
        return Err(Refusal::not_found("router", router));
    }
    let routers = call.account.routers.keys().filter(|id| router == "*" || *id == router);
    let members = routers.flat_map(|id| call.account.members(id));
    let rows = Rows::new(members.map(|(id, network)| {
        let vxnet = call.account.vxnets.get(id);
        let (first, last) = network.range();
        json!({
            "router_id": network.router,
            "vxnet_id": id,
            "vxnet_name": vxnet.map(|vxnet| vxnet.name.as_str()),
            "manager_ip": network.gateway,
            "ip_network": network.prefix,
            "dyn_ip_start": first,
            "dyn_ip_end": last,
            "features": network.features,
            "owner": call.account.owner,
            "create_time": call.time(vxnet.map(|vxnet| vxnet.created).unwrap_or_default()),
        })
    }))
    .only("vxnet_id", call.arguments.text("vxnet").map(|vxnet| vec![vxnet]));
    let listing = Listing { set: "router_vxnet_set", id: "vxnet_id", name: "vxnet_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

pub(in super::super) const JOIN: &[Parameter] = &[
    required("router", Form::Text),
    required("vxnet", Form::Text),
    required("ip_network", Form::Prefix),
    optional("features", Form::Integer { least: 0, most: 3 }),
    optional("manager_ip", Form::Address),
    optional("dyn_ip_start", Form::Address),
    optional("dyn_ip_end", Form::Address),
];

pub(in super::super) fn join(call: &mut Call<'_>) -> Answer {
    let (router, vxnet) = (call.arguments.needed("router"), call.arguments.needed("vxnet"));
    let network = network_of(call)?;
    let known = call.account.vxnet(vxnet)?;
    if known.kind != 1 {
        return Err(Refusal::denied(format!("vxnet [{vxnet}] is not managed: it can not join a router")));
    }
    if known.network.is_some() || call.account.joining(vxnet) {
        return Err(Refusal::denied(format!("vxnet [{vxnet}] has joined a router already")));
    }
    let unknown = || Refusal::not_found("vxnet", vxnet);
    let spec = SubnetSpec {
        id: vxnet.parse().map_err(|_| unknown())?,
        prefix: network.prefix,
        gateway: network.gateway,
        range: network.first..=network.last,
        router: router.parse().ok(),
        dhcp: network.dhcp(),
        carrier: Carrier::Vxlan,
    };
    let resources = [router.to_owned(), vxnet.to_owned()];
    let directive = json!({ "router": router, "vxnet": vxnet, "zone": call.zone });
    let effect = Effect::Join { vxnet: vxnet.to_owned(), network, spec };
    let job = call.begin(call.times.router, effect, &resources, &directive);
    Ok(body([("job_id", job.into()), ("router_id", router.into()), ("vxnet_id", vxnet.into())]))
}

/// The network that a vxnet is to have: what is not said is .1 for the router, and DHCP for the rest.
fn network_of(call: &Call<'_>) -> Result<Network, Refusal> {
    let id = call.arguments.needed("router");
    let router = call.account.routers.get(id).ok_or_else(|| Refusal::not_found("router", id))?;
    let wrong = |detail: String| Refusal::wrong_value(format!("parameter [ip_network] {detail}"));
    let prefix: IpNet = call.arguments.parsed("ip_network").ok_or_else(|| wrong("is no network".into()))?;
    if prefix.prefix_len() != 24 || prefix.trunc() != prefix || !router.network.contains(&prefix) {
        return Err(wrong(format!("must be a /24 within {}", router.network)));
    }
    if let Some((other, _)) = call.account.members(id).find(|(_, network)| network.prefix.contains(&prefix)) {
        return Err(wrong(format!("is that of vxnet [{other}]")));
    }
    let subnet = hostnic_core::id::SubnetId::new(call.arguments.needed("vxnet"));
    let usual = subnet.map(|subnet| SubnetSpec::new(subnet, prefix, None));
    let usual = usual.map_err(|_| Refusal::not_found("vxnet", call.arguments.needed("vxnet")))?;
    let address = |name: &str, usual: IpAddr| call.arguments.parsed::<IpAddr>(name).unwrap_or(usual);
    let network = Network {
        router: id.to_owned(),
        prefix,
        gateway: address("manager_ip", usual.gateway),
        first: address("dyn_ip_start", *usual.range.start()),
        last: address("dyn_ip_end", *usual.range.end()),
        features: call.arguments.parsed("features").unwrap_or(1),
    };
    let inside = [network.gateway, network.first, network.last].iter().all(|a| prefix.contains(a));
    if !inside || network.first > network.last {
        return Err(wrong("does not hold manager_ip, dyn_ip_start and dyn_ip_end in order".into()));
    }
    Ok(network)
}

pub(in super::super) const LEAVE: &[Parameter] = &[required("router", Form::Text), required("vxnets", TEXTS)];

pub(in super::super) fn leave(call: &mut Call<'_>) -> Answer {
    let router = call.arguments.needed("router");
    let vxnets = call.arguments.texts("vxnets").unwrap_or_default();
    let nics = call.control.nics();
    for id in &vxnets {
        let network = call.account.vxnet(id)?.network.as_ref();
        if network.is_none_or(|network| network.router != router) {
            return Err(Refusal::denied(format!("vxnet [{id}] is not connected to router [{router}]")));
        }
        if nics.iter().any(|record| record.nic.subnet.as_str() == *id) {
            return Err(Refusal::denied(format!("NICs are in vxnet [{id}], can not leave")));
        }
    }
    let owned: Vec<String> = vxnets.iter().map(ToString::to_string).collect();
    let mut resources = vec![router.to_owned()];
    resources.extend(owned.iter().cloned());
    let directive = json!({ "router": router, "vxnets": owned, "zone": call.zone });
    let effect = Effect::Leave { vxnets: owned };
    let job = call.begin(call.times.router, effect, &resources, &directive);
    Ok(body([("job_id", job.into()), ("router_id", router.into()), ("vxnets", vxnets.into())]))
}

impl Account {
    /// The vxnets behind a router.
    fn members<'a>(&'a self, router: &'a str) -> impl Iterator<Item = (&'a str, &'a Network)> {
        let networks = self.vxnets.iter().filter_map(|(id, v)| Some((id.as_str(), v.network.as_ref()?)));
        networks.filter(move |(_, network)| network.router == router)
    }

    /// Whether a job is at work that lets the vxnet join a router.
    pub(super) fn joining(&self, id: &str) -> bool {
        self.pending.iter().any(|p| matches!(&p.effect, Effect::Join { vxnet, .. } if vxnet == id))
    }
}
