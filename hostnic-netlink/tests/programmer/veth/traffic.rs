//! What gets through, by which way, and that the cloud has nothing to complain of.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hostnic_core::RouteProgrammer;
use hostnic_core::route::{Hairpin, PodsTable};
use libtest_mimic::Trial;

use super::world::{PORT, Vpc, listen, next_heard, service, sh, speak, talk, text};
use crate::trial;
use crate::world::eventually;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("between_veth_pods_of_a_node_packets_stay_in_the_node", short_way),
        trial("with_hairpin_packets_between_veth_pods_go_round_by_their_nics", long_way),
        trial("hairpin_is_switched_on_and_off_under_veth_pods", switched),
        trial("no_packet_goes_astray_while_hairpin_is_switched", switched_under_load),
        trial("a_veth_pod_that_sends_as_another_is_not_heard", spoofing),
        trial("a_packet_to_a_veth_pod_that_is_gone_is_dropped_and_goes_nowhere", released),
        trial("a_veth_pod_with_hairpin_reaches_itself_by_a_service", itself),
        trial("a_veth_pod_reaches_another_by_a_service", service_of_another),
    ];
    for (primary, words) in [("a", "the_same"), ("b", "another")] {
        for (hairpin, mode) in [(Hairpin::Off, "without"), (Hairpin::On, "with")] {
            let name = |what| format!("{what}_{mode}_hairpin_and_the_node_in_{words}_subnet");
            let everybody = move || everybody(primary, hairpin, super::world::PODS);
            trials.push(trial(&name("veth_pods_reach_everybody"), everybody));
            let node_port = move || node_port(primary, hairpin);
            trials.push(trial(&name("veth_pods_answer_by_the_nodes_ports"), node_port));
        }
    }
    let main = || everybody("b", Hairpin::On, 254);
    trials.push(trial("veth_pods_reach_everybody_where_their_routes_are_in_the_main_table", main));
    trials
}

async fn everybody(primary: &str, hairpin: Hairpin, table: u32) {
    let vpc = Vpc::new(primary).await;
    let mut plan = vpc.node_plan(hairpin);
    if let hostnic_core::route::NodePlan::Veth(veth) = &mut plan {
        veth.pods = PodsTable::new(table).unwrap();
    }
    vpc.programmer.setup_node(&plan).await.unwrap();
    let mut pods = Vec::new();
    for (subnet, number) in [("a", 11), ("a", 12), ("b", 13)] {
        let mut pod = vpc.pod(subnet, number, hairpin).await;
        pod.veth().pods = PodsTable::new(table).unwrap();
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
        pods.push(pod);
    }
    assert_eq!(vpc.programmer.check_node(&plan).await.unwrap(), []);

    let same = vpc.host("a", 20).await;
    let other = vpc.host("b", 21).await;
    let mut places: Vec<(String, &Path, IpAddr)> = vec![
        ("host in a".into(), &same.0, same.1),
        ("host in b".into(), &other.0, other.1),
        ("node".into(), &vpc.node, vpc.address),
    ];
    places.extend(pods.iter().map(|pod| (pod.address().to_string(), pod.netns.path(), pod.address())));
    for (name, from, address) in &places {
        for (other, to, destination) in places.iter().filter(|(other, ..)| other != name) {
            let seen = talk(from, to, SocketAddr::new(*destination, PORT)).await;
            assert_eq!(seen, *address, "{other} hears {name}");
        }
    }
    vpc.nothing_policed().await;
}

/// Counts what comes in by a link for `PORT` and what is forwarded, as somebody else's rules do it.
pub(crate) fn count(node: &Path, link: &str) {
    sh(
        node,
        &format!(
            "nft 'add table ip witness; add counter ip witness came; add counter ip witness went; \
             add chain ip witness coming {{ type filter hook prerouting priority -300; }}; \
             add chain ip witness going {{ type filter hook forward priority 0; }}; \
             add rule ip witness coming iifname {link} udp dport {PORT} counter name came; \
             add rule ip witness going iifname {link} counter name went'"
        ),
    );
}

/// What was counted: came in, and was forwarded.
pub(crate) fn counted(node: &Path) -> (u64, u64) {
    let of = |name: &str| {
        let listed = text(node, &["nft", "list", "counter", "ip", "witness", name]);
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().unwrap().parse::<u64>().unwrap()
    };
    (of("came"), of("went"))
}

