//! What gets through, by which way, and that the cloud has nothing to complain of.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hostnic_core::RouteProgrammer;
use hostnic_core::route::SharedNicPlan;
use libtest_mimic::Trial;
use tokio::time::Instant;

use super::world::{Node, Vpc};
use crate::trial;
use crate::veth::traffic::{count, counted};
use crate::veth::world::{PORT, listen, next_heard, service, sh, speak, talk};
use crate::world::eventually;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("between_pods_that_share_a_nic_packets_stay_in_the_node", short_way),
        trial("a_pod_that_shares_a_nic_and_sends_as_another_is_not_heard", spoofing),
        trial("a_packet_to_a_pod_that_shared_a_nic_and_is_gone_is_dropped_and_goes_nowhere", released),
        trial("an_address_that_moved_to_another_node_answers_within_a_second", moved),
        trial("a_pod_that_shares_a_nic_reaches_others_and_itself_by_a_service", services),
        trial("nobody_is_heard_at_the_address_that_a_shared_nic_asks_from", sender),
        trial("a_shared_nic_asks_in_the_name_of_one_pod_or_of_another", borrowed_sender),
        trial("a_shared_nic_without_pods_has_no_address_and_serves_the_next_pod", no_sender),
    ];
    for (primary, words) in [("a", "the_same"), ("b", "another")] {
        let name = |what| format!("{what}_and_the_node_in_{words}_subnet");
        trials.push(trial(&name("pods_that_share_nics_reach_everybody"), move || everybody(primary)));
        trials
            .push(trial(&name("pods_that_share_nics_answer_by_the_nodes_ports"), move || node_port(primary)));
    }
    trials
}

/// All of them can talk with each other, and see each other's own address.
pub(super) async fn all_talk(places: &[(String, &Path, IpAddr)]) {
    for (name, from, address) in places {
        for (other, to, destination) in places.iter().filter(|(other, ..)| other != name) {
            let seen = talk(from, to, SocketAddr::new(*destination, PORT)).await;
            assert_eq!(seen, *address, "{other} hears {name}");
        }
    }
}

/// Two nodes with pods of two subnets each, and hosts of the VPC.
async fn everybody(primary: &str) {
    let vpc = Vpc::new().await;
    let (mut one, mut two) = (vpc.node(10, primary).await, vpc.node(20, primary).await);
    for node in [&mut one, &mut two] {
        vpc.share(node, "a").await;
        vpc.share(node, "b").await;
    }
    let pods = [
        one.started("a", 101).await,
        one.started("a", 102).await,
        one.started("b", 103).await,
        two.started("a", 104).await,
        two.started("b", 105).await,
    ];
    let (same, other) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
    let mut places: Vec<(String, &Path, IpAddr)> = vec![
        ("host in a".into(), &same.0, same.1),
        ("host in b".into(), &other.0, other.1),
        ("node 10".into(), &one.path, one.address),
        ("node 20".into(), &two.path, two.address),
    ];
    places.extend(pods.iter().map(|pod| (pod.address().to_string(), pod.path(), pod.address())));
    all_talk(&places).await;
    one.is_sound(&[&pods[0], &pods[1], &pods[2]]).await;
    two.is_sound(&[&pods[3], &pods[4]]).await;
    vpc.nothing_policed().await;
}

