//! The daemon's program: its start and end, its listings, and its complaints.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use hostnic_netlink::NamedNetns;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::build::DAEMON;
use crate::host::PATIENCE;
use crate::lifecycle::gateway;
use crate::plugin::Call;
use crate::pod::Pod;
use crate::trial;
use crate::witness;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_daemon_serves_pods_lists_them_and_ends_in_good_order", serves),
        trial("a_second_daemon_is_refused_and_told_the_pid_of_the_first", second_daemon),
        trial("a_daemon_that_was_killed_is_started_again_and_its_pods_keep_their_addresses", killed),
        trial("wrong_flags_are_refused_by_name", wrong_flags),
        trial("what_asks_a_daemon_says_when_none_runs", none_runs),
    ]
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A machine: a namespace, and a folder for the daemon's files.
struct Machine {
    netns: NamedNetns,
    folder: PathBuf,
    number: u32,
}

/// A daemon that runs, and what it has said so far.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Machine {
    async fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/run/machine{number}"));
        let netns = NamedNetns::create(folder.join("node")).await.unwrap();
        Self { netns, folder, number }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("hostnic.sock")
    }

    /// The program in this machine's network.
    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.path().display())).arg("--").arg(DAEMON).args(arguments);
        command.env("TMPDIR", &self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn start(&self) -> Command {
        let [socket, store] = ["hostnic.sock", "state.redb"].map(|file| self.folder.join(file));
        let mut command = self.program(&["start", "--provider", "sim", "--sim-job-ms", "50"]);
        command
            .args(["--pool-low", "1", "--pool-high", "4", "--socket"])
            .arg(socket)
            .arg("--store")
            .arg(store);
        command
    }

    /// A daemon whose pool is filled.
    async fn daemon(&self, name: &str) -> Running {
        let log = self.folder.join(name);
        let file = std::fs::File::create(&log).unwrap();
        let child = self.start().stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let running = Running { child, log };
        let filled = async {
            while !self.asked(&["nics", "-o", "json"]).await.is_ok_and(|nics| nics.contains("\"free\"")) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, filled).await.is_err() {
            panic!("no NIC is free; the daemon said: {}", running.said());
        }
        running
    }

    /// What the program prints; its complaint as the error.
    async fn asked(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.program(arguments);
        let Output { status, stdout, stderr } =
            command.arg("--socket").arg(self.socket()).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
    }

    async fn listed(&self, what: &str) -> Value {
        serde_json::from_str(&self.asked(&[what, "-o", "json"]).await.unwrap()).unwrap()
    }

    /// A pod in the folder where runtimes keep them.
    async fn pod(&self, name: &str) -> Pod {
        Pod::create(Path::new("/run/netns"), &format!("m{}-{name}", self.number)).await
    }

    fn call(&self, command: &str, pod: &Pod) -> Call {
        Call::new(command, &self.socket(), pod.id(), pod.path())
    }
}

impl Running {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal, waits for the end, and gives back whether it was a success and what was said.
    async fn ends_by(mut self, signal: Signal) -> (bool, String) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        let said = self.said();
        assert!(!said.contains("panicked"), "{said}");
        (status.success(), said)
    }
}

async fn serves() {
    let machine = Machine::new().await;
    let before = witness::everything(machine.netns.path());
    let daemon = machine.daemon("log").await;
    let pods = [machine.pod("a").await, machine.pod("b").await];
    let mut given = Vec::new();
    for pod in &pods {
        given.push(pod.agrees_with(&machine.call("ADD", pod).succeeds().await));
    }
    pods[0].ping(gateway(given[0].address)).await;
    pods[0].ping(given[1].address).await;
    machine.call("STATUS", &pods[0]).succeeds().await;

    let listed = machine.listed("pods").await;
    for (pod, given) in pods.iter().zip(&given) {
        let attachment = format!("net/{}/eth0", pod.id());
        let row = listed.as_array().unwrap().iter().find(|row| row["attachment"] == attachment).unwrap();
        assert_eq!(row["pod"], format!("default/{}", pod.id()));
        assert_eq!(row["address"], format!("{}/24", given.address));
        assert_eq!((&row["state"], &row["netns"]), (&"active".into(), &pod.path().to_str().unwrap().into()));
        let nics = machine.listed("nics").await;
        let nic = nics.as_array().unwrap().iter().find(|nic| nic["mac"] == given.mac.as_str()).unwrap();
        assert_eq!(nic["id"], row["nic"]);
        assert_eq!(
            (&nic["addresses"][0]["state"], &nic["addresses"][0]["holder"]),
            (&"leased".into(), &attachment.into())
        );
    }
    let table = machine.asked(&["pods"]).await.unwrap();
    assert!(table.starts_with("ATTACHMENT") && table.contains(&given[0].address.to_string()), "{table}");
    let table = machine.asked(&["nics"]).await.unwrap();
    assert!(table.starts_with("NIC") && table.contains("leased") && table.contains("free"), "{table}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(machine.listed("version").await, serde_json::json!({"program": version, "daemon": version}));
    assert!(machine.asked(&["version"]).await.unwrap().contains("daemon"));

    for pod in &pods {
        machine.call("DEL", pod).succeeds().await;
        pod.is_empty();
    }
    assert_eq!(machine.listed("pods").await, serde_json::json!([]));
    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    assert!(!machine.socket().exists());
    witness::assert_same(&before, &witness::everything(machine.netns.path()), "the machine");
    let left = std::fs::read_dir(&machine.folder).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("hostnic-sim")).collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn second_daemon() {
    let machine = Machine::new().await;
    let first = machine.daemon("log").await;
    let second = machine.start().output().await.unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success(), "{said}");
    assert!(said.contains(&format!("pid {}", first.pid())), "{said}");
    // The first one is none the worse for it.
    let pod = machine.pod("a").await;
    pod.agrees_with(&machine.call("ADD", &pod).succeeds().await);
    machine.call("DEL", &pod).succeeds().await;
    assert!(first.ends_by(Signal::SIGINT).await.0);
}