async fn short_way() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::Off, &[11, 12]).await;
    count(&vpc.node, "hostnic_312");
    let to = SocketAddr::new(pods[1].address(), PORT);
    assert_eq!(talk(pods[0].netns.path(), pods[1].netns.path(), to).await, pods[0].address());
    assert_eq!(counted(&vpc.node), (0, 0));
    vpc.nothing_policed().await;
}

async fn long_way() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::On, &[11, 12]).await;
    count(&vpc.node, "hostnic_312");
    let to = SocketAddr::new(pods[1].address(), PORT);
    assert_eq!(talk(pods[0].netns.path(), pods[1].netns.path(), to).await, pods[0].address());
    let (came, went) = counted(&vpc.node);
    assert!(came >= 1 && went >= 1, "{came} packets came by the NIC, {went} went on to the pod");
    // What the node itself sends takes the short way.
    talk(&vpc.node, pods[1].netns.path(), to).await;
    assert_eq!(counted(&vpc.node), (came, went));
    vpc.nothing_policed().await;
    let rules = text(&vpc.node, &["ip", "rule"]);
    let guide = rules.lines().filter(|line| line.contains("10.1.0.12") && line.contains("hostnic_"));
    assert_eq!(guide.count(), 1, "{rules}");
}

async fn switched() {
    let (vpc, mut pods) = Vpc::with_pods("b", Hairpin::Off, &[11, 12]).await;
    count(&vpc.node, "hostnic_312");
    let to = SocketAddr::new(pods[1].address(), PORT);
    let (off, mut round) = (vpc.whole(), 0);
    for hairpin in [Hairpin::On, Hairpin::Off, Hairpin::On] {
        let node = vpc.node_plan(hairpin);
        if hairpin == Hairpin::Off {
            vpc.programmer.setup_node(&node).await.unwrap();
        }
        for pod in &mut pods {
            pod.veth().hairpin = hairpin;
            vpc.programmer.setup_pod(&pod.plan).await.unwrap();
            // Between the steps everything goes on, whichever way.
            talk(vpc.node.as_path(), pod.netns.path(), SocketAddr::new(pod.address(), PORT)).await;
        }
        talk(pods[0].netns.path(), pods[1].netns.path(), to).await;
        vpc.programmer.setup_node(&node).await.unwrap();
        assert_eq!(vpc.programmer.check_node(&node).await.unwrap(), []);
        for pod in &pods {
            assert_eq!(vpc.programmer.check_pod(&pod.plan).await.unwrap(), []);
        }
        let before = counted(&vpc.node).0;
        talk(pods[0].netns.path(), pods[1].netns.path(), to).await;
        let came = counted(&vpc.node).0 - before;
        match hairpin {
            Hairpin::Off => assert_eq!((came, vpc.whole()), (0, off.clone())),
            Hairpin::On => round += came,
        }
    }
    assert!(round >= 2, "{round}");
    vpc.nothing_policed().await;
}

/// How often hairpin is switched on, and off again: at almost each time a packet would go astray.
const SWITCHES: usize = 10;

