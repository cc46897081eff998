//! What is dropped, and that it is counted once, at the right port, for the right reason.

use std::net::{IpAddr, SocketAddr};

use hostnic_core::ErrorKind;
use hostnic_core::id::MacAddr;
use hostnic_core::sim::Plug;
use hostnic_netlink::fabric::DropReason;
use hostnic_netlink::link::LinkChange;
use libtest_mimic::Trial;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::trial;
use crate::world::{PATIENCE, PORT, Pod, World, instance, nic, talk};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("frames_with_another_mac_are_dropped", another_mac),
        trial("packets_from_another_address_are_dropped", another_address),
        trial("arp_from_another_address_is_dropped", another_sender),
        trial("the_router_takes_nothing_from_outside_the_subnet", foreign_source),
        trial("new_sources_hold_at_once_and_what_was_counted_stays", new_sources),
        trial("what_was_counted_stays_when_the_nic_is_unplugged_and_plugged_in_again", history),
        trial("a_nic_that_may_forward_sends_from_any_address_until_it_may_no_more", forwarding),
        trial("a_source_of_ipv6_is_refused", ipv6_source),
    ]
}

/// Two pods in one subnet that have talked, so that they know each other.
struct Pair {
    world: World,
    liar: Pod,
    honest: Pod,
    /// Where the honest one listens.
    ear: UdpSocket,
}

impl Pair {
    async fn new() -> Self {
        let world = World::new().await;
        let liar = world.pod(1, &nic("a", 11)).await;
        let honest = world.pod(2, &nic("a", 12)).await;
        let ear = honest.listen().await;
        let pair = Self { world, liar, honest, ear };
        pair.honest_talk().await;
        assert_eq!(pair.world.drops().await, []);
        pair
    }

    async fn honest_talk(&self) {
        let mouth = self.liar.sender("10.1.0.11").await;
        talk(&mouth, &self.ear, self.to()).await;
    }

    fn to(&self) -> SocketAddr {
        SocketAddr::new(self.honest.address, PORT)
    }

    /// Makes sure that a true packet, sent after the lies, is the first that is heard.
    async fn only_truth_is_heard(&self) {
        let mouth = self.liar.sender("10.1.0.11").await;
        mouth.send_to(b"truth", self.to()).await.unwrap();
        assert_eq!(next_heard(&self.ear).await, b"truth");
    }

    async fn dropped(&self, reason: DropReason, packets: u64) {
        assert_eq!(self.world.drops().await, [("nic-a11".to_owned(), reason, packets)]);
    }
}

/// What is heard next, but for questions of an earlier talk that were asked more than once.
async fn next_heard(ear: &UdpSocket) -> Vec<u8> {
    loop {
        let mut buffer = [0; 16];
        let (length, _) = timeout(PATIENCE, ear.recv_from(&mut buffer)).await.unwrap().unwrap();
        if buffer[..length] != *b"question" {
            return buffer[..length].to_vec();
        }
    }
}

async fn another_mac() {
    let pair = Pair::new().await;
    let (liar, own) = (&pair.liar, nic("a", 11).mac);
    let mouth = liar.sender("10.1.0.11").await;
    let other: MacAddr = "52:54:00:ff:ff:ff".parse().unwrap();
    liar.connection.change_link(liar.link, LinkChange::new().mac(other)).await.unwrap();
    // A link that changes its address forgets its neighbours.
    liar.knows("10.1.0.12", nic("a", 12).mac).await;
    for _ in 0..3 {
        mouth.send_to(b"lie", pair.to()).await.unwrap();
    }
    liar.connection.change_link(liar.link, LinkChange::new().mac(own)).await.unwrap();
    liar.knows("10.1.0.12", nic("a", 12).mac).await;
    pair.only_truth_is_heard().await;
    // What else the kernel sent meanwhile, over IPv6, was counted with the lies.
    let drops = pair.world.drops().await;
    assert!(matches!(drops.as_slice(), [(nic, DropReason::SourceMac, 3..)] if nic == "nic-a11"), "{drops:?}");
}

async fn another_address() {
    let pair = Pair::new().await;
    pair.liar.knows("10.1.0.12", nic("a", 12).mac).await;
    pair.liar.add_address("10.1.0.99/32").await;
    let mouth = pair.liar.sender("10.1.0.99").await;
    for _ in 0..3 {
        mouth.send_to(b"lie", pair.to()).await.unwrap();
    }
    pair.only_truth_is_heard().await;
    pair.dropped(DropReason::Ipv4Source, 3).await;
}