async fn short_way() {
    let (vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    count(&node.path, "hostnic_a");
    let to = SocketAddr::new(pods[1].address(), PORT);
    assert_eq!(talk(pods[0].path(), pods[1].path(), to).await, pods[0].address());
    assert_eq!(counted(&node.path), (0, 0));
    vpc.nothing_policed().await;
}

async fn spoofing() {
    let (vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let (host, address) = vpc.host("a", 30).await;
    let (liar, victim) = (pods[0].path(), &pods[1]);
    for (place, address) in
        [(host.as_path(), address), (victim.path(), victim.address()), (&node.path, node.address)]
    {
        let to = SocketAddr::new(address, PORT);
        talk(liar, place, to).await;
        let ear = listen(place).await;
        // Another pod, an address that nobody has, the one that the NIC asks from, and the node's.
        let lies = ["10.1.0.102", "10.1.0.120", "10.1.0.250", "10.2.0.10"];
        for lie in lies.iter().filter(|lie| **lie != address.to_string()) {
            sh(liar, &format!("ip address add {lie}/32 dev lo"));
            let mouth = speak(liar, lie).await;
            for _ in 0..3 {
                mouth.send_to(b"lie", to).await.unwrap();
            }
            sh(liar, &format!("ip address del {lie}/32 dev lo"));
        }
        speak(liar, "10.1.0.101").await.send_to(b"truth", to).await.unwrap();
        assert_eq!(next_heard(&ear).await, b"truth", "to {to}");
    }
    vpc.nothing_policed().await;
}

async fn released() {
    let (vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    let (host, _) = vpc.host("a", 30).await;
    let to = SocketAddr::new(pods[0].address(), PORT);
    // So the host knows where to send to, and the router too.
    talk(&host, pods[0].path(), to).await;
    talk(&node.path, pods[0].path(), to).await;
    let mut silenced = node.programmer.silence_pod(&pods[0].plan).await.unwrap().unwrap();
    count(&node.path, "hostnic_a");
    let mouth = speak(&host, "0.0.0.0").await;
    let mut sent = 0;
    let mut send = async || {
        for _ in 0..3 {
            mouth.send_to(b"late", to).await.unwrap();
            sent += 1;
            eventually("the packet is there", || counted(&node.path).0 >= sent).await;
            assert_eq!(counted(&node.path), (sent, 0));
        }
    };
    send().await;
    silenced.give_back().await.unwrap();
    send().await;
    silenced.forget().await.unwrap();
    send().await;
    // Nobody answers for it: who does not know where it was does not find out.
    sh(&host, &format!("ip neigh flush to {}", to.ip()));
    mouth.send_to(b"late", to).await.unwrap();
    // The other pod is reached as before, after that question went unanswered.
    talk(&host, pods[1].path(), SocketAddr::new(pods[1].address(), PORT)).await;
    let known = crate::world::ip(&host, &["neigh", "show", "to", &to.ip().to_string()]);
    assert!(known[0]["lladdr"].is_null(), "{known}");
    vpc.nothing_policed().await;
}

async fn moved() {
    let vpc = Vpc::new().await;
    let (mut one, mut two) = (vpc.node(10, "b").await, vpc.node(20, "b").await);
    vpc.share(&mut one, "a").await;
    vpc.share(&mut two, "a").await;
    let (same, other) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
    let neighbour = two.started("a", 102).await;
    let mut node: (&Node, &Node) = (&one, &two);
    let mut pod = node.0.started("a", 101).await;
    let to = SocketAddr::new(pod.address(), PORT);
    for _ in 0..4 {
        for asker in [&same.0, &other.0, &neighbour.path().to_path_buf()] {
            talk(asker, pod.path(), to).await;
        }
        node.0.programmer.teardown_pod(&pod.plan).await.unwrap();
        pod.netns.remove().unwrap();
        node = (node.1, node.0);
        pod = node.0.pod("a", 101).await;
        node.0.programmer.setup_pod(&pod.plan).await.unwrap();
        for asker in [&same.0, &other.0] {
            let start = Instant::now();
            talk(asker, pod.path(), to).await;
            let took = start.elapsed();
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    }
    vpc.nothing_policed().await;
}

async fn services() {
    let (vpc, node, pods) = Vpc::with_pods(&[101, 102]).await;
    service(&node.path, "10.96.0.1:80", pods[1].address());
    let to: SocketAddr = "10.96.0.1:80".parse().unwrap();
    assert_eq!(talk(pods[0].path(), pods[1].path(), to).await, pods[0].address());
    talk(pods[1].path(), pods[1].path(), to).await;
    talk(&node.path, pods[1].path(), to).await;
    vpc.nothing_policed().await;
}

async fn node_port(primary: &str) {
    let vpc = Vpc::new().await;
    let mut node = vpc.node(10, primary).await;
    vpc.share(&mut node, "a").await;
    let pods = [node.started("a", 101).await, node.started("a", 102).await];
    let (same, other) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
    service(&node.path, &format!("{}:30000", node.address), pods[0].address());
    let to = SocketAddr::new(node.address, 30000);
    for (host, address) in [same, other] {
        assert_eq!(talk(&host, pods[0].path(), to).await, address);
    }
    // Another pod of the same node, and the node itself.
    talk(pods[1].path(), pods[0].path(), to).await;
    talk(&node.path, pods[0].path(), to).await;
    vpc.nothing_policed().await;
}

/// The address is there to ask from; the node's programs are not to be found by it, past what guards the node's own.
async fn sender() {
    let (vpc, node, pods) = Vpc::with_pods(&[101]).await;
    let (host, _) = vpc.host("a", 30).await;
    talk(&host, pods[0].path(), SocketAddr::new(pods[0].address(), PORT)).await;
    let ear = listen(&node.path).await;
    let mouth = speak(&host, "0.0.0.0").await;
    let mac = node.mac("a");
    sh(&host, &format!("ip neigh replace 10.1.0.250 lladdr {mac} dev eth0 nud permanent"));
    mouth.send_to(b"lie", "10.1.0.250:7000").await.unwrap();
    mouth.send_to(b"truth", SocketAddr::new(node.address, PORT)).await.unwrap();
    assert_eq!(next_heard(&ear).await, b"truth");
    vpc.nothing_policed().await;
}

/// Who is asked remembers where the sender of the question is: so that has to be a pod that is there.
async fn borrowed_sender() {
    let (vpc, node, pods) = Vpc::with_pods(&[101, 102, 103]).await;
    let (host, address) = vpc.host("a", 30).await;
    let to = SocketAddr::new(address, PORT);
    for (asks, gone) in [(0, 1), (1, 2), (2, 0)] {
        let plan = SharedNicPlan { sender: Some(pods[asks].address()), ..node.nic_plan("a") };
        assert_ne!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
        node.programmer.setup_shared_nic(&plan).await.unwrap();
        assert_eq!(node.programmer.check_shared_nic(&plan).await.unwrap(), []);
        let seen = node.programmer.observe().await.unwrap();
        assert_eq!(seen.shared_nics[0].senders, [pods[asks].address()]);
        assert_eq!(seen.shared_nics[0].answers_for.len(), 3, "no answer goes with an address");
        for place in [&node.path, &host] {
            sh(place, "ip neigh flush all");
        }
        let quiet = pods[gone].address().to_string();
        for pod in pods.iter().filter(|pod| pod.address() != pods[gone].address()) {
            assert_eq!(node.programmer.check_pod(&pod.plan).await.unwrap(), []);
            assert_eq!(talk(pod.path(), &host, to).await, pod.address());
            talk(&host, pod.path(), SocketAddr::new(pod.address(), PORT)).await;
        }
        let known = crate::world::ip(&host, &["neigh", "show", "to", &quiet]);
        assert!(known[0]["lladdr"].is_null(), "nobody speaks in its name: {known}");
    }
    vpc.nothing_policed().await;
}

async fn no_sender() {
    let (vpc, node, pods) = Vpc::with_pods(&[101]).await;
    let (host, address) = vpc.host("b", 31).await;
    let to = SocketAddr::new(address, PORT);
    let lent = SharedNicPlan { sender: Some(pods[0].address()), ..node.nic_plan("a") };
    node.programmer.setup_shared_nic(&lent).await.unwrap();
    talk(pods[0].path(), &host, to).await;
    node.programmer.teardown_pod(&pods[0].plan).await.unwrap();
    let none = SharedNicPlan { sender: None, ..lent.clone() };
    node.programmer.setup_shared_nic(&none).await.unwrap();
    assert_eq!(node.programmer.check_shared_nic(&none).await.unwrap(), [], "its routes are there again");
    let seen = node.programmer.observe().await.unwrap();
    assert!(seen.shared_nics[0].senders.is_empty() && seen.shared_nics[0].answers_for.is_empty(), "{seen:?}");
    node.programmer.setup_shared_nic(&lent).await.unwrap();
    node.programmer.setup_pod(&pods[0].plan).await.unwrap();
    assert_eq!(talk(pods[0].path(), &host, to).await, pods[0].address());
    assert_eq!(node.programmer.check_shared_nic(&lent).await.unwrap(), []);
    vpc.nothing_policed().await;
}
