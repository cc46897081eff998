//! The API server is away, slow, or somebody else than it was.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::attachment::PodRef;
use hostnic_core::error::ErrorKind;
use hostnic_core::pods::PodDirectory;
use hostnic_kube::{Cluster, Deadlines, NodeSubnet, Reach, Readiness, annotation};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::Instant;

use crate::proxy::{Proxy, Way};
use crate::trial;
use crate::world::{World, eventually, make_node, make_pod, remove_pod};

/// Shorter than a daemon's, so that the tests are.
const DEADLINES: Deadlines =
    Deadlines { request: Duration::from_millis(1500), pod_watch: Duration::from_millis(300) };
/// "In time": both of them, and what a busy machine adds.
const IN_TIME: Duration = Duration::from_secs(3);

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "away_at_the_start", |world| async move { at_start(&world).await }),
        trial(world, "stalled_and_slow", |world| async move { stalled(&world).await }),
        trial(world, "killed_and_started_again", |world| async move { killed(&world).await }),
    ]
}

async fn connect(world: &World, node: &str, proxy: &Proxy) -> Cluster {
    let mut config = world.config(node, proxy.port);
    config.deadlines = DEADLINES;
    let mut cluster = Cluster::connect(config).await.unwrap();
    cluster.choose_subnet();
    cluster
}

fn stranger(name: &str) -> PodRef {
    PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: Some("never-seen".to_owned()) }
}

/// A pod that is not known is refused as something that may work later, in time.
async fn refused_in_time(cluster: &Cluster) {
    let started = Instant::now();
    let error = cluster.pods().wishes(&stranger("unknown")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(started.elapsed() < IN_TIME, "it took {:?}", started.elapsed());
    assert_eq!(cluster.pods().gone(&stranger("unknown")).await, None);
}

async fn at_start(world: &World) {
    let admin = world.admin().await;
    let proxy = Proxy::start(world.server().port, Way::Cut).await;
    let cluster = connect(world, "patient", &proxy).await;
    cluster.set_readiness(Readiness::Ready);
    refused_in_time(&cluster).await;
    assert_eq!(*cluster.node_subnet().borrow(), NodeSubnet::Unknown);
    let mut reach = cluster.reach();
    reach.wait_for(|reach| *reach == Reach::Away).await.unwrap();
    assert_eq!(cluster.uid().await.unwrap_err().kind(), ErrorKind::Transient);

    make_node(&admin, "patient", json!({ "taints": [] }), &[]).await;
    let pod = make_pod(&admin, "patient", "waited-for", &[]).await;
    proxy.set(Way::Open);
    reach.wait_for(|reach| *reach == Reach::Answers).await.unwrap();
    cluster.pods().wishes(&pod).await.unwrap();
    let nodes: Api<Node> = Api::all(admin);
    eventually("a ready node", || async {
        let conditions = nodes.get("patient").await.unwrap().status?.conditions?;
        conditions.into_iter().find(|is| is.reason.as_deref() == Some("HostnicReady"))
    })
    .await;
    cluster.stop().await;
}

async fn stalled(world: &World) {
    let admin = world.admin().await;
    let proxy = Proxy::start(world.server().port, Way::Open).await;
    let cluster = connect(world, "slow", &proxy).await;
    let known = make_pod(&admin, "slow", "known", &[]).await;
    cluster.pods().wishes(&known).await.unwrap();
    for way in [Way::Stalled, Way::Slow(Duration::from_secs(2))] {
        proxy.set(way);
        cluster.pods().wishes(&known).await.unwrap();
        refused_in_time(&cluster).await;
        // A new connection, as at a start of the daemon, meets the same.
        let started_now = connect(world, "slow", &proxy).await;
        refused_in_time(&started_now).await;
        proxy.set(Way::Open);
        started_now.pods().wishes(&known).await.unwrap();
        started_now.stop().await;
    }
    let later = make_pod(&admin, "slow", "later", &[]).await;
    cluster.pods().wishes(&later).await.unwrap();
    cluster.stop().await;
}

async fn killed(world: &World) {
    let admin = world.admin().await;
    let proxy = Proxy::start(world.server().port, Way::Open).await;
    let cluster = connect(world, "orphan", &proxy).await;
    let directory = cluster.pods();
    let stays = make_pod(&admin, "orphan", "stays", &[]).await;
    let goes = make_pod(&admin, "orphan", "goes", &[]).await;
    directory.wishes(&stays).await.unwrap();
    directory.wishes(&goes).await.unwrap();

    world.server().kill_api();
    directory.wishes(&stays).await.unwrap();
    refused_in_time(&cluster).await;

    // While this node sees nothing, the world goes on: what it missed is not in the new server's memory.
    proxy.set(Way::Cut);
    world.server().start_api().unwrap();
    world.ready().await;
    remove_pod(&admin, "goes").await;
    let comes = make_pod(&admin, "orphan", "comes", &[(annotation::TYPE, "veth")]).await;
    world.server().kill_api();
    world.server().start_api().unwrap();
    world.ready().await;
    assert_eq!(directory.gone(&goes).await, Some(false), "what was known holds as long as nothing else is");
    proxy.set(Way::Open);
    eventually("the end of the pod that was deleted meanwhile", || async {
        (directory.gone(&goes).await == Some(true)).then_some(())
    })
    .await;
    assert!(directory.wishes(&comes).await.unwrap().datapath.is_some());
    directory.wishes(&stays).await.unwrap();
    cluster.stop().await;
}
