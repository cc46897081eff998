//! Flows of small packets, as many as there can be, and what became of them.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::world::ip;

/// A flow to each. One alone does not keep two processors busy: its one thread is the limit, and each time its receiver has
/// gone to sleep it pays for the waking, which in a virtual machine is more than the way through the node.
const PORTS: [&str; 2] = ["5201", "5202"];
const SECONDS: &str = "4";
/// A machine that idles more than this had nothing to do: who sends was the limit.
const IDLE: f64 = 0.10;

/// Who sends through which node to whom.
pub(crate) struct Flood<'a> {
    pub(crate) sender: &'a Path,
    pub(crate) node: &'a Path,
    pub(crate) receiver: &'a Path,
    pub(crate) to: IpAddr,
}

/// What was measured.
pub(crate) struct Run {
    /// Packets a second that the receiver read.
    pub(crate) read: f64,
    /// Packets a second that came to its socket: those, and the ones that it was too slow for.
    pub(crate) arrived: f64,
    sent: f64,
    idle: f64,
    /// What the node's links dropped, and the receiver's socket for want of room.
    dropped: u64,
    overrun: u64,
}

impl Run {
    /// Whether the machine had work enough.
    pub(crate) fn counts(&self) -> bool {
        self.idle <= IDLE
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7.0} packets a second sent, {:>7.0} arrived, {:>7.0} read; idle {:>4.1} %; dropped by the node's links {}, by the receiver's socket {}{}",
            self.sent,
            self.arrived,
            self.read,
            self.idle * 100.0,
            self.dropped,
            self.overrun,
            if self.counts() { "" } else { " (not counted: the sender was the limit)" }
        )
    }
}

impl Flood<'_> {
    pub(crate) async fn run(&self) -> Run {
        let mut servers = Vec::new();
        for port in PORTS {
            let words = ["iperf3", "-s", "-1", "-J", "-p", port];
            servers.push(command(self.receiver, &words).stdout(Stdio::null()).spawn().unwrap());
        }
        let to = self.to.to_string();
        wait_for_listeners(self.receiver).await;
        let before = (Ticks::now(), dropped(self.node), overrun(self.receiver));
        let mut clients = Vec::new();
        for port in PORTS {
            let words = ["iperf3", "-u", "-b", "0", "-l", "64", "-t", SECONDS, "-J", "-p", port, "-c", &to];
            clients.push(command(self.sender, &words).stdout(Stdio::piped()).spawn().unwrap());
        }
        let told: Vec<Told> = clients.into_iter().map(Told::by).collect();
        let idle = before.0.idle_since();
        for server in &mut servers {
            server.wait().unwrap();
        }
        let overrun = overrun(self.receiver) - before.2;
        let sum = |of: fn(&Told) -> f64| told.iter().map(of).sum::<f64>();
        let seconds = sum(|told| told.seconds) / told.len() as f64;
        let read = sum(|told| told.packets - told.lost);
        Run {
            read: read / seconds,
            arrived: (read + overrun as f64) / seconds,
            sent: sum(|told| told.packets) / seconds,
            idle,
            dropped: dropped(self.node) - before.1,
            overrun,
        }
    }
}

/// What the sender of one flow says at its end.
struct Told {
    packets: f64,
    lost: f64,
    seconds: f64,
}

impl Told {
    fn by(client: Child) -> Self {
        let told: Value = serde_json::from_slice(&client.wait_with_output().unwrap().stdout).unwrap();
        let sum = &told["end"]["sum"];
        let number = |field: &str| sum[field].as_f64().unwrap_or_else(|| panic!("{field}: {told}"));
        Self { packets: number("packets"), lost: number("lost_packets"), seconds: number("seconds") }
    }
}

fn command(netns: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).args(words).stdin(Stdio::null());
    command
}

async fn wait_for_listeners(netns: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let told = command(netns, &["ss", "-Hltn"]).output().unwrap();
        let told = String::from_utf8_lossy(&told.stdout);
        if PORTS.iter().all(|port| told.contains(&format!(":{port} "))) {
            return;
        }
        assert!(Instant::now() < end, "iperf3 does not listen");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What all processors together have done, in ticks: idle, and all.
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let line = stat.lines().next().unwrap();
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests take is counted in the first.
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).map(|word| word.parse().unwrap()).collect();
        Self { idle: ticks[3] + ticks[4], all: ticks.iter().sum() }
    }

    /// The part of the time since then in which there was nothing to do.
    fn idle_since(&self) -> f64 {
        let now = Self::now();
        (now.idle - self.idle) as f64 / (now.all - self.all).max(1) as f64
    }
}

/// What a node's links have dropped so far.
fn dropped(node: &Path) -> u64 {
    let links = ip(node, &["-s", "link", "show"]);
    let of = |link: &Value, way: &str| link["stats64"][way]["dropped"].as_u64().unwrap_or(0);
    links.as_array().unwrap().iter().map(|link| of(link, "rx") + of(link, "tx")).sum()
}

/// How many datagrams found no room in a socket so far.
fn overrun(receiver: &Path) -> u64 {
    let told = command(receiver, &["cat", "/proc/net/snmp"]).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split_whitespace().position(|name| name == "RcvbufErrors").unwrap();
    values.split_whitespace().nth(place).unwrap().parse().unwrap()
}
