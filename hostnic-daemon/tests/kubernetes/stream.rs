//! Pings and a TCP stream between two pods that go on while something happens, and what came of them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::pod::Pod;
use crate::process::until;
use crate::talk::{self, counts};

/// How often the stream carries something.
const TICK: Duration = Duration::from_millis(5);
/// The longest gap that nobody notices.
pub(crate) const GAP: Duration = Duration::from_millis(200);

/// What goes on between two pods.
#[derive(Debug)]
pub(crate) struct Stream {
    way: String,
    ping: Child,
    /// How many pings came back so far.
    replies: Arc<AtomicU32>,
    /// What `ping` sums up, and the numbers of the pings that were answered.
    reader: JoinHandle<(String, BTreeSet<u32>)>,
    over: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Duration>,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) way: String,
    pub(crate) sent: u32,
    pub(crate) lost: usize,
    /// Which ones, counted from 1.
    pub(crate) missing: Vec<u32>,
    /// The longest time between two arrivals of the stream.
    pub(crate) gap: Duration,
}

impl Stream {
    pub(crate) fn start(from: &Pod, to: &Pod) -> Self {
        let way = format!("{} to {}", from.name, to.name);
        let mut ping = Command::new("nsenter");
        ping.arg(format!("--net={}", from.netns.display())).args(["--", "ping", "-n", "-i", "0.01"]);
        ping.arg(to.address.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let over = Arc::new(AtomicBool::new(false));
        let listener = talk::within(&to.netns, || TcpListener::bind((to.address, 0))).unwrap();
        let peer = listener.local_addr().unwrap();
        let source = talk::within(&from.netns, || TcpStream::connect_timeout(&peer, GAP * 10)).unwrap();
        let (sink, _) = listener.accept().unwrap();
        let told = Arc::clone(&over);
        let sender = std::thread::spawn(move || send(source, &told));
        let receiver = std::thread::spawn(move || receive(sink));
        let mut ping = ping.spawn().unwrap();
        let printed = ping.stdout.take().unwrap();
        let replies = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&replies);
        let reader = std::thread::spawn(move || read(printed, &counter));
        Self { way, ping, replies, reader, over, sender, receiver }
    }

    /// Ends it, at the earliest when so many pings were sent.
    pub(crate) fn end(mut self, at_least: u32) -> Seen {
        until("enough pings were answered", || {
            (self.replies.load(Ordering::Relaxed) >= at_least).then_some(())
        });
        kill(Pid::from_raw(self.ping.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.ping.wait().unwrap();
        let (told, answered) = self.reader.join().unwrap();
        let (sent, _) = counts(&told).unwrap_or_else(|| panic!("ping: {told}"));
        // The last one may have been under way when it was told to end.
        let missing: Vec<u32> = (1..sent).filter(|number| !answered.contains(number)).collect();
        self.over.store(true, Ordering::Relaxed);
        self.sender.join().unwrap();
        let gap = self.receiver.join().unwrap();
        Seen { way: self.way, sent, lost: missing.len(), missing, gap }
    }
}

/// Counts replies; answers the last lines, which sum up, and the replies' numbers.
fn read(printed: ChildStdout, replies: &AtomicU32) -> (String, BTreeSet<u32>) {
    let (mut told, mut answered) = (String::new(), BTreeSet::new());
    for line in BufReader::new(printed).lines().map(|line| line.unwrap()) {
        let number = line.split_once(" icmp_seq=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        match number {
            Some(number) if line.contains(" bytes from ") => {
                replies.fetch_add(1, Ordering::Relaxed);
                answered.insert(number);
            }
            _ => {
                told.push_str(&line);
                told.push('\n');
            }
        }
    }
    (told, answered)
}

fn send(mut stream: TcpStream, over: &AtomicBool) {
    stream.set_nodelay(true).unwrap();
    while !over.load(Ordering::Relaxed) {
        stream.write_all(b"x").unwrap();
        std::thread::sleep(TICK);
    }
}

fn receive(mut stream: TcpStream) -> Duration {
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return longest,
            Ok(_) => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the stream broke: {error}"),
        }
    }
}