/// The simulated cloud ends with its daemon, so the next daemon's cloud does not know the old NICs: what counts is that
/// the pods keep what they have all the same, and give it back.
async fn killed() {
    let machine = Machine::new().await;
    let first = machine.daemon("log-1").await;
    let pod = machine.pod("a").await;
    let result = machine.call("ADD", &pod).succeeds().await;
    let given = pod.agrees_with(&result);
    let before = machine.listed("pods").await;
    first.ends_by(Signal::SIGKILL).await;
    machine.call("DEL", &pod).fails(11).await;

    let second = machine.daemon("log-2").await;
    assert_eq!(machine.listed("pods").await, before);
    assert_eq!(pod.agrees_with(&result), given);
    machine.call("CHECK", &pod).with("prevResult", result.clone()).succeeds().await;
    assert_eq!(machine.call("ADD", &pod).succeeds().await, result);
    let next = machine.pod("b").await;
    assert_ne!(next.agrees_with(&machine.call("ADD", &next).succeeds().await).mac, given.mac);
    for pod in [&pod, &next] {
        machine.call("DEL", pod).succeeds().await;
        pod.is_empty();
    }
    assert_eq!(machine.listed("pods").await, serde_json::json!([]));
    assert!(second.ends_by(Signal::SIGTERM).await.0);
}

async fn wrong_flags() {
    let machine = Machine::new().await;
    let cases: &[(&[&str], &str)] = &[
        (&["stop"], "stop"),
        (&["start"], "--provider"),
        (&["start", "--provider", "aws"], "aws"),
        (&["start", "--provider", "sim", "--sim-subnet", "192.168.50.0/24"], "192.168.50.0/24"),
        (&["start", "--provider", "sim", "--sim-subnet", "vxnet-a=192.168.50.1/24"], "192.168.50.1/24"),
        (&["start", "--provider", "sim", "--instance", "a b"], "a b"),
        (&["start", "--provider", "sim", "--pool-low", "few"], "few"),
        (&["start", "--provider", "sim", "--pool-low", "9", "--pool-high", "5"], "low watermark"),
        (&["start", "--provider", "sim", "--max-nics", "64"], "64"),
        (&["start", "--provider", "sim", "--policy", "Best"], "Best"),
        (&["start", "--provider", "sim", "--log-level", "hostnic=loud"], "loud"),
        (&["start", "--provider", "sim", "--log-format", "xml"], "xml"),
        (&["start", "--provider", "sim", "--store", "/proc/none/state.redb"], "/proc/none"),
        (&["start", "--provider", "sim", "--socket", "/proc/none/hostnic.sock"], "/proc/none"),
        (&["nics", "-o", "yaml"], "yaml"),
    ];
    for (arguments, named) in cases {
        let mut command = machine.program(arguments);
        // Whatever is not wrong must not touch another trial's files.
        if arguments.contains(&"sim") {
            for (flag, file) in [("--socket", "wrong.sock"), ("--store", "wrong.redb")] {
                if !arguments.contains(&flag) {
                    command.arg(flag).arg(machine.folder.join(file));
                }
            }
        }
        let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
    let subnets = ["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.50.128/25"];
    let mut overlapping = machine.start();
    let output =
        overlapping.args(subnets.iter().flat_map(|subnet| ["--sim-subnet", subnet])).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("192.168.50.128/25"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(&machine.folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("hostnic-sim")), "{left:?}");
}

async fn none_runs() {
    let machine = Machine::new().await;
    for what in ["nics", "pods"] {
        let complaint = machine.asked(&[what]).await.unwrap_err();
        assert!(complaint.contains("hostnic-daemon start"), "{complaint}");
        assert!(complaint.contains(machine.socket().to_str().unwrap()), "{complaint}");
    }
    assert_eq!(machine.listed("version").await["daemon"], Value::Null);
    assert!(machine.asked(&["version"]).await.unwrap().contains("not running"));
}
