//! What the node's object is made to say.

use std::sync::Arc;

use hostnic_core::sim::Cloud;
use hostnic_kube::{HostLabels, Readiness};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;

use crate::trial;
use crate::world::{World, events_about, eventually, make_node};

const NOT_READY: &str = "hostnic.network.kubesphere.io/agent-not-ready";
const NO_NIC: &str = "hostnic.network.kubesphere.io/no-nic";
const RESOURCE: &str = "hostnic.network.kubesphere.io/nic";

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "the_node_says_whether_it_is_ready", |world| async move { readiness(&world).await }),
        trial(world, "taints_of_others_are_never_lost", |world| async move { taints(&world).await }),
        trial(
            world,
            "the_node_says_how_many_nics_it_may_have",
            |world| async move { capacity(&world).await },
        ),
        trial(world, "a_node_that_comes_later_is_told_all", |world| async move { late(&world).await }),
        trial(world, "nodes_say_which_machine_they_run_on", |world| async move { machines(&world).await }),
    ]
}

async fn get(admin: &Client, node: &str) -> Node {
    Api::<Node>::all(admin.clone()).get(node).await.unwrap()
}

async fn condition(admin: &Client, node: &str) -> Option<NodeCondition> {
    let conditions = get(admin, node).await.status?.conditions?;
    conditions.into_iter().find(|condition| condition.type_ == "NetworkUnavailable")
}

async fn taint_keys(admin: &Client, node: &str) -> Vec<String> {
    let taints = get(admin, node).await.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.into_iter().map(|taint| taint.key).collect()
}

/// Waits until the condition says this, and returns it.
async fn says(admin: &Client, node: &str, status: &str, reason: &str, message: &str) -> NodeCondition {
    eventually(&format!("a condition {status}, {reason}, {message}"), || async {
        condition(admin, node).await.filter(|is| {
            is.status == status
                && is.reason.as_deref() == Some(reason)
                && is.message.as_deref() == Some(message)
        })
    })
    .await
}

async fn readiness(world: &World) {
    let admin = world.admin().await;
    let taints = json!([
        { "key": "theirs", "value": "x", "effect": "NoExecute" },
        { "key": NOT_READY, "effect": "NoSchedule" },
    ]);
    make_node(&admin, "ready", json!({ "taints": taints }), &[]).await;
    let cluster = world.connect("ready").await;

    cluster.set_readiness(Readiness::NotReady("no NIC yet".to_owned()));
    let first = says(&admin, "ready", "True", "HostnicNotReady", "no NIC yet").await;
    assert_eq!(taint_keys(&admin, "ready").await, ["theirs", NOT_READY]);
    // Another reason is no transition.
    cluster.set_readiness(Readiness::NotReady("the cloud is away".to_owned()));
    let second = says(&admin, "ready", "True", "HostnicNotReady", "the cloud is away").await;
    assert_eq!(first.last_transition_time, second.last_transition_time);

    cluster.set_readiness(Readiness::Ready);
    let ready = says(&admin, "ready", "False", "HostnicReady", "hostnic gives pods their interfaces").await;
    assert!(ready.last_transition_time >= second.last_transition_time);
    eventually("no taint agent-not-ready", || async {
        (taint_keys(&admin, "ready").await == ["theirs"]).then_some(())
    })
    .await;

    // Never put back, whatever comes.
    cluster.set_readiness(Readiness::NotReady("stopping".to_owned()));
    says(&admin, "ready", "True", "HostnicNotReady", "stopping").await;
    assert_eq!(taint_keys(&admin, "ready").await, ["theirs"]);
    cluster.stop().await;
}

