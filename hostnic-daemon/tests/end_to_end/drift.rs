//! What others change in a pod: CHECK names it, and the comparison puts it right.

use libtest_mimic::Trial;
use serde_json::json;

use crate::host::Host;
use crate::pod::Pod;
use crate::trial;
use crate::witness::{assert_same, run};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_check_names_what_was_changed_and_the_comparison_puts_it_right", drift),
        trial("a_check_tolerates_what_later_plugins_added", additions),
        trial("a_check_with_another_result_fails", another_result),
    ]
}

/// A change behind the daemon's back, and what the CHECK must name.
struct Change {
    command: &'static str,
    named: &'static str,
}

const CHANGES: &[Change] = &[
    Change { command: "ip address flush dev eth0", named: "address" },
    Change { command: "ip link set eth0 down", named: "interface eth0" },
    Change { command: "ip route delete default", named: "default route" },
    Change { command: "ip route delete 10.96.0.0/12", named: "10.96.0.0/12" },
    Change { command: "ip link set eth0 mtu 1300", named: "mtu" },
    Change { command: "ip link set lo down", named: "lo" },
];

async fn drift() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let add = host
        .call("ADD", &pod)
        .with("mtu", json!(1400))
        .with("ipam", json!({"routes": [{"dst": "10.96.0.0/12", "gw": "192.168.50.9"}]}));
    let result = add.succeeds().await;
    let given = pod.agrees_with(&result);
    let check = host.call("CHECK", &pod).with("prevResult", result.clone());
    for Change { command, named } in CHANGES {
        check.succeeds().await;
        run(pod.path(), &command.split(' ').collect::<Vec<_>>());
        let message = check.fails(101).await;
        assert!(message.to_lowercase().contains(named), "after `{command}`: {message}");
        host.agent().compare_now().await.unwrap();
        check.succeeds().await;
        assert_eq!(pod.agrees_with(&result), given, "after `{command}`");
    }
    pod.ping(crate::lifecycle::gateway(given.address)).await;
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn with_a_pod(world: &mut World) -> (Host, Pod, serde_json::Value) {
    let config = world.config();
    let host = world.only_host(&config).await;
    let pod = host.pod("c1").await;
    let result = host.call("ADD", &pod).succeeds().await;
    host.until_at_rest().await;
    (host, pod, result)
}

async fn additions() {
    let mut world = World::new(1).await;
    let (host, pod, mut result) = with_a_pod(&mut world).await;
    run(pod.path(), &["ip", "address", "add", "10.0.0.9/32", "dev", "eth0"]);
    run(pod.path(), &["ip", "route", "add", "10.1.0.0/16", "dev", "eth0"]);
    result["ips"].as_array_mut().unwrap().push(json!({"interface": 0, "address": "10.0.0.9/32"}));
    result["interfaces"].as_array_mut().unwrap().push(json!({"name": "veth1"}));
    host.call("CHECK", &pod).with("prevResult", result).succeeds().await;
    host.call("DEL", &pod).succeeds().await;
    host.until_deleted().await;
    pod.is_empty();
    world.end([host]).await;
}

async fn another_result() {
    let mut world = World::new(1).await;
    let (host, pod, result) = with_a_pod(&mut world).await;
    let snapshot = host.snapshot();
    for (pointer, value) in
        [("/ips/0/address", "192.168.50.250/24"), ("/interfaces/0/mac", "52:54:00:00:00:99")]
    {
        let mut other = result.clone();
        *other.pointer_mut(pointer).unwrap() = json!(value);
        let message = host.call("CHECK", &pod).with("prevResult", other).fails(101).await;
        assert!(message.contains("prevResult"), "{message}");
    }
    let elsewhere = host.pod("elsewhere").await;
    let mut moved = result.clone();
    moved["interfaces"][0]["sandbox"] = json!(elsewhere.path());
    let check = host.call("CHECK", &elsewhere).set("CNI_CONTAINERID", "c1").with("prevResult", moved);
    assert!(check.fails(101).await.contains("another network namespace"));
    assert_same(&snapshot, &host.snapshot(), "nothing changes");
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}
