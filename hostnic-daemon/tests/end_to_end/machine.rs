//! A machine with the daemon's own program: a namespace, a folder for its files, and what it says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use hostnic_netlink::{NamedNetns, Netns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::build::DAEMON;
use crate::host::PATIENCE;
use crate::plugin::Call;
use crate::pod::Pod;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A machine: a namespace, and a folder for the daemon's files.
#[derive(Debug)]
pub(crate) struct Machine {
    netns: NamedNetns,
    folder: PathBuf,
    number: u32,
}

/// A program that runs, and what it has said so far.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Machine {
    pub(crate) async fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/run/machine{number}"));
        let netns = NamedNetns::create(folder.join("node")).await.unwrap();
        Self { netns, folder, number }
    }

    pub(crate) fn netns(&self) -> &Path {
        self.netns.path()
    }

    /// Its network, to do something there.
    pub(crate) fn open(&self) -> Netns {
        self.netns.open().unwrap()
    }

    /// Which machine of this process it is.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("hostnic.sock")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("state.redb")
    }

    /// A program in this network, whose temporary files are in this machine's folder.
    pub(crate) fn run(&self, netns: &Path, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).arg("--").arg(program);
        command.env("TMPDIR", &self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The daemon's program in this machine's network.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.run(self.netns(), DAEMON);
        command.args(arguments);
        command
    }

    /// A daemon with a small pool and its files in this machine's folder, in the cloud of these flags.
    pub(crate) fn start(&self, cloud: &[&str]) -> Command {
        let mut command = self.start_with(cloud, &self.store());
        command.args(["--pool-low", "1", "--pool-high", "4"]);
        command
    }

    /// A daemon with these flags, its records in this file and its socket in this machine's folder.
    pub(crate) fn start_with(&self, flags: &[&str], store: &Path) -> Command {
        let mut command = self.program(&["start"]);
        command.args(flags).arg("--socket").arg(self.socket()).arg("--store").arg(store);
        command
    }

    /// Starts a program whose log gets this name; what it prints goes to a file beside it.
    pub(crate) fn spawn(&self, mut command: Command, name: &str) -> Running {
        let log = self.folder.join(name);
        let [out, err] =
            [log.with_extension("out"), log.clone()].map(|path| std::fs::File::create(path).unwrap());
        Running { child: command.stdout(out).stderr(err).spawn().unwrap(), log }
    }

    /// Waits until a NIC of the daemon's is free.
    pub(crate) async fn until_filled(&self, daemon: &Running) {
        let filled =
            async || self.asked(&["nics", "-o", "json"]).await.is_ok_and(|nics| nics.contains("\"free\""));
        self.until(daemon, "a NIC is free", filled).await;
    }

    /// Waits until something holds, or tells what the daemon said.
    pub(crate) async fn until(&self, daemon: &Running, what: &str, holds: impl AsyncFn() -> bool) {
        let came = async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, came).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}; the daemon said: {}", daemon.said());
        }
    }

    /// What the program prints; its complaint as the error.
    pub(crate) async fn asked(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.program(arguments);
        let Output { status, stdout, stderr } =
            command.arg("--socket").arg(self.socket()).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
    }

    pub(crate) async fn listed(&self, what: &str) -> Value {
        serde_json::from_str(&self.asked(&[what, "-o", "json"]).await.unwrap()).unwrap()
    }

    /// What the daemon shows of itself at its usual address, as by `curl` on the machine.
    pub(crate) async fn page(&self, path: &str) -> String {
        let (head, body) = self.answer(path).await;
        assert!(head.starts_with("HTTP/1.0 200"), "{path}: {head}\n{body}");
        body
    }

    /// The head and the body of its answer there, whatever that is.
    pub(crate) async fn answer(&self, path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        let exchange = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect("127.0.0.1:31081")?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer = self.netns.open().unwrap().run(exchange).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The value of one of the daemon's metrics, named with its labels as they are shown; zero where there is none.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.page("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until the daemon lists no pod any more.
    pub(crate) async fn until_released(&self) {
        let released = async {
            while self.listed("pods").await != serde_json::json!([]) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, released).await.is_err() {
            panic!("pods are left: {}", self.listed("pods").await);
        }
    }

    /// A pod in the folder where runtimes keep them.
    pub(crate) async fn pod(&self, name: &str) -> Pod {
        Pod::create(Path::new("/run/netns"), &format!("m{}-{name}", self.number)).await
    }

    pub(crate) fn call(&self, command: &str, pod: &Pod) -> Call {
        Call::new(command, &self.socket(), pod.id(), pod.path())
    }
}

impl Running {
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(self.log.with_extension("out")).unwrap()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it at once, if it did not end by itself.
    pub(crate) fn kill_if_running(&mut self) {
        if !self.has_ended() {
            self.kill(Signal::SIGKILL);
        }
    }

    pub(crate) fn kill(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the end, and gives back whether it was a success and what was said.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let said = self.said();
        let status = status.unwrap_or_else(|_| panic!("it does not end; it said: {said}")).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (status.success(), said)
    }

    /// Sends a signal, waits for the end, and gives back whether it was a success and what was said.
    pub(crate) async fn ends_by(self, signal: Signal) -> (bool, String) {
        self.kill(signal);
        self.ended().await
    }
}
