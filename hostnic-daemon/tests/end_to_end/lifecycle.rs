//! One pod from its ADD to its DEL, and DELs of what is there no more.

use std::net::Ipv4Addr;

use hostnic_core::RouteProgrammer;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::host::Host;
use crate::plugin::Call;
use crate::pod::Pod;
use crate::trial;
use crate::witness;
use crate::witness::assert_same;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_pod_has_what_its_add_answered_until_its_del", one_pod),
        trial("the_result_is_told_in_the_version_asked_for", versions),
        trial("a_second_add_of_the_same_pod_gives_the_same_answer", same_again),
        trial("a_del_without_the_namespaces_path_finds_it_by_the_records", del_without_netns),
        trial("a_del_after_a_restart_of_the_daemon_frees_the_address", del_after_restart),
        trial("a_del_after_the_records_were_lost_finds_the_nic_by_its_mark", del_after_loss),
        trial("a_pod_whose_del_was_answered_is_finished_though_the_records_are_lost", finished_after_loss),
        trial("a_pod_keeps_its_address_when_daemon_and_records_are_lost", kept_after_loss),
    ]
}

async fn one_pod() {
    let mut world = World::new(2).await;
    let config = world.config();
    let hosts = world.hosts(&config).await;
    let [pod, other] = [hosts[0].pod("c1").await, hosts[1].pod("c2").await];
    let result = hosts[0].call("ADD", &pod).succeeds().await;
    let given = pod.agrees_with(&result);
    answers_everything(&result, &pod, &given.mac, given.address);
    let elsewhere = other.agrees_with(&hosts[1].call("ADD", &other).succeeds().await);
    pod.ping(gateway(given.address)).await;
    pod.ping(elsewhere.address).await;
    other.ping(given.address).await;

    let check = hosts[0].call("CHECK", &pod).with("prevResult", result);
    assert_eq!(check.succeeds().await, Value::Null);
    let lease = &hosts[0].leases()[0];
    assert_eq!(lease.pod.as_ref().unwrap().to_string(), "default/c1");

    assert_eq!(hosts[0].call("DEL", &pod).succeeds().await, Value::Null);
    assert!(pod.link("eth0").is_none(), "its name is free when the DEL is answered");
    hosts[0].until_free(&given.mac).await;
    pod.is_empty();
    hosts[0].until_at_rest().await;
    let snapshot = hosts[0].snapshot();
    hosts[0].call("DEL", &pod).succeeds().await;
    hosts[0].call("DEL", &pod).set("CNI_CONTAINERID", "never-seen").succeeds().await;
    assert_same(&snapshot, &hosts[0].snapshot(), "a DEL of nothing changes nothing");
    assert!(check.fails(102).await.contains("net/c1/eth0"));
    hosts[1].call("DEL", &other).succeeds().await;
    world.end(hosts).await;
}

/// Every field that CNI 1.1.0 has for what we know.
fn answers_everything(result: &Value, pod: &Pod, mac: &str, address: Ipv4Addr) {
    let gateway = gateway(address).to_string();
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mac": mac, "mtu": 1500, "sandbox": pod.path()}],
        "ips": [{"interface": 0, "address": format!("{address}/24"), "gateway": gateway}],
        "routes": [{"dst": "0.0.0.0/0", "gw": gateway}],
    });
    assert_eq!(*result, expected);
}

/// The router has the first address of each subnet.
pub(crate) fn gateway(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 1)
}

async fn versions() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    for version in ["0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = host.pod(&format!("c-{version}")).await;
        let ask = |command| host.call(command, &pod).with("cniVersion", json!(version));
        let result = ask("ADD").succeeds().await;
        assert_eq!(result["cniVersion"], version);
        let address = if version == "0.2.0" { &result["ip4"]["ip"] } else { &result["ips"][0]["address"] };
        let lease = host.leases()[0].lease.address.to_string();
        assert_eq!(*address, lease, "{version}: {result:#}");
        ask("DEL").succeeds().await;
        host.until_deleted().await;
    }
    world.end([host]).await;
}

