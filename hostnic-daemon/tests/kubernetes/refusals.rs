//! What pods are told that cannot have an interface.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cloud::VXNETS;
use crate::daemon::{Settings, Way};
use crate::pod::Wanted;
use crate::process::{PATIENCE, within};
use crate::stage::Stage;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("pods_are_told_by_events_why_they_have_no_interface", told)]
}

const MOST: u32 = 2;

fn told(world: &'static World) {
    let usual = || Settings::new(Way::Veth { hairpin: false }, VXNETS[0]).in_cluster();
    let few = Settings { low: 0, high: MOST, most: MOST, ..usual() };
    let stage = Stage::set(world, &[few, Settings { low: 0, high: 3, ..usual() }]);
    let cloud = &world.cloud;
    let there = |name: &str| Wanted::new(name).on("node2");
    let [one, _] = stage.pods([Wanted::new("one").on("node1"), Wanted::new("two").on("node1")]);
    // It may come to be free, so it is waited for, a minute long; meanwhile others are told.
    let taken = there("taken").annotated("ip", &one.address.to_string());
    world.cluster.apply(&taken.object());
    let of_host = cloud.primary(&world.host);
    let nic = of_host["id"].as_str().unwrap();
    let outside = there("outside").annotated("vxnet", VXNETS[1]).annotated("ip", "10.9.9.9");
    for (wanted, reason, says) in [
        (Wanted::new("third").on("node1").tolerant(), "NoNicLeft", "all the 2 NICs"),
        (outside, "AddressOutsideSubnet", "10.9.9.9 cannot be a pod's"),
        (there("unknown").annotated("vxnet", "vxnet-zzzzzzz"), "UnknownSubnet", "vxnet-zzzzzzz"),
        (there("in-use").annotated("nic", nic), "NicInUse", "i-vpchost"),
        (there("wrong").annotated("ip", "fifty"), "InvalidRequest", "fifty"),
    ] {
        is_told(&stage, &wanted, reason, says);
    }
    is_told(&stage, &taken, "AddressTaken", "of instance i-node1");
    let quotas = |in_subnet: u32| json!({"nics_per_subnet": in_subnet, "nics_per_instance": 64});
    cloud.admin("POST", "/quotas", &quotas(0));
    is_told(&stage, &there("full").annotated("vxnet", VXNETS[2]), "SubnetFull", VXNETS[2]);
    cloud.admin("POST", "/quotas", &quotas(252));
    let busy = json!({"action": "CreateNics", "when": "always", "fault": {"ret-code": 5100}});
    cloud.admin("POST", "/faults", &busy);
    is_told(&stage, &there("throttled").annotated("vxnet", VXNETS[2]), "CloudThrottles", "too many");
    cloud.admin("DELETE", "/faults", &Value::Null);
    let events = world.cluster.kubectl(&["get", "events", "--field-selector=type=Warning"]).unwrap();
    println!("    kubectl get events:");
    let of_others =
        ["FailedScheduling", "NetworkNotReady", "FailedKillPod", "FailedCreatePodSandBox", "many-"];
    for line in events.lines().filter(|line| !of_others.iter().any(|other| line.contains(other))) {
        println!("      {line}");
    }
    println!("    kubectl describe pod third:");
    let described = world.cluster.kubectl(&["describe", "pod", "third"]).unwrap();
    for line in described.lines().skip_while(|line| !line.starts_with("Events:")) {
        println!("      {line}");
    }
    stage.end();
}

/// Makes the pod, and waits until an event gives this reason and says this.
fn is_told(stage: &Stage, wanted: &Wanted, reason: &str, says: &str) {
    let cluster = &stage.world.cluster;
    cluster.apply(&wanted.object());
    let of_pod = format!("--field-selector=involvedObject.name={},reason={reason}", wanted.name);
    within(PATIENCE * 2, &format!("{} is told {reason}", wanted.name), || {
        let told = cluster.get(&["events", &of_pod]);
        let message = told["items"].as_array()?.last()?["message"].as_str()?.to_owned();
        assert!(message.contains(says), "{}: {message}", wanted.name);
        Some(())
    });
}
