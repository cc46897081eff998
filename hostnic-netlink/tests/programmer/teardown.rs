//! Taking pods down.

use hostnic_core::RouteProgrammer;
use hostnic_core::attachment::NetnsPath;
use libtest_mimic::Trial;

use crate::setup::assert_freed;
use crate::trial;
use crate::world::{MAC, World, eventually, everything, ip, links, plan};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("teardown_gives_the_nic_back_down_and_bare", gives_back),
        trial("a_nic_can_be_used_again_after_teardown", used_again),
        trial("a_second_teardown_succeeds", twice),
        trial("teardown_succeeds_when_the_namespace_is_gone", namespace_gone),
        trial("teardown_finds_a_link_that_somebody_renamed", renamed),
        trial("teardown_finds_a_link_whose_mark_somebody_removed", unmarked),
        trial("teardown_leaves_alone_what_is_not_ours", not_ours),
        trial("teardown_by_mark_tells_which_nic_it_freed", by_mark),
        trial("nothing_of_ours_keeps_a_namespace_alive", freed_namespace),
    ]
}

async fn gives_back() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    programmer.teardown_pod(&plan).await.unwrap();
    assert_eq!(links(pod.path()), Vec::<String>::new());
    assert_freed(&world);
}

async fn used_again() {
    let (world, _pod, first, programmer) = World::with_a_pod().await;
    // The name that the NIC had in the pod is taken in the node.
    ip(world.node.path(), &["link", "add", "eth0", "type", "bridge"]);
    programmer.setup_pod(&first).await.unwrap();
    programmer.teardown_pod(&first).await.unwrap();
    let other = world.pod("other").await;
    let second = plan(&other, "c2", MAC);
    programmer.setup_pod(&second).await.unwrap();
    assert_eq!(programmer.check_pod(&second).await.unwrap(), []);
}

async fn twice() {
    let (world, _pod, plan, programmer) = World::with_a_pod().await;
    programmer.teardown_pod(&plan).await.unwrap();
    programmer.setup_pod(&plan).await.unwrap();
    programmer.teardown_pod(&plan).await.unwrap();
    programmer.teardown_pod(&plan).await.unwrap();
    assert_freed(&world);
}

async fn namespace_gone() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    pod.remove().unwrap();
    programmer.teardown_pod(&plan).await.unwrap();
    assert_eq!(programmer.teardown_marked(&plan.mark, &plan.netns).await.unwrap(), None);
    // A plain file in its place, as after a reboot, and then another namespace: neither is the pod's.
    std::fs::write(plan.netns.as_path(), "").unwrap();
    programmer.teardown_pod(&plan).await.unwrap();
    std::fs::remove_file(plan.netns.as_path()).unwrap();
    let _another = world.pod("pod").await;
    programmer.teardown_pod(&plan).await.unwrap();
}

async fn renamed() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    ip(pod.path(), &["link", "set", "eth0", "down"]);
    ip(pod.path(), &["link", "set", "eth0", "name", "mine"]);
    programmer.teardown_pod(&plan).await.unwrap();
    assert_eq!(links(pod.path()), Vec::<String>::new());
    assert_freed(&world);
}

async fn unmarked() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    ip(pod.path(), &["link", "set", "eth0", "alias", ""]);
    programmer.teardown_pod(&plan).await.unwrap();
    assert_freed(&world);
}

async fn not_ours() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    ip(pod.path(), &["link", "add", "eth0", "address", MAC, "type", "bridge"]);
    ip(pod.path(), &["link", "add", "eth1", "type", "veth", "peer", "name", "eth2"]);
    ip(pod.path(), &["link", "set", "eth1", "address", MAC]);
    ip(pod.path(), &["link", "set", "eth1", "alias", "hostnic:aaaaaaaaaaaaaaaaaaaa"]);
    let before = everything(pod.path());
    programmer.teardown_pod(&plan).await.unwrap();
    assert_eq!(programmer.teardown_marked(&plan.mark, &plan.netns).await.unwrap(), None);
    assert_eq!(everything(pod.path()), before);
}

async fn by_mark() {
    let (world, _pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    assert_eq!(programmer.teardown_marked(&plan.mark, &plan.netns).await.unwrap(), Some(plan.mac));
    assert_freed(&world);
    assert_eq!(programmer.teardown_marked(&plan.mark, &plan.netns).await.unwrap(), None);
    let nowhere = NetnsPath::new("/run/nowhere").unwrap();
    assert_eq!(programmer.teardown_marked(&plan.mark, &nowhere).await.unwrap(), None);
}

async fn freed_namespace() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    programmer.check_pod(&plan).await.unwrap();
    programmer.observe().await.unwrap();
    programmer.sandbox(&plan.netns).await.unwrap();
    pod.remove().unwrap();
    // The pair ends with the namespace that its one end is in, so its other end tells.
    eventually("the namespace ends", || links(world.outside.path()).is_empty()).await;
    drop(programmer);
}
