//! Network policies hear of pods' addresses, by Calico's annotations.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::ErrorKind;
use hostnic_core::attachment::PodRef;
use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::pods::PodDirectory;
use hostnic_kube::{Cluster, Deadlines};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::proxy::{Proxy, Way};
use crate::rights::NODE;
use crate::rules::audited;
use crate::told::annotations;
use crate::trial;
use crate::world::{World, eventually, make_pod, remove_pod};

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "calico_hears_of_an_address_by_one_request", |world| async move { once(&world).await }),
        trial(world, "calico_never_hears_of_another_pod_of_the_name", |world| async move {
            replaced(&world).await;
        }),
        trial(world, "calico_hears_later_what_could_not_be_told", |world| async move { later(&world).await }),
    ]
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 9, 0, last])
}

/// Whether both annotations say this address, and nothing else is said.
async fn says(world: &World, pod: &PodRef, last: u8) -> bool {
    let names = ["cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs"];
    let value = format!("10.9.0.{last}/32");
    annotations(&world.admin().await, &pod.name).await
        == names.map(|name| (name.to_owned(), value.clone())).into()
}

/// What this node's account asked for and has an answer to, but for what it follows.
fn requests(world: &World) -> Vec<Value> {
    audited(world, &NODE).into_iter().filter(|entry| entry["verb"] != "watch").collect()
}

async fn once(world: &World) {
    let admin = world.admin().await;
    let cluster = world.connect("felix").await;
    let (directory, calico) = (cluster.pods(), cluster.calico());
    let pod = make_pod(&admin, "felix", "guarded", &[]).await;
    directory.wishes(&pod).await.unwrap();
    // What a node asks for at its start is over when it is known that it has no object.
    eventually("nothing is asked", || async {
        let before = requests(world).len();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (requests(world).len() == before).then_some(())
    })
    .await;
    let before = requests(world).len();
    directory.wishes(&pod).await.unwrap();
    calico.tell(&pod, address(4)).await.unwrap();
    assert!(says(world, &pod, 4).await);
    let asked = eventually("the request is in the log", || async {
        let asked = requests(world).split_off(before);
        (!asked.is_empty()).then_some(asked)
    })
    .await;
    let told: Vec<_> = asked.iter().map(|entry| (&entry["verb"], &entry["objectRef"]["name"])).collect();
    assert_eq!(told, [(&"patch".into(), &"guarded".into())], "and nothing else");
    // Its next sandbox has another one.
    calico.tell(&pod, address(5)).await.unwrap();
    calico.tell(&pod, address(5)).await.unwrap();
    assert!(says(world, &pod, 5).await);
    cluster.stop().await;
}

/// A node that hears late, or not at all, by this way.
async fn far(world: &World, node: &str, proxy: &Proxy) -> Cluster {
    let mut config = world.config(node, proxy.port);
    config.deadlines =
        Deadlines { request: Duration::from_millis(700), pod_watch: Duration::from_millis(300) };
    Cluster::connect(config).await.unwrap()
}

async fn replaced(world: &World) {
    let admin = world.admin().await;
    let proxy = Proxy::start(world.server().port, Way::Open).await;
    let cluster = far(world, "felix2", &proxy).await;
    let calico = cluster.calico();
    let pod = make_pod(&admin, "felix2", "twice", &[]).await;
    cluster.pods().wishes(&pod).await.unwrap();
    // What the watch would show stays away while another pod gets the name.
    proxy.set(Way::Cut);
    remove_pod(&admin, "twice").await;
    let next = make_pod(&admin, "felix2", "twice", &[]).await;
    proxy.set(Way::Open);
    let error = calico.tell(&pod, address(6)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain());
    assert!(annotations(&admin, "twice").await.is_empty());
    // Once that is known, nobody tells it later.
    calico.tell_later(&pod, address(6));
    cluster.pods().wishes(&next).await.unwrap();
    assert_eq!(calico.tell(&pod, address(6)).await.unwrap_err().kind(), ErrorKind::Cancelled);
    calico.tell(&next, address(7)).await.unwrap();
    assert!(says(world, &next, 7).await);
    remove_pod(&admin, "twice").await;
    let gone = calico.tell(&next, address(8)).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Cancelled, "{}", gone.chain());
    cluster.stop().await;
}

async fn later(world: &World) {
    let admin = world.admin().await;
    let proxy = Proxy::start(world.server().port, Way::Open).await;
    let cluster = far(world, "felix3", &proxy).await;
    let calico = cluster.calico();
    let [late, newer] = [("late", 9), ("newer", 10)];
    let mut pods = Vec::new();
    for (name, last) in [late, newer] {
        let pod = make_pod(&admin, "felix3", name, &[]).await;
        cluster.pods().wishes(&pod).await.unwrap();
        calico.tell(&pod, address(last)).await.unwrap();
        pods.push(pod);
    }
    // It may take longer than what nobody waits for.
    proxy.set(Way::Far(Duration::from_millis(1200)));
    calico.tell(&pods[0], address(11)).await.unwrap();
    assert!(says(world, &pods[0], 11).await);
    proxy.set(Way::Cut);
    for pod in &pods {
        let error = calico.tell(pod, address(12)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain());
        calico.tell_later(pod, address(12));
    }
    proxy.set(Way::Open);
    // What is told meanwhile is newer.
    calico.tell(&pods[1], address(13)).await.unwrap();
    eventually("what could not be told is told", || async { says(world, &pods[0], 12).await.then_some(()) })
        .await;
    assert!(says(world, &pods[1], 13).await);
    cluster.stop().await;
}
