//! Which namespace has which block.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::stage::{Stage, VXNETS, is_ready};
use crate::trial;
use crate::world::{World, events_about, eventually};

const OWN: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "namespaces_get_blocks_of_their_own", |world| async move { assigned(&world).await }),
        trial(
            world,
            "a_wrong_mapping_is_told_and_counts_for_nothing",
            |world| async move { wrong(&world).await },
        ),
    ]
}

async fn assigned(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    stage.map("off", &json!({ "Default": [VXNETS[0]] }).to_string()).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    assert_eq!(stage.mapping().await, json!({ "Default": [VXNETS[0]] }));
    stage.map("on", &json!({ "Default": [VXNETS[0]] }).to_string()).await;
    let given = eventually("each namespace has a block", || async {
        let given = stage.mapping().await;
        (given.as_object().unwrap().len() == 5).then_some(given)
    })
    .await;
    let blocks: BTreeSet<&str> = OWN.iter().map(|namespace| given[namespace][0].as_str().unwrap()).collect();
    assert_eq!(blocks.len(), 4, "{given}");
    assert!(blocks.iter().all(|block| block.starts_with("4100-172-16-4-")), "{given}");

    // None is left, until somebody takes a vxnet back from all.
    let namespaces: Api<Namespace> = Api::all(stage.admin.clone());
    let name = "outgrown";
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    namespaces.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let short = |status: &Value| status["conditions"][1]["reason"] == "NoBlockLeft";
    let status = stage.status("there is none for it", short).await;
    assert!(status["conditions"][1]["message"].as_str().unwrap().contains(name), "{status}");
    let own: Value =
        OWN.iter().map(|namespace| ((*namespace).to_owned(), given[namespace].clone())).collect();
    stage.map("on", &own.to_string()).await;
    let first =
        eventually("it has one", || async { stage.mapping().await[name][0].as_str().map(str::to_owned) })
            .await;

    // It outgrows that one, and gets another.
    stage.take(&first, capacity(&stage, &first).await).await;
    eventually("it has two", || async { stage.mapping().await[name][1].as_str().map(str::to_owned) }).await;
    stage.take(&first, 0).await;

    // It goes, and its entry with it.
    namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    let finalize = namespaces.get(name).await.unwrap();
    assert!(finalize.metadata.deletion_timestamp.is_some());
    eventually("its entry is gone", || async { stage.mapping().await[name].is_null().then_some(()) }).await;
    controller.end().await;
}

/// How many addresses of a block are free.
async fn capacity(stage: &Stage, block: &str) -> usize {
    stage.objects("IPAMBlock").get(block).await.unwrap().data["spec"]["unallocated"].as_array().unwrap().len()
}

async fn wrong(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS[..1], 27).await;
    stage.map("on", "{}").await;
    let controller = stage.controller(world).await;
    let of_mapping = |word: &'static str| move |status: &Value| status["conditions"][1]["reason"] == word;
    stage.status("the mapping counts", of_mapping("Valid")).await;
    eventually("namespaces have blocks", || async {
        (stage.mapping().await.as_object()?.len() >= 4).then_some(())
    })
    .await;
    let both = json!({ "a": ["4100-172-16-3-0-27"], "b": ["4100-172-16-3-0-27"] }).to_string();
    stage.map("on", &both).await;
    let status = stage.status("it counts no more", of_mapping("Invalid")).await;
    assert!(is_ready(&status));
    let said = status["conditions"][1]["message"].as_str().unwrap();
    assert!(said.contains("4100-172-16-3-0-27 to both a and b"), "{said}");
    let uid = stage.config().get("hostnic-ipam-config").await.unwrap().uid().unwrap();
    let event = eventually("an event tells of it", || async {
        let events = events_about(&stage.admin, &uid).await;
        events.into_iter().find(|event| event.reason.as_deref() == Some("InvalidIpamConfig"))
    })
    .await;
    assert_eq!(event.source.unwrap().component.as_deref(), Some("hostnic-controller"));
    assert!(event.message.unwrap().contains("both a and b"));
    // Another mistake is the same event once more.
    stage.map("maybe", &both).await;
    eventually("the event is counted", || async {
        let events = events_about(&stage.admin, &uid).await;
        events.iter().any(|event| event.count.is_some_and(|count| count > 1)).then_some(())
    })
    .await;
    // Nobody repairs it but who wrote it.
    assert_eq!(stage.mapping().await.to_string(), both);
    stage.map("off", "{}").await;
    stage.status("it counts again", of_mapping("Valid")).await;
    controller.end().await;
}