async fn same_again() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let first = host.call("ADD", &pod).succeeds().await;
    host.until_at_rest().await;
    let snapshot = host.snapshot();
    assert_eq!(host.call("ADD", &pod).succeeds().await, first);
    assert_same(&snapshot, &host.snapshot(), "nothing changes");
    pod.agrees_with(&first);

    let elsewhere = host.pod("c1-elsewhere").await;
    let refused = host.call("ADD", &elsewhere).set("CNI_CONTAINERID", "c1");
    let message = refused.fails(100).await;
    assert!(message.contains("net/c1/eth0") && message.contains("another network namespace"), "{message}");
    elsewhere.is_empty();
    assert_same(&snapshot, &host.snapshot(), "nothing changes");
    pod.agrees_with(&first);
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn added(host: &Host, pod: &Pod) -> String {
    pod.agrees_with(&host.call("ADD", pod).succeeds().await).mac
}

async fn del_without_netns() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    for without in [Call::unset, |call: Call, name: &str| call.set(name, "")] {
        let mac = added(&host, &pod).await;
        without(host.call("DEL", &pod), "CNI_NETNS").succeeds().await;
        host.until_free(&mac).await;
        pod.is_empty();
    }
    world.end([host]).await;
}

async fn del_after_restart() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let result = host.call("ADD", &pod).succeeds().await;
    let mac = pod.agrees_with(&result).mac;
    host.stop().await;
    host.start(&world.cloud).await;
    pod.agrees_with(&result);
    host.call("CHECK", &pod).with("prevResult", result.clone()).succeeds().await;
    assert_eq!(
        host.call("ADD", &pod).succeeds().await,
        result,
        "a reply that the restart may have swallowed"
    );
    host.call("DEL", &pod).succeeds().await;
    host.until_free(&mac).await;
    pod.is_empty();
    world.end([host]).await;
}

async fn del_after_loss() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    // Found by the pod's path in the DEL, and by the comparison when that comes first.
    for compared in [false, true] {
        let pod = host.pod("c1").await;
        let mac = added(&host, &pod).await;
        host.until_at_rest().await;
        host.stop().await;
        std::fs::remove_file(host.store()).unwrap();
        host.start_cold(&world.cloud).await;
        if compared {
            host.agent().compare_now().await.unwrap();
            assert_eq!(host.leases().len(), 1);
        }
        host.call("DEL", &pod).succeeds().await;
        host.until_deleted().await;
        pod.is_empty();
        assert!(witness::link_by_mac(host.netns(), &mac).is_some());
        host.agent().compare_now().await.unwrap();
        host.until_free(&mac).await;
    }
    world.end([host]).await;
}

async fn finished_after_loss() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let mac = added(&host, &pod).await;
    let plan = host.leases()[0].plan.clone();
    // A NIC on its way in would be found by a later comparison only.
    host.until_at_rest().await;
    host.stop().await;
    // As a daemon leaves it that is killed just after its answer.
    drop(host.programmer().await.silence_pod(&plan).await.unwrap().unwrap());
    std::fs::remove_file(host.store()).unwrap();
    host.start_cold(&world.cloud).await;
    host.agent().compare_now().await.unwrap();
    assert_eq!(host.leases(), []);
    pod.is_empty();
    host.until_free(&mac).await;
    world.end([host]).await;
}

async fn kept_after_loss() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let result = host.call("ADD", &pod).succeeds().await;
    let given = pod.agrees_with(&result);
    host.until_at_rest().await;
    host.stop().await;
    std::fs::remove_file(host.store()).unwrap();
    host.start(&world.cloud).await;
    host.agent().compare_now().await.unwrap();
    pod.agrees_with(&result);
    pod.ping(gateway(given.address)).await;
    let others = [host.pod("c2").await, host.pod("c3").await];
    for other in &others {
        assert_ne!(other.agrees_with(&host.call("ADD", other).succeeds().await).address, given.address);
    }
    for pod in others.iter().chain([&pod]) {
        host.call("DEL", pod).succeeds().await;
    }
    host.until_free(&given.mac).await;
    world.end([host]).await;
}
