//! AppCenter clusters: groups of instances that are there from the start.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::nic::private_ip;
use super::rows::{Listing, Rows};
use super::{Account, Answer, Call};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional, required};
use crate::simulator::refusal::Refusal;

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Cluster {
    pub(in super::super) name: String,
    pub(in super::super) created: Duration,
    pub(in super::super) security_group: String,
    /// Instances by the ids of their nodes.
    pub(in super::super) nodes: BTreeMap<String, String>,
}

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("clusters", TEXTS),
    optional("apps", TEXTS),
    optional("app_versions", TEXTS),
    optional("scope", Form::OneOf(&["all", "app", "cfgmgmt"])),
    optional("cluster_name", Form::Text),
    optional("name", Form::Text),
    optional("status", TEXTS),
    optional("vxnet", Form::Text),
    optional("link", Form::Text),
    optional("external_cluster_id", Form::Text),
];

pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let rows = call.account.clusters.iter().map(|(id, cluster)| {
        json!({
            "cluster_id": id,
            "name": cluster.name,
            "status": "active",
            "transition_status": "",
            "security_group_id": cluster.security_group,
            "vxnet": vxnet_of(call, cluster),
            "node_count": cluster.nodes.len(),
            "role_count": { "node": cluster.nodes.len() },
            "roles": ["node"],
            "app_id": "app-simulate",
            "owner": call.account.owner,
            "create_time": call.time(cluster.created),
        })
    });
    let name = call.arguments.text("cluster_name").or(call.arguments.text("name"));
    let rows = Rows::new(rows)
        .only("cluster_id", call.arguments.texts("clusters"))
        .only("app_id", call.arguments.texts("apps"))
        .only("status", call.arguments.texts("status"))
        .only("name", name.map(|name| vec![name]));
    rows.page(
        call.arguments,
        &call.account.owner,
        Listing { set: "cluster_set", id: "cluster_id", name: "name" },
    )
}

/// The vxnet that the nodes' primary NICs are in.
fn vxnet_of(call: &Call<'_>, cluster: &Cluster) -> Value {
    let nics = call.control.nics();
    let primary = cluster.nodes.values().find_map(|instance| primary(&nics, instance));
    let Some(id) = primary.map(|record| record.nic.subnet.as_str()) else { return Value::Null };
    let vxnet = call.account.vxnets.get(id);
    json!({
        "vxnet_id": id,
        "vxnet_name": vxnet.map(|vxnet| vxnet.name.as_str()),
        "vxnet_type": vxnet.map(|vxnet| vxnet.kind),
        "vpc_router_id": vxnet.and_then(|vxnet| vxnet.network.as_ref()).map(|network| network.router.as_str()),
    })
}

fn primary<'a>(
    nics: &'a [hostnic_core::sim::NicRecord],
    instance: &str,
) -> Option<&'a hostnic_core::sim::NicRecord> {
    let mut own = nics.iter().filter(|r| r.nic.attachment.instance().is_some_and(|i| i.as_str() == instance));
    own.find(|record| record.sequence == 0)
}

pub(in super::super) const DESCRIBE_NODES: &[Parameter] = &[
    required("cluster", Form::Text),
    optional("nodes", TEXTS),
    optional("cluster_nodes", TEXTS),
    optional("role", Form::Text),
    optional("status", TEXTS),
];

pub(in super::super) fn describe_nodes(call: &mut Call<'_>) -> Answer {
    let id = call.arguments.needed("cluster");
    let cluster = call.account.clusters.get(id).ok_or_else(|| Refusal::not_found("cluster", id))?;
    let nics = call.control.nics();
    let rows = cluster.nodes.iter().map(|(node, instance)| {
        let primary = primary(&nics, instance);
        let address = primary.and_then(|record| record.nic.addresses.first().copied());
        let machine = address.and_then(|address| call.control.host_machine(address));
        json!({
            "node_id": node,
            "cluster_id": id,
            "instance_id": instance,
            "name": call.account.instances.get(instance).map(|note| note.name.as_str()),
            "private_ip": primary.map(private_ip).unwrap_or_default(),
            "vxnet_id": primary.map(|record| record.nic.subnet.to_string()).unwrap_or_default(),
            "role": "node",
            "status": "active",
            "transition_status": "",
            "security_group": cluster.security_group,
            "host_machine": machine.as_deref().unwrap_or("sim01n01"),
            "cpu": 2,
            "memory": 4096,
            "advanced_actions": "",
            "create_time": call.time(cluster.created),
        })
    });
    let nodes = call.arguments.texts("nodes").or(call.arguments.texts("cluster_nodes"));
    let rows = Rows::new(rows)
        .only("node_id", nodes)
        .only("status", call.arguments.texts("status"))
        .only("role", call.arguments.text("role").map(|role| vec![role]));
    rows.page(call.arguments, &call.account.owner, Listing { set: "node_set", id: "node_id", name: "name" })
}

impl Account {
    pub(super) fn is_cluster_node(&self, instance: &str) -> bool {
        self.clusters.values().any(|cluster| cluster.nodes.values().any(|node| node == instance))
    }
}
