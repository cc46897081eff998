//! GC: what no container holds any more goes, and only that.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::host::Host;
use crate::pod::Pod;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_gc_that_lists_nothing_frees_nothing", says_nothing),
        trial("a_gc_frees_what_is_not_listed_in_its_own_network_only", frees),
    ]
}

const KEY: &str = "cni.dev/valid-attachments";

fn held(host: &Host) -> Vec<String> {
    let mut keys: Vec<String> = host.leases().iter().map(|l| l.key.as_ref().unwrap().to_string()).collect();
    keys.sort();
    keys
}

async fn added(host: &Host, id: &str) -> Pod {
    let pod = host.pod(id).await;
    pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
    pod
}

async fn says_nothing() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = added(&host, "c1").await;
    let gc = host.call("GC", &pod);
    for call in [gc.clone(), gc.clone().with(KEY, Value::Null)] {
        call.succeeds().await;
        assert_eq!(held(&host), ["net/c1/eth0"]);
    }
    gc.with(KEY, json!([])).succeeds().await;
    assert!(pod.link("eth0").is_none());
    host.until_deleted().await;
    assert_eq!(held(&host), [""; 0]);
    pod.is_empty();
    world.end([host]).await;
}

async fn frees() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let kept = added(&host, "kept").await;
    let stale = added(&host, "stale").await;
    let gone = added(&host, "gone").await;
    // The same container name, in a namespace and a network of its own.
    let other = host.pod("other").await;
    let of_other = host.call("ADD", &other).set("CNI_CONTAINERID", "stale").with("name", json!("other"));
    other.agrees_with(&of_other.succeeds().await);
    gone.end();
    let gc = |network: &str, listed: Value| {
        host.call("GC", &kept).unset("CNI_NETNS").with("name", json!(network)).with(KEY, listed)
    };
    gc("net", json!([{"containerID": "kept", "ifname": "eth0"}, {"containerID": "stale", "ifname": "net1"}]))
        .succeeds()
        .await;
    host.until_deleted().await;
    assert_eq!(held(&host), ["net/kept/eth0", "other/stale/eth0"]);
    stale.is_empty();
    assert!(kept.link("eth0").is_some() && other.link("eth0").is_some());
    // As runtimes wrote it before the key had its present name.
    host.call("GC", &kept).with("cni.dev/attachments", json!([])).succeeds().await;
    gc("other", json!([])).succeeds().await;
    host.until_deleted().await;
    assert_eq!(held(&host), [""; 0]);
    world.end([host]).await;
}
