//! NICs that no record names: those of the Go versions and of lost stores, and those of others.

use std::time::Duration;

use hostnic_core::agent::{Agent, AgentConfig};
use hostnic_core::cloud::Nic;
use hostnic_core::id::NicId;
use hostnic_core::ledger::{NicRecord, NicState};
use hostnic_core::provider::NicAddresses;
use hostnic_core::sim::Fate;
use libtest_mimic::Trial;

use crate::host::{Host, PATIENCE};
use crate::lifecycle::gateway;
use crate::pod::Pod;
use crate::trial;
use crate::witness::{self, run};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("nics_of_the_go_version_are_taken_over_and_serve_pods", go_version),
        trial("a_nic_of_the_go_version_in_a_pod_is_left_alone_until_that_pod_is_gone", go_pod),
        trial("a_nic_of_ours_that_somebody_uses_in_the_node_is_quarantined", used_in_node),
        trial("nics_of_others_are_never_touched", others),
    ]
}

/// The Go versions' name for this node's NICs.
const GO: &str = "hostnic_i-1";

/// Makes a NIC behind the daemon's back.
fn make(world: &World, name: &str) -> Nic {
    let subnet = "vxnet-a".parse().unwrap();
    world.cloud.cloud().control().create_nics(&subnet, name, 1, &NicAddresses::Assigned(1)).unwrap().remove(0)
}

/// The same, plugged into the node.
async fn plugged(world: &World, host: &Host, name: &str) -> Nic {
    let nic = make(world, name);
    let control = world.cloud.cloud().control();
    let _job = control.attach_nics(host.instance(), std::slice::from_ref(&nic.id), Fate::Succeed).unwrap();
    host.until_back(&nic.mac.to_string()).await;
    // The link comes before the job's end.
    let told = async {
        while world.cloud.cloud().snapshot()[&nic.id].attachment.instance().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    nic
}

/// Takes away what a trial made, as its owner does.
async fn remove(world: &World, host: &Host, nics: &[NicId]) {
    let cloud = world.cloud.cloud();
    let _job = cloud.control().detach_nics(host.instance(), nics, Fate::Succeed).unwrap();
    let out = async {
        while nics.iter().any(|nic| cloud.snapshot()[nic].attachment.instance().is_some()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, out).await.unwrap();
    cloud.control().delete_nics(nics).unwrap();
}

/// A pool that takes what it sees at its word at once.
fn config(world: &World) -> AgentConfig {
    let mut config = world.config();
    config.pool.visibility = Duration::ZERO;
    config
}

fn record(agent: &Agent, nic: &Nic) -> Option<NicRecord> {
    agent.nics().into_iter().find(|own| own.id == nic.id)
}

async fn compare(host: &Host) {
    for _ in 0..2 {
        host.agent().compare_now().await.unwrap();
    }
}

fn rename(host: &Host, nic: &Nic, name: &str) {
    let link = witness::link_by_mac(host.netns(), &nic.mac.to_string()).unwrap();
    run(host.netns(), &["ip", "link", "set", "dev", link["ifname"].as_str().unwrap(), "name", name]);
}

async fn go_version() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&config(&world)).await;
    host.until_at_rest().await;
    host.stop().await;
    std::fs::remove_file(host.store()).unwrap();
    // As its DEL names links, as its veth mode does, and as a link comes.
    let mut found = Vec::new();
    for name in ["eth7", "hostnic_260", "ens11"] {
        let nic = plugged(&world, &host, GO).await;
        rename(&host, &nic, name);
        found.push(nic);
    }
    let stray = make(&world, GO);
    host.start(&world.cloud).await;
    compare(&host).await;
    for nic in &found {
        let own = record(host.agent(), nic).unwrap();
        assert_eq!((own.state, own.token), (NicState::Ready, None));
    }
    host.until("what was attached nowhere is deleted", |_| {
        !world.cloud.cloud().snapshot().contains_key(&stray.id)
    })
    .await;
    let mut pods = Vec::new();
    let mut waiting: Vec<String> = found.iter().map(|nic| nic.mac.to_string()).collect();
    while !waiting.is_empty() {
        let pod = host.pod(&format!("c{}", pods.len())).await;
        let given = pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
        pod.ping(gateway(given.address)).await;
        waiting.retain(|mac| *mac != given.mac);
        pods.push(pod);
        assert!(pods.len() < 20, "{waiting:?} are never given to a pod");
    }
    for pod in &pods {
        host.call("DEL", pod).succeeds().await;
    }
    world.end([host]).await;
}

