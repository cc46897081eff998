//! What pods ask for, as an ADD learns it.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::error::ErrorKind;
use hostnic_core::id::SubnetId;
use hostnic_core::pods::{NicWish, PodDirectory, PodWishes};
use hostnic_core::route::Datapath;
use hostnic_kube::{Cluster, NodeSubnet, annotation};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::Instant;

use crate::proxy::{Proxy, Way};
use crate::trial;
use crate::world::{World, eventually, make_node, make_pod, remove_pod};

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "a_hundred_known_pods_cost_the_api_server_nothing", |world| async move {
            warm(&world).await
        }),
        trial(world, "annotations_become_wishes", |world| async move { wishes(&world).await }),
        trial(world, "a_pod_of_the_same_name_is_another_pod", |world| async move { same_name(&world).await }),
        trial(
            world,
            "pods_are_owed_an_interface_until_they_are_over",
            |world| async move { owed(&world).await },
        ),
        trial(world, "a_pod_elsewhere_is_asked_for_once", |world| async move { elsewhere(&world).await }),
    ]
}

fn made(subnet: Option<&str>, address: Option<&str>) -> PodWishes {
    let nic = NicWish::Made {
        subnet: subnet.map(|id| SubnetId::new(id).unwrap()),
        address: address.map(|ip| ip.parse().unwrap()),
    };
    PodWishes { nic, ..PodWishes::default() }
}

async fn warm(world: &World) {
    let admin = world.admin().await;
    let mut pods = vec![];
    for n in 0..100 {
        let address = format!("10.9.0.{n}");
        pods.push(make_pod(&admin, "warm", &format!("warm-{n}"), &[(annotation::IP, &address)]).await);
    }
    let proxy = Proxy::start(world.server().port, Way::Open).await;
    let mut cluster = Cluster::connect(world.config("warm", proxy.port)).await.unwrap();
    cluster.choose_subnet();
    let directory = cluster.pods();
    directory.wishes(&pods[99]).await.unwrap();
    // All that is asked at the start: two lists, and two watches, which have begun when both show something new.
    let pod_api: Api<Pod> = Api::namespaced(admin.clone(), "default");
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation::IP: "10.9.0.200" } } }));
    pod_api.patch("warm-0", &PatchParams::default(), &patch).await.unwrap();
    eventually("the new annotation, by the watch", || async {
        (directory.wishes(&pods[0]).await.unwrap() == made(None, Some("10.9.0.200"))).then_some(())
    })
    .await;
    make_node(&admin, "warm", json!({}), &[(annotation::VXNET, "vxnet-a")]).await;
    cluster.node_subnet().wait_for(|now| *now != NodeSubnet::Unknown).await.unwrap();
    let before = proxy.asked();
    let started = Instant::now();
    for (n, pod) in pods.iter().enumerate().skip(1) {
        assert_eq!(directory.wishes(pod).await.unwrap(), made(None, Some(&format!("10.9.0.{n}"))));
    }
    let took = started.elapsed();
    directory.wishes(&pods[0]).await.unwrap();
    assert_eq!(proxy.asked() - before, 0, "bytes were sent to the API server");
    println!("wishes of 100 known pods: 0 bytes to the API server, {took:?}");
    cluster.stop().await;
}

async fn wishes(world: &World) {
    let admin = world.admin().await;
    let mut config = world.config("wishes", world.server().port);
    config.pods.annotation_vxnets = Some(vec!["vxnet-a".parse().unwrap()]);
    let mut cluster = Cluster::connect(config).await.unwrap();
    cluster.choose_subnet();
    let directory = cluster.pods();

    let plain = make_pod(&admin, "wishes", "plain", &[("other", "x")]).await;
    assert_eq!(directory.wishes(&plain).await.unwrap(), PodWishes::default());
    let veth =
        make_pod(&admin, "wishes", "veth", &[(annotation::VXNET, "vxnet-a"), (annotation::TYPE, "veth")])
            .await;
    let expected = PodWishes { datapath: Some(Datapath::Veth), ..made(Some("vxnet-a"), None) };
    assert_eq!(directory.wishes(&veth).await.unwrap(), expected);

    let elsewhere = make_pod(&admin, "wishes", "elsewhere", &[(annotation::VXNET, "vxnet-b")]).await;
    let error = directory.wishes(&elsewhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "read the annotations of pod default/elsewhere: annotation hostnic.network.kubesphere.io/vxnet is \"vxnet-b\": \
         it must be one that pods may name here: vxnet-a"
    );
    cluster.stop().await;
}

