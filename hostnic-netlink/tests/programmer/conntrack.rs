//! What connection tracking knows of pods that are gone, with `conntrack` as the witness.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use hostnic_core::RouteProgrammer;
use hostnic_core::point::{Point, Points, Probe, Side};
use hostnic_core::route::Hairpin;
use hostnic_netlink::conntrack::Conntrack;
use hostnic_netlink::{NetlinkProgrammer, Netns};
use libtest_mimic::Trial;

use crate::shared;
use crate::trial;
use crate::veth::world::{Vpc, sh, text};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("flows_that_name_an_address_are_forgotten_and_no_others", forgotten),
        trial("where_nothing_is_tracked_nothing_is_forgotten", untracked),
        trial("a_veth_pods_flows_end_with_it", ended_with_the_veth),
        trial("flows_of_a_pod_that_shared_a_nic_end_with_it", ended_beside_others),
        trial("a_passthrough_pods_flows_end_with_it", ended_with_the_nic),
        trial("flows_of_a_pod_whose_end_was_cut_are_forgotten_by_whoever_goes_on", cut),
        trial("pods_that_end_together_are_forgotten_in_one_walk", together),
    ]
}

/// Entries as `conntrack` makes them: where from, where to, and with whose address the answers come and go.
const OTHERS: [&str; 3] = [
    "-p tcp -s 10.1.0.12 -d 10.1.0.13 --sport 1 --dport 2 --state ESTABLISHED",
    "-p udp -s 10.1.0.1 -d 10.1.0.110 --sport 11 --dport 11",
    "-p icmp -s 10.11.0.1 -d 10.1.1.1 --icmp-type 8 --icmp-code 0 --icmp-id 11",
];
const OF_THE_POD: [&str; 7] = [
    "-p tcp -s 10.1.0.11 -d 10.1.0.13 --sport 1 --dport 2 --state ESTABLISHED",
    "-p tcp -s 10.1.0.13 -d 10.1.0.11 --sport 3 --dport 4 --state ESTABLISHED",
    "-p udp -s 10.1.0.11 -d 10.96.0.1 --sport 5 --dport 6",
    "-p icmp -s 10.1.0.11 -d 10.1.0.1 --icmp-type 8 --icmp-code 0 --icmp-id 7",
    // To it by a service, and from somebody else in its name.
    "-p udp -s 10.1.0.13 -d 10.96.0.1 --sport 7 --dport 8 -r 10.1.0.11 -q 10.1.0.13 --reply-port-src 9 --reply-port-dst 7",
    "-p udp -s 10.1.0.13 -d 10.1.0.1 --sport 9 --dport 10 -r 10.1.0.1 -q 10.1.0.11 --reply-port-src 10 --reply-port-dst 9",
    // To it, and sent on to somebody else.
    "-p udp -s 10.1.0.13 -d 10.1.0.11 --sport 11 --dport 12 -r 10.1.0.14 -q 10.1.0.13 --reply-port-src 13 --reply-port-dst 11",
];

/// Whether the witness is there; says so where it is not.
fn witness() -> bool {
    let there = Command::new("conntrack").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "`conntrack` is needed as the witness");
    if !there {
        eprintln!("\n*** SKIPPED: `conntrack` is needed as the witness; install the package conntrack ***\n");
    }
    there
}

fn make(node: &Path, flows: &[&str]) {
    for flow in flows {
        sh(node, &format!("conntrack -I {flow} --timeout 600"));
    }
}

/// The entries, without what changes by itself.
fn flows(node: &Path) -> Vec<String> {
    let listed = text(node, &["sh", "-c", "conntrack -L 2>/dev/null"]);
    // Protocol, its number, time left.
    let mut flows: Vec<String> =
        listed.lines().map(|line| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")).collect();
    flows.sort();
    flows
}

async fn forgotten() {
    if !witness() {
        return;
    }
    let (node, another) = (World::new().await, World::new().await);
    let [node, another] = [&node, &another].map(|world| world.node.path());
    make(node, &OTHERS);
    let others = flows(node);
    assert_eq!(others.len(), OTHERS.len(), "{others:#?}");
    make(node, &OF_THE_POD);
    make(another, &OF_THE_POD);
    let elsewhere = flows(another);
    let conntrack = Conntrack::new(Netns::open(node).unwrap());
    let pod: IpAddr = "10.1.0.11".parse().unwrap();
    assert_eq!(conntrack.forget(&["2001:db8::1".parse().unwrap()]).await.unwrap(), 0);
    assert_eq!(conntrack.forget(&[pod]).await.unwrap(), OF_THE_POD.len());
    assert_eq!(flows(node), others);
    assert_eq!(flows(another), elsewhere, "in another namespace");
    assert_eq!(conntrack.forget(&[pod]).await.unwrap(), 0);
}

async fn untracked() {
    let world = World::new().await;
    let conntrack = Conntrack::new(world.node.open().unwrap());
    assert_eq!(conntrack.forget(&["10.1.0.11".parse().unwrap()]).await.unwrap(), 0);
}

async fn ended_with_the_veth() {
    if !witness() {
        return;
    }
    for by_its_mark in [false, true] {
        let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11, 12]).await;
        let plan = &pods[0].plan;
        let before = flows(&vpc.node);
        make(&vpc.node, &OF_THE_POD);
        make(&vpc.node, &OTHERS);
        if by_its_mark {
            vpc.programmer.teardown_marked(&plan.mark, &plan.netns).await.unwrap();
        } else {
            let mut silenced = vpc.programmer.silence_pod(plan).await.unwrap().unwrap();
            silenced.give_back().await.unwrap();
            silenced.forget().await.unwrap();
        }
        assert_eq!(flows(&vpc.node).len(), before.len() + OTHERS.len());
    }
}

