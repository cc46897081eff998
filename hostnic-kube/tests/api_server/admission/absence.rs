//! What is done when the webhooks do not answer.

use std::time::Duration;

use futures::FutureExt;
use hostnic_kube::admission::{AdmissionSettings, Endpoint, Standing};
use kube::api::DeleteParams;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::stage::{
    BLOCK, NODE, OWN, REGISTRATIONS, Stage, block, client, is_unanswered, merge, pool, refused,
};
use crate::world::{World, eventually};

pub(super) async fn dead(world: &World) {
    let stage = Stage::set(world).await;
    stage.make("IPPool", "vxnet-aaaaaaa", pool("172.16.3.0/24")).await.unwrap();
    stage.make("IPAMBlock", BLOCK, block()).await.unwrap();
    let controller = stage.controller().await;
    let kept = stage.registrations().get(REGISTRATIONS[0]).await.unwrap().webhooks.unwrap()[0]
        .match_conditions
        .is_some();
    let expected = if kept { ["Fail", "Fail", "Ignore"] } else { ["Fail", "Ignore", "Ignore"] };
    assert_eq!(stage.policies().await, expected);
    controller.kill().await;

    let disable = json!({ "spec": { "disabled": true } });
    let told = refused(stage.merge("IPPool", "vxnet-aaaaaaa", disable.clone()).await);
    assert!(is_unanswered(&told), "{told}");
    let node = client(world, Some(NODE)).await;
    merge(&node, "IPAMBlock", BLOCK, json!({ "spec": { "deleted": true } })).await.unwrap();
    stage.config("hostnic-ipam-config", "{").await.unwrap();

    // The next one is not ready, nor is there a certificate that it could answer with.
    let own = client(world, Some(OWN)).await;
    let write = || merge(&own, "IPPool", "vxnet-aaaaaaa", disable.clone());
    assert!(kept || is_unanswered(&refused(write().await)));
    let next = stage.replica(|_| {}).await;
    next.admission.relax().await.unwrap();
    assert_eq!(stage.policies().await, ["Ignore"; 3]);
    eventually("the controller can write", || async { write().await.ok() }).await;
    stage.merge("IPPool", "vxnet-aaaaaaa", json!({ "spec": { "disabled": false } })).await.unwrap();
    next.end().await;
}

pub(super) async fn hanging(world: &World) {
    let stage = Stage::set(world).await;
    stage.make("IPPool", "vxnet-aaaaaaa", pool("172.16.3.0/24")).await.unwrap();
    stage.make("IPAMBlock", BLOCK, block()).await.unwrap();
    let port = stage.controller().await.kill().await;
    // Takes connections, and never says anything.
    let hanging =
        eventually("the port is free", || TcpListener::bind(("127.0.0.1", port)).map(Result::ok)).await;
    let taken = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = hanging.accept().await {
            connections.push(connection);
        }
    });

    let begun = Instant::now();
    stage.config("hostnic-ipam-config", "{").await.unwrap();
    let config = begun.elapsed();
    let begun = Instant::now();
    let told = refused(stage.merge("IPPool", "vxnet-aaaaaaa", json!({ "spec": { "disabled": true } })).await);
    let edit = begun.elapsed();
    let node = client(world, Some(NODE)).await;
    let begun = Instant::now();
    merge(&node, "IPAMBlock", BLOCK, json!({ "spec": { "deleted": true } })).await.unwrap();
    let write = begun.elapsed();
    println!("ConfigMap {config:?}, IPPool {edit:?}: {told}; IPAMBlock by a node {write:?}");
    assert!(is_unanswered(&told), "{told}");
    // API servers try a change of what they know from their cache a second time, with what is in etcd.
    assert!(
        config < Duration::from_secs(4) && edit < Duration::from_secs(8) && write < Duration::from_secs(3),
        "{config:?} {edit:?} {write:?}"
    );
    taken.abort();
}

pub(super) async fn unreached(world: &World) {
    let stage = Stage::set(world).await;
    let wrong = |settings: &mut AdmissionSettings| {
        settings.endpoint = Endpoint::Address { host: "127.0.0.1".to_owned(), port: 1 };
        settings.period = Duration::from_millis(200);
    };
    let controller = stage.replica(wrong).await;
    controller.admission.relax().await.unwrap();
    controller.standing.send_replace(Standing::Ready);
    // Once it makes one again, the API server has been asked whether it reaches it.
    for _ in 0..2 {
        eventually("both are there", || async { stage.registrations().get(REGISTRATIONS[1]).await.ok() })
            .await;
        stage.registrations().delete(REGISTRATIONS[1], &DeleteParams::default()).await.unwrap();
    }
    eventually("both are there", || async { stage.registrations().get(REGISTRATIONS[1]).await.ok() }).await;
    assert_eq!(
        (stage.policies().await, controller.state.borrow().enforces),
        (["Ignore".to_owned(), "Ignore".into(), "Ignore".into()].into(), false)
    );
    stage.make("IPPool", "vxnet-aaaaaaa", pool("172.16.3.0/24")).await.unwrap();
    controller.end().await;
}
