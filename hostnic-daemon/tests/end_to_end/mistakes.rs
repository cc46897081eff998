//! Bad input: each mistake has the code that runtimes expect, names what is wrong, and changes nothing.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::host::Host;
use crate::plugin::Call;
use crate::pod::Pod;
use crate::trial;
use crate::witness::{self, assert_same};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("every_mistake_has_its_code_names_its_culprit_and_changes_nothing", mistakes)]
}

/// One mistake in a call that is right otherwise.
struct Mistake {
    command: &'static str,
    make: fn(Call) -> Call,
    code: u64,
    named: &'static str,
}

const fn mistake(command: &'static str, make: fn(Call) -> Call, code: u64, named: &'static str) -> Mistake {
    Mistake { command, make, code, named }
}

const ENVIRONMENT: &[Mistake] = &[
    mistake("ADD", |c| c.unset("CNI_COMMAND"), 4, "CNI_COMMAND"),
    mistake("ADD", |c| c.set("CNI_COMMAND", "add"), 4, "CNI_COMMAND"),
    mistake("ADD", |c| c.unset("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
    mistake("ADD", |c| c.unset("CNI_NETNS"), 4, "CNI_NETNS"),
    mistake("ADD", |c| c.unset("CNI_IFNAME"), 4, "CNI_IFNAME"),
    mistake("ADD", |c| c.set("CNI_CONTAINERID", "a/b"), 4, "CNI_CONTAINERID"),
    mistake("ADD", |c| c.set("CNI_CONTAINERID", "-a"), 4, "CNI_CONTAINERID"),
    mistake("ADD", |c| c.set("CNI_IFNAME", "sixteen-bytes-xx"), 4, "CNI_IFNAME"),
    mistake("ADD", |c| c.set("CNI_IFNAME", ".."), 4, "CNI_IFNAME"),
    mistake("ADD", |c| c.set("CNI_IFNAME", "eth 0"), 4, "CNI_IFNAME"),
    mistake("ADD", |c| c.set("CNI_NETNS", "run/netns/c1"), 4, "CNI_NETNS"),
    mistake("ADD", |c| c.set("CNI_ARGS", "K8S_POD_NAME=a;X=b"), 4, "CNI_ARGS"),
    mistake("ADD", |c| c.set("CNI_ARGS", "IgnoreUnknown=1;X"), 4, "CNI_ARGS"),
    mistake("DEL", |c| c.unset("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
    mistake("DEL", |c| c.set("CNI_IFNAME", "a:b"), 4, "CNI_IFNAME"),
    mistake("CHECK", |c| c.unset("CNI_NETNS"), 4, "CNI_NETNS"),
    mistake("GC", |c| c.unset("CNI_PATH"), 4, "CNI_PATH"),
];

const NAMESPACE: &[Mistake] = &[
    mistake("ADD", |c| c.set("CNI_NETNS", "/run/netns/none"), 8, "/run/netns/none"),
    mistake("ADD", |c| c.set("CNI_NETNS", "/proc/self/ns/net"), 8, "/proc/self/ns/net"),
    mistake("ADD", |c| c.set("CNI_NETNS", "/proc/self/status"), 8, "/proc/self/status"),
    mistake("ADD", |c| c.set("CNI_NETNS", "/dev/null"), 8, "/dev/null"),
    mistake("ADD", |c| c.set("CNI_NETNS", "/proc/self/ns/mnt"), 8, "/proc/self/ns/mnt"),
    mistake("ADD", |c| c.set("CNI_NETNS", "/run"), 8, "/run"),
];

const CONFIGURATION: &[Mistake] = &[
    mistake("ADD", |c| c.stdin(""), 6, "JSON"),
    mistake("ADD", |c| c.stdin("{\"name\":"), 6, "JSON"),
    mistake("DEL", |c| c.stdin("[]"), 6, "JSON"),
    mistake("ADD", |c| c.with("cniVersion", json!("1.2.0")), 1, "1.2.0"),
    mistake("ADD", |c| c.with("cniVersion", json!(1)), 7, "cniVersion"),
    mistake("CHECK", |c| c.with("cniVersion", json!("0.3.1")), 1, "CHECK"),
    mistake("GC", |c| c.with("cniVersion", json!("1.0.0")), 1, "GC"),
    mistake("STATUS", |c| c.with("cniVersion", json!("1.0.0")), 1, "STATUS"),
    mistake("ADD", |c| c.without("name"), 7, "name"),
    mistake("ADD", |c| c.with("name", json!("a/b")), 7, "name"),
    mistake("DEL", |c| c.without("type"), 7, "type"),
    mistake("ADD", |c| c.with("socket", json!("hostnic.sock")), 7, "socket"),
    mistake("ADD", |c| c.with("timeout", json!(0)), 7, "timeout"),
    mistake("ADD", |c| c.with("timeout", json!("soon")), 7, "timeout"),
    mistake("ADD", |c| c.with("mtu", json!(67)), 7, "mtu"),
    mistake("ADD", |c| c.with("mtu", json!(65536)), 7, "mtu"),
    mistake("ADD", |c| c.with("mtu", json!(-1)), 7, "mtu"),
    mistake("ADD", |c| c.with("isGateway", json!("yes")), 7, "isGateway"),
    mistake("ADD", |c| c.with("prevResult", json!({"ips": 1})), 7, "prevResult"),
    mistake("CHECK", |c| c.without("prevResult"), 7, "prevResult"),
    mistake("GC", |c| c.with("cni.dev/valid-attachments", json!("all")), 7, "cni.dev/valid-attachments"),
    mistake("GC", |c| c.with("cni.dev/valid-attachments", json!([{"containerID": "a"}])), 7, "ifname"),
];

fn with_route(call: Call, route: Value) -> Call {
    call.with("ipam", json!({"routes": [{"dst": "10.96.0.0/12"}, route]}))
}

const ROUTES: &[Mistake] = &[
    mistake("ADD", |c| c.with("ipam", json!({"routes": "all"})), 7, "routes"),
    mistake("ADD", |c| with_route(c, json!({"gw": "192.168.50.9"})), 7, "ipam.routes[1].dst"),
    mistake("ADD", |c| with_route(c, json!({"dst": "10.0.0.0/33"})), 7, "ipam.routes[1].dst"),
    mistake("ADD", |c| with_route(c, json!({"dst": "10.0.0.0/8", "gw": "router"})), 7, "ipam.routes[1].gw"),
    mistake("ADD", |c| with_route(c, json!({"dst": "10.0.0.0/8", "gw": "fd00::1"})), 7, "ipam.routes[1].gw"),
    // Until a release keeps a NIC of the host's own in the subnet.
    mistake("ADD", |c| with_route(c, json!({"dst": "10.0.0.0/8", "gw": "0.0.0.0"})), 2, "10.0.0.0/8"),
];

async fn mistakes() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let [pod, running] = [host.pod("c1").await, host.pod("running").await];
    let result = host.call("ADD", &running).succeeds().await;
    host.until_at_rest().await;
    let before = everything(&host, [&pod, &running]);
    for Mistake { command, make, code, named } in
        [ENVIRONMENT, NAMESPACE, CONFIGURATION, ROUTES].into_iter().flatten()
    {
        // An ADD is of a new pod; what could be taken away is the running one's.
        let of = if *command == "ADD" { &pod } else { &running };
        let mut call = host.call(command, of).with("cni.dev/valid-attachments", json!([]));
        if *command == "CHECK" {
            call = call.with("prevResult", result.clone());
        }
        let call = make(call);
        let message = call.fails(*code).await;
        assert!(message.contains(named), "{call:?} does not name {named}: {message}");
        assert_same(&before, &everything(&host, [&pod, &running]), &format!("after {call:?}"));
    }
    let own = host.call("ADD", &pod).set("CNI_NETNS", host.netns());
    assert!(own.fails(8).await.contains("the node's own"));
    assert_same(&before, &everything(&host, [&pod, &running]), "after an ADD into the node");
    // The call that all mistakes were made in is right.
    for pod in [&pod, &running] {
        pod.agrees_with(&host.call("ADD", pod).succeeds().await);
        host.call("DEL", pod).succeeds().await;
    }
    world.end([host]).await;
}

fn everything(host: &Host, pods: [&Pod; 2]) -> BTreeSet<String> {
    let mut things = host.snapshot();
    for pod in pods {
        things.extend(witness::everything(pod.path()).iter().map(|thing| format!("{}: {thing}", pod.id())));
    }
    things
}
