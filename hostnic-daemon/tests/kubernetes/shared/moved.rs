//! An address that is leased anew on another node.

use std::net::Ipv4Addr;

use super::{apply, running};
use crate::pod::Wanted;
use crate::talk::{answered_after, ping};
use crate::world::World;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 222);

/// Has one pod after another with the same address, on both nodes. The VPC's router, by which a machine asks, remembers where
/// the address was.
pub(super) fn is_reached_at_once(world: &World, namespace: &str) {
    let host = &world.host;
    let wanted = |name, node| Wanted::new(name).on(node).addresses(&[ADDRESS]);
    apply(world, namespace, &wanted("before", "node1"));
    assert_eq!(running(world, namespace, "before").address, ADDRESS);
    assert_eq!(ping(&host.netns(), ADDRESS, 5, "0.1"), (5, 5));
    let before = neighbour(world).unwrap();
    // The second one waits for the address, which the first one has until its network is taken down.
    world.cluster.kubectl(&["-n", namespace, "delete", "pod", "--wait=false", "before"]).unwrap();
    apply(world, namespace, &wanted("after", "node2"));
    assert_eq!(neighbour(world).as_ref(), Some(&before), "it is remembered where the address was");
    let pod = running(world, namespace, "after");
    let answered = answered_after(&host.netns(), ADDRESS).expect("a ping is answered");
    assert_eq!((pod.address, pod.node.as_str()), (ADDRESS, "node2"));
    let after = neighbour(world).unwrap();
    println!(
        "    {ADDRESS} was at {before} and is at {after}: what is sent {answered} ms after the pod is Running is answered"
    );
    assert!(answered <= 1000 && before != after);
    assert_eq!(ping(&host.netns(), ADDRESS, 100, "0.01"), (100, 100));
}

/// At which MAC address the router believes the address to be.
fn neighbour(world: &World) -> Option<String> {
    let known = world.cloud.router(&["-4", "neighbour", "show", &ADDRESS.to_string()]);
    known.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).map(str::to_owned)
}
