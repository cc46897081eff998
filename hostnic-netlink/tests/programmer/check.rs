//! Comparing pods with their plans, and looking at the whole node.

use hostnic_core::RouteProgrammer;
use hostnic_core::route::{HostLink, MarkedLink};
use hostnic_netlink::Connection;
use libtest_mimic::Trial;

use crate::trial;
use crate::world::{MAC, World, ip, plan};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("check_tells_each_kind_of_drift", each_kind),
        trial("check_tells_that_the_interface_or_the_namespace_is_missing", all_missing),
        trial("observe_finds_free_nics_and_marked_links", observe),
        trial("lists_that_are_asked_for_at_the_same_time_are_all_given", many_lists),
    ]
}

async fn each_kind() {
    let cases: [(&[&[&str]], &[&str]); 8] = [
        (&[&["link", "set", "lo", "down"]], &["interface lo: down"]),
        (&[&["link", "set", "eth0", "mtu", "1300"]], &["interface eth0: MTU is 1300, not 1400"]),
        (&[&["link", "set", "eth0", "alias", ""]], &["interface eth0: our mark is missing"]),
        (&[&["link", "set", "eth0", "name", "x"]], &["interface eth0: renamed to x"]),
        (
            &[&["link", "set", "eth0", "address", "52:54:00:00:00:02"]],
            &["interface eth0: MAC address is 52:54:00:00:00:02, not 52:54:00:00:00:01"],
        ),
        (&[&["route", "del", "10.10.0.0/16"]], &["route 10.10.0.0/16 via 192.168.50.9: missing"]),
        (
            &[&["route", "replace", "default", "via", "192.168.50.2"]],
            &["default route via 192.168.50.1: missing"],
        ),
        (
            &[&["address", "flush", "dev", "eth0"], &["link", "set", "eth0", "down"]],
            &[
                "address 192.168.50.4/24: missing",
                "interface eth0: down",
                "default route via 192.168.50.1: missing",
                "route 10.10.0.0/16 via 192.168.50.9: missing",
            ],
        ),
    ];
    for (damage, expected) in cases {
        let (_world, pod, plan, programmer) = World::with_a_pod().await;
        programmer.setup_pod(&plan).await.unwrap();
        assert_eq!(programmer.check_pod(&plan).await.unwrap(), []);
        for command in damage {
            ip(pod.path(), command);
        }
        let drifts = programmer.check_pod(&plan).await.unwrap();
        assert_eq!(drifts.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{damage:?}");
    }
}

async fn all_missing() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    let told = async || {
        let drifts = programmer.check_pod(&plan).await.unwrap();
        drifts.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told().await, ["interface eth0: missing"]);
    let path = pod.path().display().to_string();
    pod.remove().unwrap();
    assert_eq!(told().await, [format!("network namespace {path}: missing")]);
}

async fn observe() {
    let (world, pod, attached, programmer) = World::with_a_pod().await;
    let free = world.plug("eth2", "52:54:00:00:00:02").await;
    let used = world.plug("eth3", "52:54:00:00:00:03").await;
    ip(world.node.path(), &["address", "add", "10.0.0.1/24", "dev", "eth3"]);
    ip(world.node.path(), &["link", "add", "br0", "type", "bridge"]);
    let _empty = world.pod("empty").await;
    std::fs::write(pod.path().with_file_name("no-namespace"), "").unwrap();
    programmer.setup_pod(&attached).await.unwrap();
    programmer.setup_pod(&plan(&pod, "c1", MAC)).await.unwrap();

    let mut view = programmer.observe().await.unwrap();
    view.host.sort_by_key(|link| link.mac);
    let addresses = vec!["10.0.0.1/24".parse().unwrap()];
    let used = HostLink { in_use: true, addresses, ..HostLink::unused(used, "eth3") };
    assert_eq!(view.host, [HostLink::unused(free, "eth2"), used]);
    let marked = MarkedLink {
        mark: attached.mark,
        mac: attached.mac,
        ifname: attached.ifname,
        netns: attached.netns,
        sandbox: attached.sandbox,
        addresses: vec![attached.address],
        silenced: false,
        gateway: Some(attached.gateway),
        services: None,
    };
    assert_eq!(view.pods, [marked]);
}

async fn many_lists() {
    let world = World::new().await;
    for number in 10..30 {
        world.plug(&format!("n{number}"), &format!("52:54:00:00:00:{number}")).await;
    }
    let connection = Connection::open(&world.node.open().unwrap()).await.unwrap();
    // One that nobody waits for any more, as a rule in the middle of its answer.
    drop(futures::poll!(std::pin::pin!(connection.links())));
    let lists = futures::future::join_all((0..50).map(|_| connection.links())).await;
    assert!(lists.into_iter().all(|list| list.unwrap().len() == 21));
}
