//! Instances: the virtual machines that are there from the start.

use std::time::Duration;

use hostnic_core::cloud::NicAttachment;
use hostnic_core::sim::NicRecord;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::nic::private_ip;
use super::rows::{Listing, Rows};
use super::{Answer, Call};
use crate::simulator::parameter::{FLAG, Form, Parameter, TEXTS, optional, required};

/// What the API tells of an instance, besides its NICs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct InstanceNote {
    pub(in super::super) name: String,
    pub(in super::super) created: Duration,
}

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("instances", TEXTS),
    optional("status", TEXTS),
    optional("is_cluster_node", FLAG),
    optional("not_transition", FLAG),
    optional("image_id", TEXTS),
    optional("instance_type", TEXTS),
];

/// All NICs of an instance are listed whatever `verbose` is. Nodes of a cluster are shown only with `is_cluster_node`.
pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let nics = call.control.nics();
    let nodes_too = call.arguments.integer("is_cluster_node") == Some(1);
    let instances = call.control.instances();
    let visible = instances.iter().filter(|i| nodes_too || !call.account.is_cluster_node(i.id.as_str()));
    let rows = Rows::new(visible.map(|instance| item(call, instance.id.as_str(), &nics)))
        .only("instance_id", call.arguments.texts("instances"))
        .only("status", call.arguments.texts("status"))
        .only("image_id", call.arguments.texts("image_id"))
        .only("instance_type", call.arguments.texts("instance_type"));
    let listing = Listing { set: "instance_set", id: "instance_id", name: "instance_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}

fn item(call: &Call<'_>, id: &str, nics: &[NicRecord]) -> Value {
    let note = call.account.instances.get(id);
    let created = call.time(note.map(|note| note.created).unwrap_or_default());
    let mut own: Vec<&NicRecord> = nics.iter().filter(|r| carries(r, id)).collect();
    own.sort_by_key(|record| record.sequence);
    let vxnets: Vec<Value> = own.into_iter().map(|record| link(call, record)).collect();
    let group = call.account.group_of(id);
    json!({
        "instance_id": id,
        "instance_name": note.map(|note| note.name.as_str()),
        "status": "running",
        "transition_status": "",
        "sub_code": 0,
        "instance_type": "c2m4",
        "instance_class": 0,
        "vcpus_current": 2,
        "memory_current": 4096,
        "image_id": "jammyx64",
        "image": { "image_id": "jammyx64", "os_family": "ubuntu", "platform": "linux" },
        "zone_id": call.zone,
        "vxnets": vxnets,
        "security_group": group,
        "eip": null,
        "volume_ids": [],
        "keypair_ids": [],
        "extra": { "nic_mqueue": 0 },
        "tags": call.account.tags_of("instance", id),
        "description": null,
        "owner": call.account.owner,
        "create_time": created,
        "status_time": created,
    })
}

fn carries(record: &NicRecord, instance: &str) -> bool {
    record.nic.attachment.instance().is_some_and(|carrier| carrier.as_str() == instance)
}

fn link(call: &Call<'_>, record: &NicRecord) -> Value {
    let vxnet = call.account.vxnets.get(record.nic.subnet.as_str());
    let primary = matches!(record.nic.attachment, NicAttachment::Attached { primary: true, .. });
    json!({
        "vxnet_id": record.nic.subnet,
        "vxnet_name": vxnet.map(|vxnet| vxnet.name.as_str()),
        "vxnet_type": vxnet.map(|vxnet| vxnet.kind),
        "nic_id": record.nic.id,
        "private_ip": private_ip(record),
        "role": u8::from(primary),
        "sequence": record.sequence,
    })
}

pub(in super::super) const DESCRIBE_IN_VXNET: &[Parameter] = &[
    required("vxnet", Form::Text),
    optional("instances", TEXTS),
    optional("instance_type", TEXTS),
    optional("status", TEXTS),
    optional("image", Form::Text),
];

/// An item for each NIC that an instance has in the vxnet.
pub(in super::super) fn describe_in_vxnet(call: &mut Call<'_>) -> Answer {
    let vxnet = call.arguments.needed("vxnet");
    call.account.vxnet(vxnet)?;
    let nics = call.control.nics();
    let inside = nics.iter().filter(|record| record.nic.subnet.as_str() == vxnet);
    let rows = inside.filter_map(|record| {
        let instance = record.nic.attachment.instance()?.as_str();
        let note = call.account.instances.get(instance);
        let created = call.time(note.map(|note| note.created).unwrap_or_default());
        Some(json!({
            "instance_id": instance,
            "instance_name": note.map(|note| note.name.as_str()),
            "vxnet_id": vxnet,
            "nic_id": record.nic.id,
            "private_ip": private_ip(record),
            "sequence": record.sequence,
            "status": "running",
            "transition_status": "",
            "sub_code": 0,
            "instance_type": "c2m4",
            "vcpus_current": 2,
            "memory_current": 4096,
            "image_id": "jammyx64",
            "dhcp_options": { "val2": private_ip(record), "router_static_id": "" },
            "description": null,
            "create_time": created,
            "status_time": created,
        }))
    });
    let rows = Rows::new(rows)
        .only("instance_id", call.arguments.texts("instances"))
        .only("instance_type", call.arguments.texts("instance_type"))
        .only("image_id", call.arguments.text("image").map(|image| vec![image]))
        .only("status", call.arguments.texts("status"));
    let listing = Listing { set: "instance_set", id: "instance_id", name: "instance_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}
