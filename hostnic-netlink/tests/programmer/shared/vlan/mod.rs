//! NICs that pods share in VLANs, and the node's own address on them by DHCP.

mod server;
mod stream;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use dhcproto::v4::MessageType;
use hostnic_core::RouteProgrammer;
use hostnic_core::id::MacAddr;
use hostnic_core::route::{SharedNicPlan, SharedRoutes};
use libtest_mimic::Trial;
use tokio::time::{Instant, sleep};

use super::world::{Node, Pod, Vpc};
use crate::trial;
use crate::veth::world::{PORT, sh, talk, text};
use server::{Mood, Seen, Server};
use stream::Stream;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("pods_of_a_vlan_keep_their_traffic_whatever_becomes_of_the_nodes_lease", lease),
        trial("a_pods_address_is_never_the_nodes_own_whatever_a_server_says", || taken(true)),
        trial("an_address_of_another_nodes_pod_is_never_the_nodes_own", || taken(false)),
        trial("what_a_vlan_has_no_route_to_goes_by_the_operators_routes", || operators_routes("b")),
        trial("a_vlans_pods_leave_by_their_nic_though_the_nodes_own_is_in_it_too", || operators_routes("a")),
    ]
}

/// How long a lease is: 20 s where HOSTNIC_SCALE is 1, and never less than 4.
fn lease_time() -> Duration {
    let scale: f64 = std::env::var("HOSTNIC_SCALE").map_or(0.1, |scale| scale.parse().unwrap());
    Duration::from_secs_f64((20.0 * scale).max(4.0).round())
}

fn plan(node: &Node) -> SharedNicPlan {
    SharedNicPlan { routes: SharedRoutes::Vlan, ..node.nic_plan("a") }
}

async fn in_vlan(vpc: &Vpc, node: &mut Node) {
    vpc.attach(node, "a").await;
    node.programmer.setup_shared_nic(&plan(node)).await.unwrap();
}

/// The node's own address on the NIC, as everybody sees it.
fn own(node: &Node) -> Option<IpAddr> {
    let shown =
        text(&node.path, &["ip", "-4", "-o", "address", "show", "dev", "hostnic_a", "scope", "global"]);
    let mut words = shown.split_whitespace().skip_while(|word| *word != "inet").skip(1);
    words.next().map(|address| address.split_once('/').unwrap().0.parse().unwrap())
}