/// What a pod sends without a pause leaves by its NIC and by no other, where the cloud would not take it.
async fn switched_under_load() {
    let (vpc, mut pods) = Vpc::with_pods("b", Hairpin::Off, &[11]).await;
    let (_, far) = vpc.host("b", 40).await;
    let pod = &mut pods[0];
    let mouth = speak(pod.netns.path(), "0.0.0.0").await.into_std().unwrap();
    mouth.set_nonblocking(false).unwrap();
    mouth.connect((far, PORT)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let sender = thread::spawn(move || {
        let mut sent = 0_u64;
        while !told.load(Ordering::Relaxed) {
            // The far host has nobody at that port, and may say so.
            sent += u64::from(mouth.send(b"x").is_ok());
        }
        sent
    });
    for hairpin in [Hairpin::On, Hairpin::Off].repeat(SWITCHES) {
        let node = vpc.node_plan(hairpin);
        pod.veth().hairpin = hairpin;
        if hairpin == Hairpin::Off {
            vpc.programmer.setup_node(&node).await.unwrap();
        }
        vpc.programmer.setup_pod(&pod.plan).await.unwrap();
        vpc.programmer.setup_node(&node).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    assert!(sent > 1000, "{sent} packets are too few to say anything");
    vpc.nothing_policed().await;
}

async fn spoofing() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let (vpc, pods) = Vpc::with_pods("b", hairpin, &[11, 12]).await;
        let (host, address) = vpc.host("a", 20).await;
        let (liar, victim) = (pods[0].netns.path(), &pods[1]);
        for (place, address) in
            [(host.as_path(), address), (victim.netns.path(), victim.address()), (&vpc.node, vpc.address)]
        {
            let to = SocketAddr::new(address, PORT);
            talk(liar, place, to).await;
            let ear = listen(place).await;
            for lie in ["10.1.0.12", "10.1.0.99"].iter().filter(|lie| **lie != address.to_string()) {
                sh(liar, &format!("ip address add {lie}/32 dev lo"));
                let mouth = speak(liar, lie).await;
                for _ in 0..3 {
                    mouth.send_to(b"lie", to).await.unwrap();
                }
                sh(liar, &format!("ip address del {lie}/32 dev lo"));
            }
            speak(liar, "10.1.0.11").await.send_to(b"truth", to).await.unwrap();
            assert_eq!(next_heard(&ear).await, b"truth", "to {to} with hairpin {hairpin:?}");
        }
        vpc.nothing_policed().await;
    }
}

async fn released() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        let (vpc, pods) = Vpc::with_pods("b", hairpin, &[11]).await;
        let (host, _) = vpc.host("a", 20).await;
        let to = SocketAddr::new(pods[0].address(), PORT);
        // So the host knows where to send to, and the router too.
        talk(&host, pods[0].netns.path(), to).await;
        talk(&vpc.node, pods[0].netns.path(), to).await;
        let mut silenced = vpc.programmer.silence_pod(&pods[0].plan).await.unwrap().unwrap();
        count(&vpc.node, "hostnic_311");
        let mouth = speak(&host, "0.0.0.0").await;
        for sent in 1..=3 {
            mouth.send_to(b"late", to).await.unwrap();
            eventually("the packet is there", || counted(&vpc.node).0 >= sent).await;
            assert_eq!(counted(&vpc.node), (sent, 0));
        }
        silenced.give_back().await.unwrap();
        mouth.send_to(b"late", to).await.unwrap();
        assert_eq!(counted(&vpc.node), (3, 0));
        silenced.forget().await.unwrap();
        mouth.send_to(b"late", to).await.unwrap();
        assert_eq!(counted(&vpc.node), (3, 0));
        vpc.nothing_policed().await;
    }
}

async fn node_port(primary: &str, hairpin: Hairpin) {
    let (vpc, pods) = Vpc::with_pods(primary, hairpin, &[11, 12]).await;
    let same = vpc.host("a", 20).await;
    let other = vpc.host("b", 21).await;
    service(&vpc.node, &format!("{}:30000", vpc.address), pods[0].address());
    let to = SocketAddr::new(vpc.address, 30000);
    for (host, address) in [same, other] {
        assert_eq!(talk(&host, pods[0].netns.path(), to).await, address);
    }
    // Another pod of the same node, and the node itself.
    talk(pods[1].netns.path(), pods[0].netns.path(), to).await;
    talk(&vpc.node, pods[0].netns.path(), to).await;
    vpc.nothing_policed().await;
}

async fn itself() {
    let (vpc, pods) = Vpc::with_pods("b", Hairpin::On, &[11]).await;
    service(&vpc.node, "10.96.0.1:80", pods[0].address());
    let pod = pods[0].netns.path();
    talk(pod, pod, "10.96.0.1:80".parse().unwrap()).await;
    vpc.nothing_policed().await;
}

async fn service_by(hairpin: Hairpin) {
    let (vpc, pods) = Vpc::with_pods("b", hairpin, &[11, 12]).await;
    service(&vpc.node, "10.96.0.1:80", pods[1].address());
    let to: SocketAddr = "10.96.0.1:80".parse().unwrap();
    assert_eq!(talk(pods[0].netns.path(), pods[1].netns.path(), to).await, pods[0].address());
    talk(&vpc.node, pods[1].netns.path(), to).await;
    vpc.nothing_policed().await;
}

async fn service_of_another() {
    for hairpin in [Hairpin::Off, Hairpin::On] {
        service_by(hairpin).await;
    }
}
