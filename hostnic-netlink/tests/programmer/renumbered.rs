//! Nodes whose rules an earlier version made, in other places.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use hostnic_core::RouteProgrammer;
use hostnic_core::route::{GatewayPlan, Hairpin, NodePlan};
use hostnic_netlink::NetlinkProgrammer;
use libtest_mimic::Trial;
use tokio::net::UdpSocket;

use crate::by_gateway::{self, SERVICE};
use crate::trial;
use crate::veth::world::{PATIENCE, PORT, exchange, listen, service, sh, socket, speak, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rules_in_the_places_of_an_earlier_version_are_brought_to_those_of_now", brought),
        trial("rules_of_others_in_the_places_of_an_earlier_version_stay", foreign),
        trial("no_packet_goes_astray_while_rules_are_brought_to_their_places", under_load),
    ]
}

/// Where an earlier version had what is in these places now.
const PLACES: [(&str, &str); 7] = [
    ("1519", "1527"),
    ("1520", "1528"),
    ("1521", "1530"),
    ("1522", "1531"),
    ("1523", "1532"),
    ("1524", "1538"),
    ("1525", "1539"),
];

/// What the earlier version did not have.
const NEW: &str = "1526";

/// Makes the node's rules those of the earlier version, each where it was, without a moment in which one is missing.
fn back_to_then(node: &Path) {
    let rules = text(node, &["ip", "rule"]);
    for (now, then) in PLACES.iter().rev() {
        for rule in rules.lines().filter_map(|line| line.strip_prefix(&format!("{now}:"))) {
            // It is listed as `proto 104` and given as `protocol 104`.
            sh(node, &format!("ip rule add pref {then} {}", rule.replace("proto ", "protocol ")));
        }
    }
    for now in [NEW].into_iter().chain(PLACES.iter().rev().map(|(now, _)| *now)) {
        sh(node, &format!("while ip rule del pref {now} 2>/dev/null; do :; done"));
    }
    let left = text(node, &["ip", "rule"]);
    assert!(PLACES.iter().all(|(now, _)| !left.contains(&format!("{now}:"))), "{left}");
}

/// The places of our rules.
fn places(node: &Path) -> Vec<String> {
    let rules = text(node, &["ip", "rule"]);
    let ours = rules.lines().filter(|line| line.contains("proto 104"));
    ours.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
}

/// One of the two halves of a node's set-up.
async fn set_up(node: &NetlinkProgrammer, first: bool, plan: &NodePlan, gateway: &GatewayPlan) {
    if first {
        node.setup_node(plan).await.unwrap();
    } else {
        node.setup_gateways(std::slice::from_ref(gateway)).await.unwrap();
    }
}

async fn brought() {
    for (hairpin, then) in [
        (Hairpin::Off, vec!["1527", "1532", "1533", "1534", "1535", "1536", "1538", "1539"]),
        (Hairpin::On, {
            vec!["1527", "1528", "1529", "1530", "1531", "1533", "1534", "1535", "1536", "1538", "1539"]
        }),
    ] {
        let (vpc, gateway, _veth, _pod) = by_gateway::world("b", hairpin).await;
        let (plan, gateways) = (vpc.node_plan(hairpin), [gateway.clone()]);
        let before = vpc.whole();
        for node_first in [true, false] {
            back_to_then(&vpc.node);
            assert_eq!(
                places(&vpc.node).iter().filter(|place| then.contains(&place.as_str())).count(),
                then.len()
            );
            assert_ne!(vpc.programmer.check_node(&plan).await.unwrap(), []);
            assert_ne!(vpc.programmer.check_gateways(&gateways).await.unwrap(), []);
            // Each of them brings all, so that neither comes before the other's.
            set_up(&vpc.programmer, node_first, &plan, &gateway).await;
            assert_eq!(vpc.programmer.check_gateways(&gateways).await.unwrap(), []);
            set_up(&vpc.programmer, !node_first, &plan, &gateway).await;
            assert_eq!(vpc.programmer.check_node(&plan).await.unwrap(), []);
            assert_eq!(vpc.whole(), before);
        }
        // What is planned no more goes from there as well.
        back_to_then(&vpc.node);
        vpc.programmer.setup_gateways(&[]).await.unwrap();
        vpc.programmer.setup_node(&NodePlan::Passthrough).await.unwrap();
        assert!(places(&vpc.node).iter().all(|place| ["1529", "1535", "1536"].contains(&place.as_str())));
    }
}

async fn foreign() {
    let (vpc, gateway, _veth, _pod) = by_gateway::world("b", Hairpin::Off).await;
    for (_, then) in PLACES {
        sh(&vpc.node, &format!("ip rule add pref {then} from 10.9.9.9 lookup 900"));
    }
    let before = vpc.whole();
    vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
    vpc.programmer.setup_gateways(&[gateway]).await.unwrap();
    assert_eq!(vpc.whole(), before);
}

/// How often the rules are brought: at almost each time a packet would go astray.
const TIMES: usize = 10;

/// What is asked by a gateway, and of a gateway by a pod of its node, without a pause: all of it is answered, by the right NIC.
async fn under_load() {
    let (vpc, gateway, veth, pod) = by_gateway::world("b", Hairpin::Off).await;
    let (far, address) = vpc.host("b", 40).await;
    service(&vpc.node, SERVICE, address);
    let own = SocketAddr::new(gateway.address.addr(), PORT);
    let over = Arc::new(AtomicBool::new(false));
    let streams = [
        stream(pod.netns.path(), listen(&far).await, SERVICE.parse().unwrap(), &over).await,
        stream(veth.netns.path(), socket(&vpc.node, own).await, own, &over).await,
    ];
    let plan = vpc.node_plan(Hairpin::Off);
    for node_first in [true, false].repeat(TIMES) {
        back_to_then(&vpc.node);
        set_up(&vpc.programmer, node_first, &plan, &gateway).await;
        set_up(&vpc.programmer, !node_first, &plan, &gateway).await;
    }
    over.store(true, Ordering::Relaxed);
    for stream in streams {
        let answered = stream.join().unwrap();
        assert!(answered > 1000, "{answered} answers are too few to say anything");
    }
    vpc.nothing_policed().await;
}

/// Asks `to` and waits for the answer, again and again until it is over; says how often.
async fn stream(asker: &Path, ear: UdpSocket, to: SocketAddr, over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let mouth = speak(asker, "0.0.0.0").await;
    mouth.connect(to).await.unwrap();
    // The first packets after a link came up may be lost.
    exchange(&mouth, &ear).await;
    let [mouth, ear] = [mouth, ear].map(|socket| {
        let socket = socket.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    });
    let over = Arc::clone(over);
    thread::spawn(move || {
        let answerer = thread::spawn(move || answer(&ear));
        let (mut answered, mut buffer) = (0, [0; 16]);
        while !over.load(Ordering::Relaxed) {
            mouth.send(b"question").unwrap();
            mouth.recv(&mut buffer).unwrap_or_else(|e| panic!("{to} is silent after {answered}: {e}"));
            answered += 1;
        }
        mouth.send(b"over").unwrap();
        answerer.join().unwrap();
        answered
    })
}

fn answer(ear: &std::net::UdpSocket) {
    let mut buffer = [0; 16];
    while let Ok((length, from)) = ear.recv_from(&mut buffer) {
        if buffer[..length] == *b"over" {
            return;
        }
        ear.send_to(b"answer", from).unwrap();
    }
}