async fn within(longest: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < longest, "not within {longest:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Who is next asked has to be asked for first: nothing that is remembered helps.
fn forget(places: &[&Path]) {
    for place in places {
        sh(place, "ip neigh flush all");
    }
}

/// The node's routes to everywhere.
fn untouched(node: &Node) -> String {
    text(&node.path, &["ip", "route", "show", "default"])
}

/// What is in the NIC's table.
fn table(node: &Node) -> String {
    // A table that nobody ever put anything into is an error.
    text(&node.path, &["sh", "-c", "ip route show table 261 2>/dev/null || true"])
}

/// How long each renewal that was granted came after what was granted before.
fn renewals(seen: &[Seen]) -> Vec<Duration> {
    let granted: Vec<&Seen> = seen.iter().filter(|seen| seen.said == Some(MessageType::Ack)).collect();
    let pairs = granted.windows(2).filter(|pair| pair[1].own.is_some());
    pairs.map(|pair| pair[1].at - pair[0].at).collect()
}

async fn lease() {
    let (vpc, lease) = (Vpc::new().await, lease_time());
    let (mut one, mut two) = (vpc.node(10, "b").await, vpc.node(20, "b").await);
    let routes = [untouched(&one), untouched(&two)];
    let (desk, desk_address) = vpc.host("a", 30).await;
    let seconds = u32::try_from(lease.as_secs()).unwrap();
    let server = Server::start(&vpc, &desk, desk_address, 60, seconds).await;
    in_vlan(&vpc, &mut one).await;
    in_vlan(&vpc, &mut two).await;
    let pods = [one.started("a", 101).await, two.started("a", 102).await];
    let (host, host_address) = vpc.host("a", 31).await;
    let streams = streams(&pods, &host, host_address).await;
    let places = [one.path.clone(), two.path.clone(), host.clone()];
    let places: Vec<&Path> = places.iter().map(AsRef::as_ref).collect();
    let nics = [one.mac("a"), two.mac("a")];
    let both = |one: &Node, two: &Node| own(one).is_some() && own(two).is_some();

    within(lease, "both nodes have addresses", || both(&one, &two)).await;
    assert_eq!(talk(&one.path, &host, SocketAddr::new(host_address, PORT)).await, own(&one).unwrap());
    forget(&places);

    // Two renewals, each at about half of the lease.
    within(lease * 3, "two renewals", || renewals(&server.seen(nics[0])).len() >= 2).await;
    let after = renewals(&server.seen(nics[0]));
    let half = |after: &Duration| (lease.mul_f64(0.45)..lease.mul_f64(0.7)).contains(after);
    assert!(after.iter().all(half), "{after:?} of {lease:?}");
    forget(&places);

    // One that is refused: another address takes the place of the first.
    let refused = own(&one).unwrap();
    server.is(Mood::Refuses(nics[0]));
    within(lease * 2, "another address", || own(&one).is_some_and(|own| own != refused)).await;
    assert!(server.seen(nics[0]).iter().any(|seen| seen.said == Some(MessageType::Nak)));
    forget(&places);

    // The server is gone for a lease, and as long as it takes until no node has an address.
    server.is(Mood::IsGone);
    let gone = Instant::now();
    within(lease * 2, "no address", || own(&one).is_none() && own(&two).is_none()).await;
    let without = Instant::now();
    for node in [&one, &two] {
        assert_eq!(node.programmer.check_node(&node.plan()).await.unwrap(), []);
    }
    assert!(without - gone < lease + Duration::from_secs(2), "{:?} without a server", without - gone);
    forget(&places);
    let by_router = talk(&one.path, &host, SocketAddr::new(host_address, PORT)).await;
    assert_eq!(by_router, one.address, "the node itself does not depend on it");
    within(lease, "somebody else is asked", || asked_by_all(&server, &nics, gone)).await;
    server.is(Mood::Grants);
    within(lease * 2, "both nodes have addresses again", || both(&one, &two)).await;
    let again = without.elapsed();
    forget(&places);

    // Another daemon takes up what it finds.
    let kept = own(&one);
    let pods_of_one = [&pods[0]];
    one.restart().await;
    assert_eq!(own(&one), kept);
    let drifts = one.programmer.check_shared_nic(&plan(&one)).await.unwrap();
    assert_eq!(drifts.len(), 1, "nobody keeps the lease: {drifts:?}");
    let restarted = Instant::now();
    one.programmer.setup_shared_nic(&plan(&one)).await.unwrap();
    within(lease, "it asks for what it has", || {
        server.seen(nics[0]).iter().any(|seen| seen.at > restarted && seen.said == Some(MessageType::Ack))
    })
    .await;
    assert_eq!(own(&one), kept);
    for (node, pods) in [(&one, &pods_of_one[..]), (&two, &[&pods[1]])] {
        assert_eq!(node.programmer.check_shared_nic(&plan(node)).await.unwrap(), []);
        for pod in pods {
            assert_eq!(node.programmer.check_pod(&pod.plan).await.unwrap(), []);
        }
    }

    assert_eq!([untouched(&one), untouched(&two)], routes, "no server says where everywhere is");
    assert_eq!([table(&one), table(&two)], ["", ""]);
    let mut told = (0, Duration::ZERO);
    for stream in streams {
        let (sent, gap) = stream.end().await;
        told = (told.0 + sent, told.1.max(gap));
    }
    vpc.nothing_policed().await;
    eprintln!(
        "lease {lease:?}: renewals after {:?} of node 10 and {} of node 20, one refused, {:?} without an address: 0 of {} \
         packets lost, longest gap {:?}; police counters 0",
        renewals(&server.seen(nics[0])),
        renewals(&server.seen(nics[1])).len(),
        again,
        told.0,
        told.1
    );

    // A NIC that goes gives its address back.
    two.programmer.teardown_pod(&pods[1].plan).await.unwrap();
    two.programmer.teardown_shared_nic(nics[1]).await.unwrap();
    within(lease, "it is given back", || {
        server.seen(nics[1]).iter().any(|seen| seen.kind == MessageType::Release)
    })
    .await;
    let left = text(&two.path, &["sh", "-c", "ip rule; ip -4 route show table all; ip -4 address"]);
    for trace in ["10000002", "1540:", "hostnic_a", "10.1.0.6"] {
        assert!(!left.contains(trace), "{trace} in {left}");
    }
    vpc.nothing_policed().await;
}

/// Between the pods, and between them and a host of the VLAN, in both directions.
async fn streams(pods: &[Pod; 2], host: &Path, host_address: IpAddr) -> Vec<Stream> {
    let [one, two] = pods;
    let mut streams = Vec::new();
    for (n, (from, to, address)) in [
        (one.path(), two.path(), two.address()),
        (two.path(), one.path(), one.address()),
        (one.path(), host, host_address),
        (host, one.path(), one.address()),
        (two.path(), host, host_address),
        (host, two.path(), two.address()),
    ]
    .into_iter()
    .enumerate()
    {
        let at = SocketAddr::new(address, 9000 + u16::try_from(n).unwrap());
        streams.push(Stream::start(&format!("{} to {at}", from.display()), from, to, at).await);
    }
    streams
}

/// Each asked the server alone at first, and everybody later.
fn asked_by_all(server: &Server, nics: &[MacAddr], since: Instant) -> bool {
    let kinds = |nic: &MacAddr| -> BTreeSet<(bool, bool)> {
        let seen = server.seen(*nic).into_iter().filter(|seen| seen.at > since);
        seen.map(|seen| (seen.kind == MessageType::Request, seen.own.is_some())).collect()
    };
    nics.iter().all(|nic| kinds(nic) == BTreeSet::from([(true, true), (false, false)]))
}

/// The server gives away a pod's address, which is on this node or on another one.
async fn taken(here: bool) {
    let vpc = Vpc::new().await;
    let (mut node, mut other) = (vpc.node(10, "b").await, vpc.node(20, "b").await);
    vpc.share(&mut other, "a").await;
    let pod = if here { None } else { Some(other.started("a", 101).await) };
    in_vlan(&vpc, &mut node).await;
    let pod = match pod {
        Some(pod) => pod,
        None => node.started("a", 101).await,
    };
    let (desk, desk_address) = vpc.host("a", 30).await;
    let server = Server::start(&vpc, &desk, desk_address, 101, 60).await;
    let declined = || server.seen(node.mac("a")).iter().any(|seen| seen.kind == MessageType::Decline);
    within(Duration::from_secs(20), "the address is declined", declined).await;
    assert_eq!(own(&node), None);
    assert_eq!(talk(&desk, pod.path(), SocketAddr::new(pod.address(), PORT)).await, desk_address);
    assert_eq!(node.programmer.check_shared_nic(&plan(&node)).await.unwrap(), []);
}

/// What is done every minute: the way to the VLAN stays, and one that no NIC has goes.
async fn sets_the_node_up_again(node: &Node) {
    let rules = || text(&node.path, &["ip", "rule"]);
    assert_eq!(node.programmer.check_node(&node.plan()).await.unwrap(), []);
    let before = rules();
    sh(&node.path, "ip rule add from 10.9.0.0/24 lookup 10000002 pref 1540 protocol 104");
    assert_eq!(node.programmer.check_node(&node.plan()).await.unwrap().len(), 1);
    node.programmer.setup_node(&node.plan()).await.unwrap();
    assert_eq!(rules(), before);
    assert_eq!(node.programmer.check_shared_nic(&plan(node)).await.unwrap(), []);
}

async fn operators_routes(primary: &str) {
    let vpc = Vpc::new().await;
    let mut node = vpc.node(10, primary).await;
    in_vlan(&vpc, &mut node).await;
    let pod = node.started("a", 101).await;
    let ((near, near_address), (far, far_address)) = (vpc.host("a", 30).await, vpc.host("b", 31).await);
    // Without a server, and without a route of anybody's, a pod has its VLAN.
    assert_eq!(talk(pod.path(), &near, SocketAddr::new(near_address, PORT)).await, pod.address());
    sets_the_node_up_again(&node).await;
    sh(&node.path, "ip route add default via 10.1.0.1 dev hostnic_a onlink table 261");
    sh(&node.path, "ip route add 10.1.0.0/24 dev hostnic_a table 261");
    assert_eq!(talk(pod.path(), &far, SocketAddr::new(far_address, PORT)).await, pod.address());
    sh(&node.path, "ip route del 10.1.0.0/24 dev hostnic_a table 10000002");
    assert_ne!(node.programmer.check_shared_nic(&plan(&node)).await.unwrap(), []);
    node.programmer.setup_shared_nic(&plan(&node)).await.unwrap();
    assert_eq!(node.programmer.check_shared_nic(&plan(&node)).await.unwrap(), []);
    assert_eq!(table(&node).lines().count(), 2, "the operator's stay");
    for (place, address) in [(&far, far_address), (&near, near_address)] {
        assert_eq!(talk(pod.path(), place, SocketAddr::new(address, PORT)).await, pod.address());
    }
    vpc.nothing_policed().await;
}