async fn taints(world: &World) {
    let admin = world.admin().await;
    make_node(&admin, "tainted", json!({}), &[]).await;
    let cluster = world.connect("tainted").await;
    let nodes: Api<Node> = Api::all(admin.clone());

    // Another controller that adds a taint at a time, as careful as this one, while ours comes and goes.
    for n in 0..20 {
        cluster.set_scarce(n % 2 == 0);
        loop {
            let node = nodes.get("tainted").await.unwrap();
            let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            taints.push(
                serde_json::from_value(json!({ "key": format!("theirs-{n}"), "effect": "NoSchedule" }))
                    .unwrap(),
            );
            let patch = json!({ "metadata": { "resourceVersion": node.metadata.resource_version }, "spec": { "taints": taints } });
            match nodes.patch("tainted", &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    cluster.set_scarce(true);
    eventually("the taint no-nic", || async {
        taint_keys(&admin, "tainted").await.contains(&NO_NIC.to_owned()).then_some(())
    })
    .await;
    cluster.set_scarce(false);
    eventually("no taint no-nic", || async {
        (!taint_keys(&admin, "tainted").await.contains(&NO_NIC.to_owned())).then_some(())
    })
    .await;
    let theirs: Vec<String> = (0..20).map(|n| format!("theirs-{n}")).collect();
    assert_eq!(taint_keys(&admin, "tainted").await, theirs);
    cluster.stop().await;
}

async fn capacity(world: &World) {
    let admin = world.admin().await;
    make_node(&admin, "roomy", json!({}), &[]).await;
    let cluster = world.connect("roomy").await;
    for nics in [60, 3] {
        cluster.set_capacity(nics);
        eventually("the resource", || async {
            let status = get(&admin, "roomy").await.status?;
            let amount = |all: Option<std::collections::BTreeMap<_, _>>| {
                Some(
                    all?.remove(RESOURCE)
                        .map(|q: k8s_openapi::apimachinery::pkg::api::resource::Quantity| q.0),
                )
            };
            let expected = Some(Some(nics.to_string()));
            (amount(status.capacity) == expected && amount(status.allocatable) == expected).then_some(())
        })
        .await;
    }
    cluster.clear_capacity();
    eventually("no resource", || async {
        let status = get(&admin, "roomy").await.status?;
        let says = |all: &Option<std::collections::BTreeMap<String, _>>| {
            all.as_ref().is_some_and(|all| all.contains_key(RESOURCE))
        };
        (!says(&status.capacity) && !says(&status.allocatable)).then_some(())
    })
    .await;
    cluster.stop().await;
}

async fn late(world: &World) {
    let admin = world.admin().await;
    let cluster = world.connect("late").await;
    cluster.set_readiness(Readiness::Ready);
    cluster.set_capacity(7);
    cluster.set_scarce(true);
    make_node(&admin, "late", json!({ "taints": [{ "key": NOT_READY, "effect": "NoSchedule" }] }), &[]).await;
    says(&admin, "late", "False", "HostnicReady", "hostnic gives pods their interfaces").await;
    eventually("the taint no-nic alone", || async {
        (taint_keys(&admin, "late").await == [NO_NIC]).then_some(())
    })
    .await;
    // And nothing is written that is there already: the object is the same after all that was told again.
    let before = get(&admin, "late").await.metadata.resource_version;
    cluster.set_capacity(7);
    cluster.set_readiness(Readiness::Ready);
    cluster.set_scarce(true);
    cluster.uid().await.unwrap();
    assert_eq!(get(&admin, "late").await.metadata.resource_version, before);
    cluster.stop().await;
}

async fn machines(world: &World) {
    const LABEL: &str = "topology.kubernetes.io/hostmachine";
    let admin = world.admin().await;
    let nodes: Api<Node> = Api::all(admin.clone());
    let cloud = Cloud::builder().instance("i-controller").build().unwrap();
    let provider = Arc::new(cloud.node(&"i-controller".parse().unwrap()));
    let address = |n: u8| format!("172.31.0.{n}");
    let make = async |name: &str, n: u8| {
        make_node(&admin, name, json!({}), &[]).await;
        let status = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": address(n) }] } });
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    let label = async |name: &str| get(&admin, name).await.metadata.labels?.remove(LABEL);
    make("machine-one", 1).await;
    make("machine-two", 2).await;
    let by_hand = Patch::Merge(json!({ "metadata": { "labels": { LABEL: "by-hand" } } }));
    nodes.patch("machine-two", &PatchParams::default(), &by_hand).await.unwrap();
    cloud.set_host_machine(address(1).parse().unwrap(), "host1");
    let begin = async || HostLabels::new(&world.controller_access(), provider.clone(), "cl-1").await.unwrap();
    let first = tokio::spawn(begin().await.keep());
    eventually("the node has its label", || async { (label("machine-one").await? == "host1").then_some(()) })
        .await;
    assert_eq!(label("machine-two").await.as_deref(), Some("by-hand"), "the cloud says nothing of it");
    first.abort();

    // They were moved meanwhile. What the label said is told.
    for n in [1, 2] {
        cloud.set_host_machine(address(n).parse().unwrap(), "host2");
    }
    let second = tokio::spawn(begin().await.keep());
    for name in ["machine-one", "machine-two"] {
        eventually("it follows", || async { (label(name).await? == "host2").then_some(()) }).await;
    }
    let told = eventually("an event tells of it", || async {
        let events = events_about(&admin, "machine-two").await;
        events.into_iter().find(|event| event.reason.as_deref() == Some("HostMachineChanged"))
    })
    .await;
    assert_eq!(told.message.unwrap(), "the node runs on host machine host2 now; its label said by-hand");
    second.abort();
}
