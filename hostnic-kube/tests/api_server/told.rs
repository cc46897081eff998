//! What pods are told: events and annotations.

use std::sync::Arc;

use hostnic_core::error::{Error, ErrorKind, QuotaScope};
use hostnic_core::pods::{NicWish, PodDirectory, PodWishes};
use hostnic_kube::{Cluster, annotation};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::Api;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{World, events_about, eventually, lease, make_pod};

const NIC: &str = "52:54:00:00:00:01";

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "failures_are_counted_not_repeated", |world| async move { failures(&world).await }),
        trial(world, "the_nic_that_was_given_is_no_wish", |world| async move { given(&world).await }),
        trial(
            world,
            "a_nic_that_was_wished_for_is_left_as_it_is",
            |world| async move { wished(&world).await },
        ),
    ]
}

async fn event(admin: &Client, uid: &str, reason: &str, count: i32) -> Event {
    eventually(&format!("an event {reason}, {count} times"), || async {
        let events = events_about(admin, uid).await;
        events.into_iter().find(|e| e.reason.as_deref() == Some(reason) && e.count == Some(count))
    })
    .await
}

async fn failures(world: &World) {
    let admin = world.admin().await;
    let cluster = world.connect("sorry").await;
    let directory = cluster.pods();
    let pod = make_pod(&admin, "sorry", "hungry", &[]).await;
    let uid = pod.uid.clone().unwrap();
    directory.wishes(&pod).await.unwrap();

    let full = || {
        Error::new(ErrorKind::Quota(QuotaScope::Instance), "lease an address for", "default/hungry").detail(
            "the node has 63 NICs, which is all it may have; delete a pod, or place this one elsewhere",
        )
    };
    directory.failed(&pod, &full());
    let first = event(&admin, &uid, "NoNicLeft", 1).await;
    assert_eq!(first.type_.as_deref(), Some("Warning"));
    assert_eq!(
        first.message.as_deref(),
        Some(
            "lease an address for default/hungry: the node has 63 NICs, which is all it may have; delete a pod, or place this one elsewhere"
        )
    );
    assert_eq!(first.source.unwrap().component.as_deref(), Some("hostnic"));

    // A flood becomes a count of the same event.
    for _ in 0..500 {
        directory.failed(&pod, &full());
    }
    let throttled = ErrorKind::Throttled { retry_after: None };
    directory.failed(&pod, &Error::new(throttled, "create NICs", "vxnet-a"));
    event(&admin, &uid, "CloudThrottles", 1).await;
    let counted = event(&admin, &uid, "NoNicLeft", 501).await;
    assert_eq!(counted.metadata.name, first.metadata.name);
    assert_eq!(counted.first_timestamp, first.first_timestamp);

    // What went wrong and now works is told; what always worked is not.
    directory.attached(&pod, &lease(NIC, "10.9.0.4/24"));
    let attached = event(&admin, &uid, "NicAttached", 1).await;
    assert_eq!(attached.message.as_deref(), Some("NIC 52:54:00:00:00:01 in vxnet-a: address 10.9.0.4"));
    let lucky = make_pod(&admin, "sorry", "lucky", &[]).await;
    directory.wishes(&lucky).await.unwrap();
    directory.attached(&lucky, &lease(NIC, "10.9.0.5/24"));
    directory.failed(&lucky, &Error::new(ErrorKind::Internal, "add", "lucky"));
    let lucky = lucky.uid.unwrap();
    event(&admin, &lucky, "NodeAgentFault", 1).await;
    assert_eq!(events_about(&admin, &lucky).await.len(), 1);
    cluster.stop().await;
}

pub(crate) async fn annotations(admin: &Client, name: &str) -> std::collections::BTreeMap<String, String> {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    pods.get(name).await.unwrap().metadata.annotations.unwrap_or_default()
}

async fn telling(world: &World, node: &str) -> Cluster {
    let mut config = world.config(node, world.server().port);
    config.telling.attached_events = true;
    config.telling.nic_annotation = true;
    let mut cluster = Cluster::connect(config).await.unwrap();
    cluster.choose_subnet();
    cluster
}

async fn given(world: &World) {
    let admin = world.admin().await;
    let cluster = telling(world, "teller").await;
    let directory = cluster.pods();
    let pod = make_pod(&admin, "teller", "told", &[]).await;
    directory.wishes(&pod).await.unwrap();
    directory.attached(&pod, &lease(NIC, "10.9.0.4/24"));
    event(&admin, pod.uid.as_deref().unwrap(), "NicAttached", 1).await;
    let said = eventually("the annotation nic", || async {
        let all = annotations(&admin, "told").await;
        all.contains_key(annotation::NIC).then_some(all)
    })
    .await;
    assert_eq!(said.get(annotation::NIC).map(String::as_str), Some(NIC));
    assert_eq!(said.get(annotation::NIC_GIVEN).map(String::as_str), Some(NIC));

    // The same pod in a new sandbox, after a restart of the daemon: it asks for nothing.
    let again = telling(world, "teller").await;
    assert_eq!(again.pods().wishes(&pod).await.unwrap(), PodWishes::default());
    // A pod that was made from the first one's description does neither.
    let copied: Vec<(&str, &str)> =
        said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let copy = make_pod(&admin, "teller", "copy", &copied).await;
    assert_eq!(again.pods().wishes(&copy).await.unwrap(), PodWishes::default());
    cluster.stop().await;
    again.stop().await;
}

async fn wished(world: &World) {
    let admin = world.admin().await;
    let cluster = telling(world, "wisher").await;
    let directory = cluster.pods();
    let pod = make_pod(&admin, "wisher", "picky", &[(annotation::NIC, "52:54:00:AA:00:02")]).await;
    let expected =
        PodWishes { nic: NicWish::Existing("52:54:00:aa:00:02".parse().unwrap()), ..PodWishes::default() };
    assert_eq!(directory.wishes(&pod).await.unwrap(), expected);
    directory.attached(&pod, &lease("52:54:00:aa:00:02", "10.9.0.4/24"));
    event(&admin, pod.uid.as_deref().unwrap(), "NicAttached", 1).await;
    // The event is written after annotations.
    let said = annotations(&admin, "picky").await;
    assert_eq!(said.get(annotation::NIC).map(String::as_str), Some("52:54:00:AA:00:02"));
    assert_eq!(said.get(annotation::NIC_GIVEN), None);
    cluster.stop().await;
}