/// However its end came about. The NIC is not the pod's, and cannot tell whose flows are left.
async fn ended_beside_others() {
    if !witness() {
        return;
    }
    let (_vpc, node, _others) = shared::world::Vpc::with_pods(&[101]).await;
    let pod = node.started("a", 11).await;
    let plan = &pod.plan;
    let before = flows(&node.path);
    let restarted = || NetlinkProgrammer::new(Netns::open(&node.path).unwrap(), Vec::new());
    for (silenced, given_back, by_its_mark) in [
        (true, true, false),
        (false, false, false),
        (false, false, true),
        (true, false, true),
        (true, false, false),
    ] {
        node.programmer.setup_pod(plan).await.unwrap();
        make(&node.path, &OF_THE_POD);
        make(&node.path, &OTHERS);
        if silenced {
            let mut silenced = node.programmer.silence_pod(plan).await.unwrap().unwrap();
            if given_back {
                silenced.give_back().await.unwrap();
            }
        }
        assert_eq!(flows(&node.path).len(), before.len() + OTHERS.len() + OF_THE_POD.len());
        // Whoever goes on after a crash has the record, or only the mark.
        let next = restarted().await.unwrap();
        if by_its_mark {
            next.teardown_marked(&plan.mark, &plan.netns).await.unwrap();
        } else {
            next.teardown_pod(plan).await.unwrap();
        }
        let case = format!("{silenced} {given_back} {by_its_mark}");
        assert_eq!(flows(&node.path).len(), before.len() + OTHERS.len(), "{case}");
        sh(&node.path, "conntrack -F 2>/dev/null");
        node.is_sound(&[]).await;
    }
    node.programmer.setup_pod(plan).await.unwrap();
    make(&node.path, &OF_THE_POD);
    let mut silenced = node.programmer.silence_pod(plan).await.unwrap().unwrap();
    silenced.give_back().await.unwrap();
    silenced.forget().await.unwrap();
    assert_eq!(flows(&node.path), before);
}

async fn ended_with_the_nic() {
    if !witness() {
        return;
    }
    for silenced_before in [false, true] {
        let (world, _pod, mut plan, programmer) = World::with_a_pod().await;
        plan.address = "10.1.0.11/24".parse().unwrap();
        plan.gateway = "10.1.0.1".parse().unwrap();
        plan.routes.clear();
        programmer.setup_pod(&plan).await.unwrap();
        make(world.node.path(), &OF_THE_POD);
        make(world.node.path(), &OTHERS);
        if silenced_before {
            let mut silenced = programmer.silence_pod(&plan).await.unwrap().unwrap();
            silenced.give_back().await.unwrap();
            silenced.forget().await.unwrap();
        } else {
            programmer.teardown_pod(&plan).await.unwrap();
        }
        assert_eq!(flows(world.node.path()).len(), OTHERS.len());
    }
}

/// A DEL whose daemon was killed between the way back of its NIC and the end of its flows.
async fn cut() {
    if !witness() {
        return;
    }
    for by_its_mark in [false, true] {
        let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
        let plan = &pods[0].plan;
        let before = flows(&vpc.node);
        make(&vpc.node, &OF_THE_POD);
        let mut silenced = vpc.programmer.silence_pod(plan).await.unwrap().unwrap();
        silenced.give_back().await.unwrap();
        drop(silenced);
        assert_eq!(flows(&vpc.node).len(), before.len() + OF_THE_POD.len());
        let next = NetlinkProgrammer::new(Netns::open(&vpc.node).unwrap(), Vec::new()).await.unwrap();
        if by_its_mark {
            assert_eq!(next.teardown_marked(&plan.mark, &plan.netns).await.unwrap(), Some(plan.mac));
        } else {
            next.teardown_pod(plan).await.unwrap();
        }
        assert_eq!(flows(&vpc.node), before);
        make(&vpc.node, &OF_THE_POD);
        next.teardown_pod(plan).await.unwrap();
        assert_eq!(flows(&vpc.node), before, "also when nothing else is left of it");
    }
}

/// Counts walks.
#[derive(Debug, Default)]
struct Walks(AtomicUsize);

impl Probe for Walks {
    fn reached(&self, point: Point, side: Side) {
        if (point, side) == (Point::ForgetFlows, Side::After) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn together() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11, 12, 13, 14]).await;
    let walks = Arc::new(Walks::default());
    let node = Netns::open(&vpc.node).unwrap();
    let points = Points::probed(walks.clone());
    let programmer = NetlinkProgrammer::new_probed(node, Vec::new(), points).await.unwrap();
    let mut ended = Vec::new();
    for pod in &pods {
        let mut silenced = programmer.silence_pod(&pod.plan).await.unwrap().unwrap();
        silenced.give_back().await.unwrap();
        ended.push(silenced);
    }
    let forgotten = join_all(ended.iter_mut().map(|silenced| silenced.forget())).await;
    forgotten.into_iter().for_each(Result::unwrap);
    // Whoever comes while one is under way waits for the next.
    assert!(walks.0.load(Ordering::Relaxed) <= 2, "{walks:?}");
    assert_eq!(vpc.programmer.observe().await.unwrap().veths, []);
}
