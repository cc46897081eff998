//! Where the links of NICs are, and what becomes of them.

use std::time::Duration;

use hostnic_core::ErrorKind;
use hostnic_core::sim::Plug;
use hostnic_netlink::link::Link;
use hostnic_netlink::nft::{Family, Nft, Table};
use hostnic_netlink::watch::{LinkEvent, LinkEvents};
use hostnic_netlink::{Connection, NamedNetns, Netns};
use libtest_mimic::Trial;
use tokio::time::{Instant, timeout};

use crate::trial;
use crate::world::{PATIENCE, PORT, World, instance, nic, talk};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_plugged_nic_is_a_link_that_is_down_with_its_mac_and_a_free_name", plugged),
        trial("plugging_in_again_is_success_and_in_another_instance_a_conflict", plugged_twice),
        trial("what_cannot_be_plugged_in_leaves_nothing_behind", not_plugged),
        trial("unplugging_takes_the_link_out_of_the_pod_that_has_it", unplugged),
        trial("a_nic_comes_back_to_its_node_when_the_namespace_of_its_pod_ends", comes_back),
        trial("shutdown_leaves_no_link_and_no_namespace", shutdown),
        trial("a_fabric_that_is_dropped_takes_its_links_and_namespaces_with_it", dropped),
    ]
}

async fn links(netns: &Netns) -> Vec<Link> {
    let connection = Connection::open(netns).await.unwrap();
    let mut links = connection.links().await.unwrap();
    links.retain(|link| link.name != "lo");
    connection.close().await;
    links
}

async fn names(netns: &Netns) -> Vec<String> {
    links(netns).await.into_iter().map(|link| link.name).collect()
}

async fn plugged() {
    let world = World::new().await;
    for number in [11, 12] {
        world.plug(1, &nic("a", number)).await;
    }
    let found: Vec<_> = links(&world.node(1)).await.into_iter().map(|l| (l.name, l.mac, l.up)).collect();
    let expected =
        [("eth0", 11), ("eth1", 12)].map(|(name, n)| (name.to_owned(), Some(nic("a", n).mac), false));
    assert_eq!(found, expected);
    world.fabric.unplug(&instance(1), &nic("a", 11)).await.unwrap();
    world.plug(1, &nic("b", 13)).await;
    assert_eq!(names(&world.node(1)).await, ["eth1", "eth0"]);
}

async fn plugged_twice() {
    let world = World::new().await;
    let nic = nic("a", 11);
    world.plug(1, &nic).await;
    world.plug(1, &nic).await;
    assert_eq!(names(&world.node(1)).await, ["eth0"]);
    let error = world.fabric.plug(&instance(2), &nic, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("i-1"), "{error}");
    // It is not in that instance, so there is nothing to take out of it.
    world.fabric.unplug(&instance(2), &nic).await.unwrap();
    assert_eq!(names(&world.node(1)).await, ["eth0"]);
}

async fn not_plugged() {
    let world = World::new().await;
    let vpc = Netns::open(world.fabric.vpc_path()).unwrap();
    let rules = Nft::new(vpc.try_clone().unwrap());
    let police = Table::new(Family::Bridge, "police");
    let before = (names(&vpc).await, rules.counters(&police, None).await.unwrap());
    let mut lost = nic("a", 11);
    lost.subnet = "nowhere".parse().unwrap();
    for (instance, nic) in [(instance(1), &lost), (instance(9), &nic("a", 11))] {
        let error = world.fabric.plug(&instance, nic, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert_eq!((names(&vpc).await, rules.counters(&police, None).await.unwrap()), before);
    world.plug(1, &nic("a", 11)).await;
    assert_ne!(rules.counters(&police, None).await.unwrap(), []);
}

async fn unplugged() {
    let world = World::new().await;
    let moved = nic("a", 11);
    let pod = world.pod(1, &moved).await;
    assert_eq!(names(&pod.netns).await, ["eth0"]);
    let mut news = LinkEvents::subscribe(&world.node(1)).await.unwrap();
    world.fabric.unplug(&instance(1), &moved).await.unwrap();
    assert_eq!(names(&pod.netns).await, Vec::<String>::new());
    world.fabric.unplug(&instance(1), &moved).await.unwrap();
    // The next NIC's link is the next that appears: the one that was unplugged did not come back.
    let next = nic("a", 12);
    world.plug(1, &next).await;
    assert_eq!(appeared(&mut news).await.mac, Some(next.mac));
}

async fn comes_back() {
    let world = World::new().await;
    let (lost, other) = (nic("a", 11), nic("a", 12));
    let other = world.pod(2, &other).await;
    let pod = world.pod(1, &lost).await;
    let (asker, ear) = (other.sender("10.1.0.12").await, pod.listen().await);
    talk(&asker, &ear, (pod.address, PORT).into()).await;
    drop(ear);
    let vpc = Netns::open(world.fabric.vpc_path()).unwrap();
    let mut ports = LinkEvents::subscribe(&vpc).await.unwrap();
    let mut node = LinkEvents::subscribe(&world.node(1)).await.unwrap();

    pod.end().await;
    let gone = async { while !matches!(ports.next().await.unwrap(), LinkEvent::Gone(_)) {} };
    timeout(PATIENCE, gone).await.unwrap();
    let since = Instant::now();
    let back = appeared(&mut node).await;
    assert!(since.elapsed() < Duration::from_secs(1), "it took {:?}", since.elapsed());
    assert_eq!((back.mac, back.up), (Some(lost.mac), false));

    // It is a NIC like before: it carries packets in the next pod, and can be unplugged.
    world.fabric.unplug(&instance(1), &lost).await.unwrap();
    let pod = world.pod(1, &lost).await;
    let ear = pod.listen().await;
    talk(&asker, &ear, (pod.address, PORT).into()).await;
    assert_eq!(world.drops().await, []);
}

async fn shutdown() {
    let world = World::new().await;
    let mine = NamedNetns::create(world.folder.join("mine")).await.unwrap();
    let mine_open = mine.open().unwrap();
    world.fabric.adopt_node(instance(3), mine.open().unwrap()).await.unwrap();
    let nic = nic("a", 13);
    world.plug(3, &nic).await;
    assert_eq!(names(&mine_open).await, ["eth0"]);
    let (ours, vpc) = (world.node(1), Netns::open(world.fabric.vpc_path()).unwrap());

    world.fabric.shutdown().await.unwrap();
    assert_eq!(names(&mine_open).await, Vec::<String>::new());
    assert!(!world.folder.join("vpc").exists());
    drop((ours, vpc));

    world.fabric.shutdown().await.unwrap();
    let error = world.fabric.plug(&instance(3), &nic, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("shut down"), "{error}");
}

async fn dropped() {
    let World { folder, fabric, .. } = World::new().await;
    let mine = NamedNetns::create(folder.join("mine")).await.unwrap();
    let netns = mine.open().unwrap();
    fabric.adopt_node(instance(3), mine.open().unwrap()).await.unwrap();
    let nic = nic("a", 13);
    fabric.plug(&instance(3), &nic, &nic.addresses).await.unwrap();
    let mut news = LinkEvents::subscribe(&netns).await.unwrap();
    drop(fabric);
    let gone = async { while !matches!(news.next().await.unwrap(), LinkEvent::Gone(_)) {} };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.join("vpc")).unwrap().count(), 0);
}

/// The next link that appears or changes.
async fn appeared(events: &mut LinkEvents) -> Link {
    let next = async {
        loop {
            if let LinkEvent::Changed(link) = events.next().await.unwrap() {
                return link;
            }
        }
    };
    timeout(PATIENCE, next).await.unwrap()
}
