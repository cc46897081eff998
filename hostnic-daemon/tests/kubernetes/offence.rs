//! What pods must not be able to do, and what must not come of packets for nobody.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::capture::Capture;
use crate::daemon::{Settings, Way};
use crate::pod::{Pod, Wanted};
use crate::process::{succeeds, until};
use crate::stage::Stage;
use crate::talk::{ping, within};
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_pod_behind_a_veth_cannot_send_as_another", spoof),
        trial("a_packet_for_a_released_address_goes_round_no_circle", released),
    ]
}

const PACKETS: u32 = 20;

fn spoof(world: &'static World) {
    let stage = Stage::set(world, &Settings::both(Way::Veth { hairpin: false }));
    let [bad, near, neighbour, far] = stage.pods([
        Wanted::new("bad").on("node1"),
        Wanted::new("near").on("node1"),
        Wanted::new("neighbour").on("node1"),
        Wanted::new("far").on("node2"),
    ]);
    // The pod's own administrator may give it any address.
    let mut add = Command::new("nsenter");
    add.arg(format!("--net={}", bad.netns.display()));
    succeeds(add.args(["--", "ip", "address", "add", &format!("{}/32", near.address), "dev", "lo"]));
    for victim in [&far, &neighbour] {
        let target = Target { netns: &victim.netns, address: victim.address };
        judge(&target, &victim.name, &bad, near.address);
    }
    let host = &world.host;
    let receiver = Target { netns: &host.netns(), address: host.address("primary") };
    judge(&receiver, "the VPC", &bad, near.address);
    stage.end();
}

/// Sends as itself and as another.
fn judge(target: &Target<'_>, name: &str, bad: &Pod, other: Ipv4Addr) {
    let (honest, wrong) = (target.from(&bad.netns, bad.address), target.from(&bad.netns, other));
    println!("    to {name}: {honest} of {PACKETS} sent as itself arrive, {wrong} of {PACKETS} as another");
    assert_eq!((honest, wrong), (PACKETS, 0));
}

/// Who counts what arrives.
#[derive(Debug)]
struct Target<'a> {
    netns: &'a Path,
    address: Ipv4Addr,
}

impl Target<'_> {
    /// How many datagrams arrive that are sent from there with this source.
    fn from(&self, from: &Path, source: Ipv4Addr) -> u32 {
        let bound = within(self.netns, || UdpSocket::bind((self.address, 0))).unwrap();
        bound.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let to = bound.local_addr().unwrap();
        let sender = within(from, || UdpSocket::bind((source, 0))).unwrap();
        for _ in 0..PACKETS {
            sender.send_to(b"x", to).unwrap();
        }
        let mut arrived = 0;
        while bound.recv(&mut [0; 8]).is_ok() {
            arrived += 1;
        }
        arrived
    }
}

fn released(world: &'static World) {
    let stage = Stage::set(world, &Settings::both(Way::Veth { hairpin: false }));
    let node = &world.nodes[0];
    let [pod] = stage.pods([Wanted::new("brief").on("node1")]);
    let host = &world.host;
    assert_eq!(ping(&host.netns(), pod.address, 3, "0.1"), (3, 3));
    world.cluster.kubectl(&["delete", "pod", &pod.name, "--wait=false"]).unwrap();
    stage.daemons[0].until_given_back();
    // At every link: where it would go round, it would come by another one again.
    let capture = Capture::start(node, "any", &format!("icmp and host {}", pod.address));
    let (sent, answered) = ping(&host.netns(), pod.address, 1, "1");
    let copies = capture.end().len();
    println!(
        "    {sent} packet for an address that was released: {copies} at the node's links, {answered} answered"
    );
    assert!(copies <= 1 && answered == 0);
    until("the daemon rests", || stage.daemons[0].asked(&["status"]).ok());
    stage.end();
}
