//! Interfaces in pods that are somebody else's.

use libtest_mimic::Trial;

use crate::trial;
use crate::witness::{self, assert_same, run};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("an_interface_of_that_name_is_an_error_and_stays_as_it_is", same_name),
        trial("a_second_interface_whose_default_route_is_taken_is_refused_and_undone", second_interface),
    ]
}

async fn same_name() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    // The pool does not make another while the first is tried.
    config.pool.max_nics = 1;
    let host = world.only_host(&config).await;
    let pod = host.pod("c1").await;
    run(pod.path(), &["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"]);
    run(pod.path(), &["ip", "address", "add", "10.0.0.1/24", "dev", "eth0"]);
    host.until_at_rest().await;
    let before = (witness::everything(pod.path()), witness::everything(host.netns()));
    let message = host.call("ADD", &pod).fails(100).await;
    assert!(message.contains("eth0") && message.contains(&pod.path().display().to_string()), "{message}");
    assert_eq!(host.leases(), []);
    // The runtime's DEL after a failed ADD.
    host.call("DEL", &pod).succeeds().await;
    assert_same(&before.0, &witness::everything(pod.path()), "the pod");
    assert_same(&before.1, &witness::everything(host.netns()), "the node");

    run(pod.path(), &["ip", "link", "delete", "eth0"]);
    pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn second_interface() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let first = host.call("ADD", &pod).succeeds().await;
    pod.agrees_with(&first);
    let before = witness::everything(pod.path());
    // Without rules by source its answers would leave by the first NIC, and the cloud would drop them.
    let refused = host.call("ADD", &pod).set("CNI_IFNAME", "net1").fails(100).await;
    assert!(refused.contains("route"), "{refused}");
    assert_eq!(host.leases().len(), 1);
    assert_same(&before, &witness::everything(pod.path()), "the pod");
    let conflict = host.call("ADD", &pod).set("CNI_CONTAINERID", "c2").fails(100).await;
    assert!(conflict.contains("eth0"), "{conflict}");
    host.call("DEL", &pod).set("CNI_IFNAME", "net1").succeeds().await;
    assert!(pod.link("net1").is_none());
    pod.agrees_with(&first);
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}
