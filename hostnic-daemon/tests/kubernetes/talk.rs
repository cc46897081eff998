//! What programs in pods and on machines send each other, and how long it takes to come through.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::process::output;

/// How long an answer may take; each takes a small part of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs something in a network namespace, on a thread of its own.
pub(crate) fn within<T: Send>(netns: &Path, act: impl FnOnce() -> T + Send) -> T {
    let file = File::open(netns).unwrap_or_else(|error| panic!("{}: {error}", netns.display()));
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            drop(file);
            act()
        });
        thread.join().unwrap()
    })
}

/// Who answered, and who it says has asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    pub(crate) server: String,
    pub(crate) asker: IpAddr,
}

/// Asks a pod, or a service, from a network namespace.
pub(crate) fn ask(from: &Path, to: SocketAddr) -> io::Result<Answer> {
    within(from, move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let told = answer.lines().last().and_then(|line| line.split_once(' '));
        let asker = told.and_then(|(_, asker)| {
            // A server of both families names addresses as those of IPv6.
            asker.trim_start_matches("[").trim_start_matches("::ffff:").trim_end_matches("]").parse().ok()
        });
        match told.zip(asker) {
            Some(((server, _), asker)) => Ok(Answer { server: server.to_owned(), asker }),
            None => Err(io::Error::other(format!("not an answer: {answer:?}"))),
        }
    })
}

/// Sends pings at such an interval; answers how many were sent and how many came back.
pub(crate) fn ping(from: &Path, to: Ipv4Addr, count: u32, interval: &str) -> (u32, u32) {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", from.display())).args(["--", "ping", "-n", "-q", "-W", "2"]);
    command.args(["-c", &count.to_string(), "-i", interval, &to.to_string()]);
    // It fails when one was lost, and tells how many all the same.
    let told = output(&mut command).unwrap_or_else(|told| told);
    counts(&told).unwrap_or_else(|| panic!("{command:?}: {told}"))
}

/// After how many milliseconds a ping is sent that comes back, of those that are sent every 20 ms for two seconds; `None` when
/// none is.
pub(crate) fn answered_after(from: &Path, to: Ipv4Addr) -> Option<u32> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", from.display())).args(["--", "ping", "-n", "-i", "0.02", "-c", "100"]);
    let told = output(command.args(["-W", "1", &to.to_string()])).unwrap_or_else(|told| told);
    let first = told.lines().find_map(|line| line.split_once("icmp_seq="))?.1;
    let number: u32 = first.split_whitespace().next()?.parse().ok()?;
    Some((number - 1) * 20)
}

/// How many pings were sent and how many came back, as `ping` sums it up.
pub(crate) fn counts(told: &str) -> Option<(u32, u32)> {
    let line = told.lines().find(|line| line.contains("packets transmitted"))?;
    let number = |text: &str| text.split_whitespace().next()?.parse().ok();
    let mut parts = line.split(", ");
    Some((number(parts.next()?)?, number(parts.next()?)?))
}
