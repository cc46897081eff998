//! Replicas of the controller, their certificate and their registrations.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hostnic_kube::admission::{AdmissionSettings, Clock, Standing};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::stage::{Prepared, REGISTRATIONS, Replica, Stage, leaf, pool, presented, refused};
use crate::world::{World, eventually};

pub(super) async fn renewed(world: &World) {
    let stage = Stage::set(world).await;
    // It was made fifty days ago, of the ninety that it is good for.
    let ago = Arc::new(watch::Sender::new(Duration::from_secs(50 * 24 * 3600)));
    let set = Arc::clone(&ago);
    let clock = Clock::new(move || SystemTime::now() - *set.borrow());
    let change = |settings: &mut AdmissionSettings| {
        (settings.clock, settings.period) = (clock, Duration::from_millis(500))
    };
    let mut controller = stage.replica(change).await;
    controller.lead().await;
    let served = || async {
        let data = stage.secrets().get("hostnic-admission").await.unwrap().data.unwrap();
        (data["tls.crt"].0.clone(), data.contains_key("next.tls.crt"))
    };
    let first = served().await;
    assert!(!first.1);
    ago.send_replace(Duration::ZERO);
    let mut reviews = 0;
    let until = Instant::now() + Duration::from_secs(20);
    // New connections are made with the new one, and a few more reviews are asked for with it.
    let mut after = 0;
    while after < 20 {
        assert!(Instant::now() < until, "it was not renewed");
        let told = refused(stage.make("IPPool", "vxnet-aaaaaaa", pool("none")).await);
        assert!(told.contains("spec.cidr is \"none\""), "after {reviews} reviews: {told}");
        reviews += 1;
        let now = served().await;
        after += u32::from(now.0 != first.0 && presented(controller.port, &stage).await == leaf(&now.0));
    }
    let bundle =
        stage.registrations().get(REGISTRATIONS[0]).await.unwrap().webhooks.unwrap()[0].client_config.clone();
    let bundle = String::from_utf8(bundle.ca_bundle.unwrap().0).unwrap();
    println!("{reviews} reviews, none failed; {} authorities are trusted", bundle.matches("BEGIN").count());
    assert_eq!(bundle.matches("BEGIN").count(), 2);
    controller.end().await;
}

pub(super) async fn shared(world: &World) {
    let stage = Stage::set(world).await;
    let prepared = futures::future::join_all((0..8).map(|_| stage.prepared(|_| {}))).await;
    // All find that there is none, and only one of them makes it.
    let mut replicas: Vec<Replica> = prepared.into_iter().map(Prepared::start).collect();
    for replica in &mut replicas {
        replica.until("it can answer", |state| state.serves).await;
    }
    let data = stage.secrets().get("hostnic-admission").await.unwrap().data.unwrap();
    for replica in replicas {
        assert_eq!(presented(replica.port, &stage).await, leaf(&data["tls.crt"].0));
        replica.end().await;
    }
}

pub(super) async fn in_turn(world: &World) {
    let stage = Stage::set(world).await;
    let quick = |settings: &mut AdmissionSettings| settings.period = Duration::from_millis(500);
    let [mut one, mut other] = [stage.replica(quick).await, stage.replica(quick).await];
    other.until("it can answer", |state| state.serves).await;
    let shared = presented(other.port, &stage).await;

    one.lead().await;
    let url = || async {
        let webhooks = stage.registrations().get(REGISTRATIONS[0]).await.unwrap().webhooks.unwrap();
        webhooks[0].client_config.url.clone().unwrap()
    };
    assert_eq!(url().await, format!("https://127.0.0.1:{}/validate/resources", one.port));
    // What is as it should be is not written again: by the time at which the second is made again, the first has been looked at.
    let version =
        || async { stage.registrations().get(REGISTRATIONS[0]).await.unwrap().metadata.resource_version };
    let before = version().await;
    stage.registrations().delete(REGISTRATIONS[1], &DeleteParams::default()).await.unwrap();
    eventually("it is made again", || async { stage.registrations().get(REGISTRATIONS[1]).await.ok() }).await;
    assert_eq!(version().await, before);
    // One that is not ready any more insists on nothing.
    one.standing.send_replace(Standing::Leader);
    eventually("nothing is refused for want of an answer", || async {
        (stage.policies().await == ["Ignore"; 3]).then_some(())
    })
    .await;
    one.lead().await;
    one.end().await;
    assert_eq!(stage.policies().await, ["Ignore"; 3]);
    other.lead().await;
    assert_eq!(url().await, format!("https://127.0.0.1:{}/validate/resources", other.port));
    assert_eq!(presented(other.port, &stage).await, shared);
    // What somebody changes is as it was before long.
    let path = json!({ "webhooks": [{
        "name": "pools.admission.network.qingcloud.com", "failurePolicy": "Ignore", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": { "url": "https://127.0.0.1:1/" },
    }] });
    stage
        .registrations()
        .patch(REGISTRATIONS[0], &PatchParams::default(), &Patch::Merge(path))
        .await
        .unwrap();
    eventually("it is as it was", || async { url().await.ends_with("/validate/resources").then_some(()) })
        .await;
    other.end().await;
}

pub(super) async fn foreign(world: &World) {
    let stage = Stage::set(world).await;
    let theirs = json!({ "metadata": { "name": REGISTRATIONS[1] }, "webhooks": [] });
    let theirs: ValidatingWebhookConfiguration = serde_json::from_value(theirs).unwrap();
    let made = stage.registrations().create(&PostParams::default(), &theirs).await.unwrap();
    let controller = stage.replica(|settings| settings.period = Duration::from_millis(200)).await;
    controller.admission.relax().await.unwrap();
    controller.standing.send_replace(Standing::Ready);
    // Once it makes the first one again, it has been at the second.
    for _ in 0..2 {
        eventually("its own is there", || async { stage.registrations().get(REGISTRATIONS[0]).await.ok() })
            .await;
        stage.registrations().delete(REGISTRATIONS[0], &DeleteParams::default()).await.unwrap();
    }
    controller.end().await;
    let there = stage.registrations().get(REGISTRATIONS[1]).await.unwrap();
    assert_eq!(there.metadata.resource_version, made.metadata.resource_version);
    stage.clear().await;
}