async fn same_name(world: &World) {
    let admin = world.admin().await;
    let cluster = world.connect("twins").await;
    let directory = cluster.pods();
    let first = make_pod(&admin, "twins", "web-0", &[(annotation::IP, "10.9.0.1")]).await;
    assert_eq!(directory.wishes(&first).await.unwrap(), made(None, Some("10.9.0.1")));
    assert_eq!(directory.gone(&first).await, Some(false));

    // The uid is what counts, also in the moment before the watch shows the second one.
    remove_pod(&admin, "web-0").await;
    let second = make_pod(&admin, "twins", "web-0", &[(annotation::IP, "10.9.0.2")]).await;
    assert_eq!(directory.wishes(&second).await.unwrap(), made(None, Some("10.9.0.2")));
    let error = directory.wishes(&first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(directory.gone(&first).await, Some(true));
    assert_eq!(directory.gone(&second).await, Some(false));

    // Without a uid, the one that is there now.
    let unnamed = hostnic_core::attachment::PodRef { uid: None, ..second.clone() };
    assert_eq!(directory.wishes(&unnamed).await.unwrap(), made(None, Some("10.9.0.2")));

    remove_pod(&admin, "web-0").await;
    assert_eq!(directory.wishes(&unnamed).await.unwrap_err().kind(), ErrorKind::NotFound);
    eventually("the end of the second pod", || async {
        (directory.gone(&second).await == Some(true)).then_some(())
    })
    .await;
    cluster.stop().await;
}

async fn elsewhere(world: &World) {
    let admin = world.admin().await;
    let cluster = world.connect("here").await;
    // Bound to another node, so that the watch of this one never shows it.
    let pod = make_pod(&admin, "there", "far", &[(annotation::IP, "10.9.0.9")]).await;
    let started = Instant::now();
    assert_eq!(cluster.pods().wishes(&pod).await.unwrap(), made(None, Some("10.9.0.9")));
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1),
        "it was asked for after {took:?}, before the watch had its second"
    );
    cluster.stop().await;
}

async fn owed(world: &World) {
    let admin = world.admin().await;
    let cluster = world.connect("owing").await;
    let directory = cluster.pods();
    let names = || {
        let mut names: Vec<String> = directory.owed().into_iter().map(|pod| pod.name).collect();
        names.sort();
        names
    };
    let plain = make_pod(&admin, "owing", "owed", &[]).await;
    let host = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "of-the-node" },
        "spec": { "nodeName": "owing", "hostNetwork": true, "containers": [{ "name": "c", "image": "none" }] },
    });
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    pods.create(&PostParams::default(), &serde_json::from_value(host).unwrap()).await.unwrap();
    let last = make_pod(&admin, "owing", "owed-too", &[]).await;
    eventually("both pods", || async { (names() == ["owed", "owed-too"]).then_some(()) }).await;

    let status = Patch::Merge(json!({ "status": { "phase": "Succeeded" } }));
    pods.patch_status("owed", &PatchParams::default(), &status).await.unwrap();
    directory.over(&plain).await;
    // It has had its end before anybody asks, too.
    directory.over(&plain).await;
    let ((), ()) = tokio::join!(directory.over(&last), remove_pod(&admin, "owed-too"));
    directory.over(&last).await;
    assert_eq!(names(), Vec::<String>::new());
    cluster.stop().await;
}