async fn go_pod() {
    let mut world = World::new(1).await;
    let host = world.only_host(&config(&world)).await;
    let nic = plugged(&world, &host, GO).await;
    let mac = nic.mac.to_string();
    let pod = host.pod("of-the-go-version").await;
    rename(&host, &nic, "moving");
    run(host.netns(), &["ip", "link", "set", "dev", "moving", "netns", pod.path().to_str().unwrap()]);
    let address = format!("{}/24", nic.addresses[0]);
    for command in [
        &["ip", "link", "set", "dev", "moving", "name", "eth0"][..],
        &["ip", "address", "add", &address, "dev", "eth0"],
        &["ip", "link", "set", "dev", "eth0", "up"],
        &["ip", "route", "add", "default", "via", "192.168.50.1"],
    ] {
        run(pod.path(), command);
    }
    let before = witness::everything(pod.path());
    compare(&host).await;
    assert_eq!(record(host.agent(), &nic).unwrap().state, NicState::Quarantined);
    let listed = host.listed("nics").await;
    let row = listed.as_array().unwrap().iter().find(|row| row["mac"] == mac.as_str()).unwrap();
    assert_eq!(row["state"], "quarantined", "{row:#}");
    let mut pods: Vec<Pod> = Vec::new();
    for number in 0..4 {
        let next = host.pod(&format!("c{number}")).await;
        assert_ne!(next.agrees_with(&host.call("ADD", &next).succeeds().await).mac, mac);
        pods.push(next);
    }
    compare(&host).await;
    witness::assert_same(&before, &witness::everything(pod.path()), "the Go version's pod");
    pod.ping("192.168.50.1".parse().unwrap()).await;
    // Its DEL comes to us, who know nothing of it, and then its namespace ends.
    host.call("DEL", &pod).succeeds().await;
    pod.end();
    host.until_back(&mac).await;
    compare(&host).await;
    assert_eq!(record(host.agent(), &nic).unwrap().state, NicState::Ready);
    for pod in &pods {
        host.call("DEL", pod).succeeds().await;
    }
    world.end([host]).await;
}

async fn used_in_node() {
    let mut world = World::new(1).await;
    let host = world.only_host(&config(&world)).await;
    let nic = plugged(&world, &host, GO).await;
    // In one step, before the daemon looks: it may look at any time.
    rename(&host, &nic, "theirs");
    run(host.netns(), &["ip", "link", "set", "dev", "theirs", "up"]);
    compare(&host).await;
    let own = record(host.agent(), &nic).unwrap();
    let link = witness::link_by_mac(host.netns(), &nic.mac.to_string()).unwrap();
    assert_eq!((own.state, &link["ifname"]), (NicState::Quarantined, &"theirs".into()));
    // A person frees it: by setting it down, or by taking it out of the node.
    run(host.netns(), &["ip", "link", "set", "dev", "theirs", "down"]);
    compare(&host).await;
    assert_eq!(record(host.agent(), &nic).unwrap().state, NicState::Ready);
    world.end([host]).await;
}

async fn others() {
    let mut world = World::new(1).await;
    let host = world.only_host(&config(&world)).await;
    let mut attached = Vec::new();
    for name in ["web-server", "", "hostnic_i-2", "hostnic_i-2.abcdefghijkl", "hostnic", "my hostnic_i-1"] {
        attached.push(plugged(&world, &host, name).await);
    }
    let mut available = Vec::new();
    for name in ["web-server", "hostnic_i-2", "hostnic_vxnet-a", "nic of hostnic_i-1"] {
        available.push(make(&world, name));
    }
    let theirs = |all: &[Nic]| -> Vec<NicId> { all.iter().map(|nic| nic.id.clone()).collect() };
    let clouds = || {
        let now = world.cloud.cloud().snapshot();
        [&attached, &available]
            .map(|nics| theirs(nics).iter().map(|id| now.get(id).cloned()).collect::<Vec<_>>())
    };
    let links = || -> Vec<_> {
        let mac = |nic: &Nic| witness::link_by_mac(host.netns(), &nic.mac.to_string());
        attached.iter().map(mac).collect()
    };
    let before = (clouds(), links());
    let mut pods = Vec::new();
    for number in 0..4 {
        let pod = host.pod(&format!("c{number}")).await;
        let given = pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
        assert!(attached.iter().all(|nic| nic.mac.to_string() != given.mac));
        pods.push(pod);
        compare(&host).await;
    }
    for pod in &pods {
        host.call("DEL", pod).succeeds().await;
    }
    host.until_deleted().await;
    compare(&host).await;
    host.agent().clean(PATIENCE).await;
    assert_eq!((clouds(), links()), before, "nothing of others' was touched");
    assert!(attached.iter().chain(&available).all(|nic| record(host.agent(), nic).is_none()));
    remove(&world, &host, &theirs(&attached)).await;
    world.cloud.cloud().control().delete_nics(&theirs(&available)).unwrap();
    world.end([host]).await;
}
