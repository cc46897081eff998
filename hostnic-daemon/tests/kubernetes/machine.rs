//! A machine of the VPC: a network namespace, and for some of them processes, mounts and control groups of their own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::enclosure;
use crate::process::{Process, succeeds, until};

/// A machine of the VPC.
#[derive(Debug)]
pub(crate) struct Machine {
    name: &'static str,
    folder: PathBuf,
    /// The machine's own enclosure; without one it shares all but the network with the tests.
    own: Option<Mutex<Process>>,
}

impl Machine {
    /// One whose files and processes are those of the tests.
    pub(crate) fn new(name: &'static str, folder: &Path) -> Self {
        succeeds(Command::new("ip").args(["netns", "add", name]));
        succeeds(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]));
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { name, folder, own: None }
    }

    /// One that has everything for itself, and can lose its power.
    pub(crate) fn enclosed(name: &'static str, folder: &Path) -> Self {
        let mut machine = Self::new(name, folder);
        machine.own = Some(Mutex::new(machine.boot()));
        machine
    }

    fn boot(&self) -> Process {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns().display())).arg("--");
        let enclosure = enclosure::command(self.name, &self.folder, &[]);
        command.arg(enclosure.get_program()).args(enclosure.get_args());
        command.args(["sh", "-c", "echo running; exec sleep infinity"]);
        let log = self.folder.join("boot.log");
        let _ = std::fs::remove_file(&log);
        let process = Process::start(command, &log, true);
        until("the machine runs", || process.said().contains("running").then_some(()));
        process
    }

    /// Ends every process of an enclosed machine, and with them its mounts and pods; then starts it again, in another
    /// boot. Its network namespace stays, because the cloud's NICs are plugged into it, and is emptied.
    pub(crate) fn lose_power(&self) {
        let mut own = self.own.as_ref().unwrap().lock().unwrap();
        kill(Pid::from_raw(own.pid()), Signal::SIGKILL).unwrap();
        until("the machine is off", || own.has_ended().then_some(()));
        self.empty_network();
        *own = self.boot();
        drop(own);
        let boot = self.folder.join("boot_id");
        std::fs::copy("/proc/sys/kernel/random/uuid", &boot).unwrap();
        self.run(&["mount", "--bind", boot.to_str().unwrap(), "/proc/sys/kernel/random/boot_id"]);
    }

    /// Leaves only what a kernel has after a boot: NICs under names of its own, and nothing on them.
    fn empty_network(&self) {
        let inside = |line: &str| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", self.netns().display())).args(["--", "sh", "-ec", line]);
            succeeds(&mut command)
        };
        // A pod's NIC comes back a moment after its namespace has gone, and so do veths' other ends go.
        let _ = inside(
            "nft flush ruleset; conntrack -F 2>/dev/null; ip rule flush; ip rule add pref 32766 lookup main
             ip rule add pref 32767 lookup default; ip route flush table all proto static 2>/dev/null || true",
        );
        let links: Vec<Value> = serde_json::from_str(&inside("ip -j -d link show")).unwrap();
        for (number, link) in links.iter().enumerate() {
            let name = link["ifname"].as_str().unwrap();
            let other_end_here = link["link"].is_string();
            if name == "lo" || name.starts_with("mgmt") {
                continue;
            }
            if other_end_here {
                let _ = inside(&format!("ip link delete {name} 2>/dev/null || true"));
                continue;
            }
            inside(&format!(
                "ip link set {name} down; ip address flush dev {name}; ip neigh flush dev {name}
                 ip link set {name} alias ''; ip link set {name} name boot{number}"
            ));
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The cloud's id of it.
    pub(crate) fn instance(&self) -> String {
        format!("i-{}", self.name)
    }

    /// Where the tests keep files of this machine.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(self.name)
    }

    /// A file of this machine, as the tests see it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        match self.init() {
            Some(init) => PathBuf::from(format!("/proc/{init}/root{path}")),
            None => PathBuf::from(path),
        }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.file(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// A program on this machine.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        match self.init() {
            Some(init) => {
                command.args(["--target", &init.to_string(), "--mount", "--net", "--pid", "--cgroup"]);
            }
            None => {
                command.arg(format!("--net={}", self.netns().display()));
            }
        }
        command.arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a command on this machine, which is to succeed.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        succeeds(self.command(command[0]).args(&command[1..]))
    }

    /// Starts a program on this machine.
    pub(crate) fn start(&self, command: Command, log: &Path) -> Process {
        Process::start(command, log, self.own.is_some())
    }

    /// What `ip -j` tells on this machine.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Vec<Value> {
        let told = self.run(&[&["ip", "-j", "-d"], arguments].concat());
        if told.trim().is_empty() { Vec::new() } else { serde_json::from_str(&told).unwrap() }
    }

    /// Its IPv4 address at a link.
    pub(crate) fn address(&self, link: &str) -> Ipv4Addr {
        let told = self.ip(&["-4", "address", "show", "dev", link]);
        told[0]["addr_info"][0]["local"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until somebody listens at this port of the machine's loopback or at all its addresses.
    pub(crate) fn until_listening(&self, port: u16) {
        let filter = format!("sport = :{port}");
        until(&format!("{} listens at port {port}", self.name), || {
            let told = self.run(&["ss", "--no-header", "--listening", "--tcp", &filter]);
            (!told.trim().is_empty()).then_some(())
        });
    }

    /// The process with which the machine ends.
    fn init(&self) -> Option<i32> {
        Some(self.own.as_ref()?.lock().unwrap().pid())
    }
}
