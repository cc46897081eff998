//! Which vxnet a node draws from.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::id::SubnetId;
use hostnic_kube::{ChoiceRules, Cluster, NoSubnet, NodeSubnet, annotation};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::trial;
use crate::world::{World, events_about, eventually, make_node};

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "the_nodes_annotation_is_followed", |world| async move { followed(&world).await }),
        trial(world, "thirty_one_nodes_choose_at_once", |world| async move { at_once(&world).await }),
    ]
}

async fn annotate(admin: &Client, node: &str, vxnet: Option<&str>) {
    let patch = json!({ "metadata": { "annotations": { annotation::VXNET: vxnet.map_or(Value::Null, Value::from) } } });
    let nodes: Api<Node> = Api::all(admin.clone());
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

fn ids(names: &[&str]) -> Vec<SubnetId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn becomes(told: &mut watch::Receiver<NodeSubnet>, expected: &NodeSubnet) {
    let heard = tokio::time::timeout(Duration::from_secs(20), told.wait_for(|now| now == expected)).await;
    assert!(heard.is_ok(), "it is not {expected:?}");
}

async fn followed(world: &World) {
    let admin = world.admin().await;
    make_node(&admin, "asked", json!({}), &[]).await;
    let cluster = world.connect("asked").await;
    let mut told = cluster.node_subnet();
    becomes(&mut told, &NodeSubnet::None(NoSubnet::Unset)).await;
    eventually("an event NoVxnet", || async {
        let events = events_about(&admin, "asked").await;
        events.into_iter().find(|event| event.reason.as_deref() == Some("NoVxnet"))
    })
    .await;
    annotate(&admin, "asked", Some("vxnet-b")).await;
    becomes(&mut told, &NodeSubnet::Known("vxnet-b".parse().unwrap())).await;
    annotate(&admin, "asked", Some("vxnet c")).await;
    becomes(&mut told, &NodeSubnet::None(NoSubnet::Invalid { value: "vxnet c".to_owned() })).await;
    cluster.stop().await;

    // With something to choose from, what is outside of it counts as nothing, and is replaced.
    let mut config = world.config("asked", world.server().port);
    config.choice =
        ChoiceRules { subnets: ids(&["vxnet-p", "vxnet-q"]), max_nic: NonZeroU32::new(63).unwrap() };
    let mut cluster = Cluster::connect(config).await.unwrap();
    cluster.choose_subnet();
    let mut told = cluster.node_subnet();
    becomes(&mut told, &NodeSubnet::Known("vxnet-p".parse().unwrap())).await;
    annotate(&admin, "asked", Some("vxnet-q")).await;
    becomes(&mut told, &NodeSubnet::Known("vxnet-q".parse().unwrap())).await;
    annotate(&admin, "asked", Some("vxnet-z")).await;
    becomes(&mut told, &NodeSubnet::Known("vxnet-p".parse().unwrap())).await;
    cluster.stop().await;
}

async fn at_once(world: &World) {
    let admin = world.admin().await;
    let vxnets = ["vxnet-1", "vxnet-2", "vxnet-3"];
    // 252 / 25: ten nodes in each of three vxnets. The 31st has no place.
    let rules = ChoiceRules { subnets: ids(&vxnets), max_nic: NonZeroU32::new(25).unwrap() };
    let names: Vec<String> = (0..31).map(|n| format!("crowd-{n:02}")).collect();
    for name in &names {
        make_node(&admin, name, json!({}), &[]).await;
    }
    let mut clusters = vec![];
    for name in &names {
        let mut config = world.config(name, world.server().port);
        config.choice = rules.clone();
        // Thirty nodes have thirty machines to work on; here all share one.
        config.deadlines.request = Duration::from_secs(10);
        clusters.push((name, config));
    }
    let started = Instant::now();
    let mut connected = vec![];
    for (name, config) in clusters {
        let mut cluster = Cluster::connect(config).await.unwrap();
        cluster.choose_subnet();
        connected.push((name, cluster));
    }
    let mut without = vec![];
    let mut told: BTreeMap<SubnetId, usize> = BTreeMap::new();
    for (name, cluster) in &connected {
        let mut subnet = cluster.node_subnet();
        let known = subnet.wait_for(|now| *now != NodeSubnet::Unknown);
        match &*tokio::time::timeout(Duration::from_secs(60), known).await.unwrap().unwrap() {
            NodeSubnet::Known(subnet) => *told.entry(subnet.clone()).or_default() += 1,
            other => without.push(((*name).clone(), other.clone())),
        }
    }
    let took = started.elapsed();
    assert_eq!(told, ids(&vxnets).into_iter().map(|id| (id, 10)).collect(), "nodes in each vxnet");
    let full = NodeSubnet::None(NoSubnet::Full { subnets: rules.subnets.clone(), nodes_per_subnet: 10 });
    let [(last, why)] = &without[..] else { panic!("without a vxnet: {without:?}") };
    assert_eq!(*why, full);
    let event = eventually("an event that says why", || async {
        let events = events_about(&admin, last).await;
        events.into_iter().find(|event| event.reason.as_deref() == Some("NoVxnet"))
    })
    .await;
    println!("31 nodes chose in {took:?}: {told:?}; {last} has none: {}", event.message.unwrap());

    // What nodes were told is what stands on them.
    let nodes: Api<Node> = Api::all(admin.clone());
    let mut written: BTreeMap<SubnetId, usize> = BTreeMap::new();
    for node in nodes.list(&ListParams::default()).await.unwrap().items {
        let crowd = node.metadata.name.is_some_and(|name| name.starts_with("crowd-"));
        if let Some(vxnet) =
            node.metadata.annotations.and_then(|mut all| all.remove(annotation::VXNET)).filter(|_| crowd)
        {
            *written.entry(vxnet.parse().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(written, told);
    for (_, cluster) in connected {
        cluster.stop().await;
    }
    for name in &names {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
}
