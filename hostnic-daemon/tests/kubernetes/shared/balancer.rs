//! A load balancer as the cloud has them: a machine of the VPC that is no node, with clients behind it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use crate::pod::{PORT, Pod};
use crate::process::succeeds;
use crate::reach::calls;
use crate::world::World;

/// Where clients are: nowhere in the VPC.
const CLIENTS: &str = "203.0.113.0/24";
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const NETNS: &str = "clients";

/// Spreads a client's calls over pods of both nodes. Each of them sees the client, and nothing goes by a node's address.
pub(super) fn spreads(world: &World, pods: [&Pod; 2]) {
    assert_ne!(pods[0].node, pods[1].node);
    let balancer = Balancer::set_up(world, pods);
    let answers = calls(&Path::new("/run/netns").join(NETNS), (balancer.address, 80).into());
    println!("    calls by a balancer of the VPC: {answers:?}");
    let servers: BTreeSet<&str> = answers.keys().map(|answer| answer.server.as_str()).collect();
    assert_eq!(servers, pods.iter().map(|pod| pod.name.as_str()).collect());
    let askers: BTreeSet<IpAddr> = answers.keys().map(|answer| answer.asker).collect();
    assert_eq!(askers, BTreeSet::from([CLIENT.into()]), "the client is seen as itself");
}

/// The machine beside the nodes as a balancer, until this is dropped.
struct Balancer<'a> {
    world: &'a World,
    /// Where it listens.
    address: Ipv4Addr,
    rules: Vec<String>,
}

impl<'a> Balancer<'a> {
    /// One call goes to the first pod, the next one to the second, and only the destination is another then.
    fn set_up(world: &'a World, pods: [&Pod; 2]) -> Self {
        let address = world.host.address("primary");
        let rule = |turn: &str, pod: &Pod| {
            format!(
                "PREROUTING -i {NETNS} -d {address} -p tcp --dport 80 {turn} -j DNAT --to-destination {}:{PORT}",
                pod.address
            )
        };
        let every_other = "-m statistic --mode nth --every 2 --packet 0";
        let rules = vec![rule(every_other, pods[0]), rule("", pods[1])];
        let balancer = Self { world, address, rules };
        for line in [
            format!("netns add {NETNS}"),
            format!("link add {NETNS} netns {} type veth peer name eth0 netns {NETNS}", world.host.name()),
            format!("-n {NETNS} address add {CLIENT}/24 dev eth0"),
            format!("-n {NETNS} link set eth0 up"),
            format!("-n {0} address add 203.0.113.1/24 dev {NETNS}", world.host.name()),
            format!("-n {0} link set {NETNS} up", world.host.name()),
            format!("-n {NETNS} route add default via 203.0.113.1"),
        ] {
            succeeds(Command::new("ip").args(line.split(' ')));
        }
        world.host.run(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
        balancer.rules("-A");
        world.cloud.set_forwarding(&world.host, true);
        world.cloud.router(&["route", "add", CLIENTS, "via", &address.to_string()]);
        balancer
    }

    /// Adds its rules, or takes them away.
    fn rules(&self, change: &str) {
        for rule in &self.rules {
            let line = format!("iptables -t nat {change} {rule}");
            self.world.host.run(&line.split_whitespace().collect::<Vec<_>>());
        }
    }
}

impl Drop for Balancer<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (world, address) = (self.world, self.address);
        world.cloud.router(&["route", "delete", CLIENTS, "via", &address.to_string()]);
        world.cloud.set_forwarding(&world.host, false);
        self.rules("-D");
        world.host.run(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
        succeeds(Command::new("ip").args(["netns", "delete", NETNS]));
    }
}