async fn forwarding() {
    let pair = Pair::new().await;
    pair.liar.knows("10.1.0.12", nic("a", 12).mac).await;
    pair.liar.add_address("10.96.0.1/32").await;
    let mouth = pair.liar.sender("10.96.0.1").await;
    let own = "10.1.0.11".parse().unwrap();
    pair.world.fabric.set_sources(&nic("a", 11).id, &[own, "0.0.0.0".parse().unwrap()]).await.unwrap();
    mouth.send_to(b"another's", pair.to()).await.unwrap();
    assert_eq!(next_heard(&pair.ear).await, b"another's");
    pair.honest_talk().await;
    assert_eq!(pair.world.drops().await, []);
    pair.world.fabric.set_sources(&nic("a", 11).id, &[own]).await.unwrap();
    mouth.send_to(b"lie", pair.to()).await.unwrap();
    pair.only_truth_is_heard().await;
    pair.dropped(DropReason::Ipv4Source, 1).await;
}

async fn another_sender() {
    let pair = Pair::new().await;
    pair.liar.add_address("10.1.0.99/32").await;
    // Nobody has that address, and whoever asks for it does so in the name of the false one.
    let mouth = pair.liar.sender("10.1.0.99").await;
    mouth.send_to(b"lie", "10.1.0.77:7000").await.unwrap();
    let asked = async {
        while pair.world.drops().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    pair.only_truth_is_heard().await;
    let drops = pair.world.drops().await;
    assert!(matches!(drops.as_slice(), [(nic, DropReason::ArpSender, 1..)] if nic == "nic-a11"), "{drops:?}");
}

async fn foreign_source() {
    let pair = Pair::new().await;
    let beyond = pair.world.pod(2, &nic("b", 13)).await;
    let ear = beyond.listen().await;
    let to = SocketAddr::new(beyond.address, PORT);
    let honest = pair.liar.sender("10.1.0.11").await;
    talk(&honest, &ear, to).await;
    // The port is told to let both pass: an address of nowhere, and one of the other subnet.
    let sources = ["10.1.0.11", "172.16.0.1", "10.2.0.99"].map(|a| a.parse::<IpAddr>().unwrap());
    pair.world.fabric.set_sources(&nic("a", 11).id, &sources).await.unwrap();
    for lie in ["172.16.0.1", "10.2.0.99"] {
        pair.liar.add_address(&format!("{lie}/32")).await;
        pair.liar.sender(lie).await.send_to(b"lie", to).await.unwrap();
    }
    honest.send_to(b"truth", to).await.unwrap();
    assert_eq!(next_heard(&ear).await, b"truth");
    pair.dropped(DropReason::ForeignSource, 2).await;
}

async fn new_sources() {
    let pair = Pair::new().await;
    pair.liar.knows("10.1.0.12", nic("a", 12).mac).await;
    pair.liar.add_address("10.1.0.99/32").await;
    let mouth = pair.liar.sender("10.1.0.99").await;
    mouth.send_to(b"lie", pair.to()).await.unwrap();
    pair.only_truth_is_heard().await;
    let sources = ["10.1.0.11", "10.1.0.99"].map(|a| a.parse::<IpAddr>().unwrap());
    pair.world.fabric.set_sources(&nic("a", 11).id, &sources).await.unwrap();
    talk(&mouth, &pair.ear, pair.to()).await;
    pair.world.fabric.set_sources(&nic("a", 11).id, &sources[..1]).await.unwrap();
    mouth.send_to(b"lie", pair.to()).await.unwrap();
    pair.only_truth_is_heard().await;
    pair.dropped(DropReason::Ipv4Source, 2).await;
}

async fn history() {
    let world = World::new().await;
    let nic = nic("a", 11);
    let mut counted = 0;
    for _ in 0..2 {
        let pod = world.pod(1, &nic).await;
        pod.knows("10.1.0.12", "52:54:00:00:00:02".parse().unwrap()).await;
        pod.add_address("10.1.0.99/32").await;
        let mouth = pod.sender("10.1.0.99").await;
        let before = counted;
        let lie = async {
            while counted == before {
                mouth.send_to(b"lie", "10.1.0.12:7000").await.unwrap();
                counted = total(&world).await;
            }
        };
        timeout(PATIENCE, lie).await.unwrap();
        world.fabric.unplug(&instance(1), &nic).await.unwrap();
        assert!(total(&world).await >= counted, "{counted} were counted while it was plugged in");
        counted = total(&world).await;
        pod.end().await;
    }
}

/// All that was dropped, which must be for its IPv4 source.
async fn total(world: &World) -> u64 {
    let drops = world.drops().await;
    assert!(drops.iter().all(|(_, reason, _)| *reason == DropReason::Ipv4Source), "{drops:?}");
    drops.iter().map(|(_, _, packets)| packets).sum()
}

async fn ipv6_source() {
    let world = World::new().await;
    let nic = nic("a", 11);
    let sources = ["fd00::1".parse().unwrap()];
    let error = world.fabric.plug(&instance(1), &nic, &sources).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("nic-a11"), "{error}");
}
