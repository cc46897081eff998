//! The operations that the programmer is made of.

use hostnic_netlink::Connection;
use hostnic_netlink::link::LinkChange;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{World, ip};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("one_message_moves_renames_marks_and_sets_up_a_link", one_message)]
}

async fn one_message() {
    let world = World::new().await;
    let mac = world.plug("eth1", "52:54:00:00:00:01").await;
    let pod = world.pod("a").await;
    let node = Connection::open(&world.node.open().unwrap()).await.unwrap();
    let link = node.link_by_name("eth1").await.unwrap();
    assert_eq!(link.mac, Some(mac));

    let target = pod.open().unwrap();
    let change =
        LinkChange::new().move_to(&target).rename("eth0").alias("hello").mtu(1400).announce_addresses().up();
    node.change_link(link.index, change).await.unwrap();

    let moved = &ip(pod.path(), &["link", "show", "eth0"])[0];
    assert_eq!(moved["ifalias"], "hello");
    assert_eq!(moved["mtu"], 1400);
    assert!(moved["flags"].as_array().unwrap().contains(&"UP".into()), "{moved}");
}
