//! `ping -i 0.01` from one pod to another, for as long as nobody ends it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::machine::Machine;
use crate::pod::Pod;

/// The program, under way.
#[derive(Debug)]
pub(super) struct Pinger {
    child: Child,
    said: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pinged {
    pub(super) sent: u64,
    pub(super) lost: u64,
}

impl Pinger {
    pub(super) fn start(machine: &Machine, from: &Pod, to: Ipv4Addr) -> Self {
        let said = machine.folder().join("ping");
        let mut command: Command = machine.run(from.path(), "ping");
        command.args(["-n", "-i", "0.01", &to.to_string()]);
        let out = File::create(&said).unwrap();
        Self { child: command.stdout(out).stderr(Stdio::inherit()).spawn().unwrap(), said }
    }

    /// How many were answered so far.
    pub(super) fn answered(&self) -> usize {
        std::fs::read_to_string(&self.said).unwrap().lines().filter(|line| line.contains("icmp_seq=")).count()
    }

    pub(super) async fn end(mut self) -> Pinged {
        kill(Pid::from_raw(self.child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.child.wait().await.unwrap();
        read(&std::fs::read_to_string(&self.said).unwrap())
    }
}

/// What the program has said. That it was ended between the last request and its answer is no loss.
fn read(said: &str) -> Pinged {
    let summary = said.lines().find(|line| line.contains("packets transmitted")).unwrap();
    let numbers: Vec<u64> = summary.split(' ').filter_map(|word| word.parse().ok()).collect();
    let (sent, received) = (numbers[0], numbers[1]);
    let last =
        said.lines().rev().find_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok());
    // Sequence numbers have 16 bits.
    let under_way = u64::from(last.is_some_and(|last: u64| last == (sent - 1) % 65536));
    Pinged { sent, lost: (sent - received).saturating_sub(under_way) }
}

/// What is told of it must not hide a loss.
pub(super) fn is_read_right() {
    let said = |lines: &str, sent: u64, received: u64| {
        read(&format!(
            "{lines}\n\n--- 192.168.50.2 ping statistics ---\n{sent} packets transmitted, {received} received, 0% packet loss, time 1ms\n"
        ))
    };
    let three = "64 bytes from 192.168.50.2: icmp_seq=1 ttl=64 time=0.1 ms\n64 bytes from 192.168.50.2: icmp_seq=3 ttl=64 time=0.1 ms";
    assert_eq!(said(three, 3, 2), Pinged { sent: 3, lost: 1 });
    assert_eq!(said(three, 4, 2), Pinged { sent: 4, lost: 1 });
    assert_eq!(said(three, 5, 2), Pinged { sent: 5, lost: 3 });
}
