//! The node daemon as a program of its machine, and the CNI file by which the runtime finds the plugin.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::build;
use crate::cloud::VXNETS;
use crate::cluster::SERVICES;
use crate::machine::Machine;
use crate::process::{Process, output, until};
use crate::world::World;

/// Where the ConfigMap's keys `hostnic` and `hostnic-cni` are mounted.
const POOL_FILE: &str = "/etc/hostnic/hostnic.json";
const NETWORK_FILE: &str = "/etc/hostnic/hostnic-cni.json";
/// Where the runtime looks for it.
const CNI_FILE: &str = "/etc/cni/net.d/10-hostnic.conf";

/// How pods are joined to their NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The NIC is the pod's; services are reached by a NIC of the node.
    Passthrough,
    /// The NIC stays on the node.
    Veth { hairpin: bool },
    /// One NIC of a vxnet is that of all of the node's pods in it.
    Shared,
}

/// What the daemon of a node is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) way: Way,
    pub(crate) vxnets: Vec<&'static str>,
    pub(crate) low: u32,
    pub(crate) high: u32,
    pub(crate) most: u32,
    /// The table of the pods' routes, as the guide's configuration may name it.
    pub(crate) pod_table: Option<u32>,
    /// Whether the daemon asks the cluster, and is told everything by the guide's two files.
    pub(crate) in_cluster: bool,
}

impl Settings {
    pub(crate) fn new(way: Way, vxnet: &'static str) -> Self {
        Self { way, vxnets: vec![vxnet], low: 2, high: 6, most: 63, pod_table: None, in_cluster: false }
    }

    /// The first node's pods are in one vxnet and the second's in another.
    pub(crate) fn both(way: Way) -> [Self; 2] {
        [Self::new(way, VXNETS[0]), Self::new(way, VXNETS[1])]
    }

    /// The same in the cluster, as the guide has it.
    pub(crate) fn in_cluster(self) -> Self {
        Self { in_cluster: true, ..self }
    }

    fn arguments(&self, machine: &Machine, kubeconfig: &Path) -> Vec<String> {
        if self.in_cluster {
            let (node, kubeconfig) = (machine.name(), kubeconfig.to_str().unwrap());
            let told = ["--compat", "hostnic-node", "--kubeconfig", kubeconfig, "--node-name", node];
            return told.map(str::to_owned).to_vec();
        }
        let numbers = [("--pool-low", self.low), ("--pool-high", self.high), ("--max-nics", self.most)];
        let numbers = numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]);
        let mut arguments: Vec<String> = numbers.collect();
        arguments.extend(["--vxnet".to_owned(), self.vxnets.join(",")]);
        if let Way::Veth { .. } = self.way {
            arguments.extend(["--mode", "veth", "--cni-config", NETWORK_FILE].map(str::to_owned));
        }
        arguments
    }

    /// The ConfigMap's key `hostnic`.
    fn pool(&self) -> Value {
        json!({"pool": {
            "poolHigh": self.high, "poolLow": self.low, "maxNic": self.most, "vxNets": self.vxnets, "sync": 1,
        }})
    }

    /// The network's configuration, in the form of the guide where it is for pods behind veths.
    fn network(&self) -> Value {
        let mut network = json!({"cniVersion": "0.3.1", "name": "hostnic", "type": "hostnic"});
        match self.way {
            Way::Passthrough => {
                network["ipam"] = json!({"routes": [{"dst": SERVICES, "gw": "0.0.0.0"}]});
            }
            Way::Shared => network["serviceCIDR"] = json!(SERVICES),
            Way::Veth { hairpin } => {
                network["serviceCIDR"] = json!(SERVICES);
                network["hairpin"] = json!(hairpin);
                if let Some(table) = self.pod_table {
                    network["rt2Pod"] = json!(table);
                }
            }
        }
        network
    }
}

/// A daemon that runs.
#[derive(Debug)]
pub(crate) struct Daemon {
    machine: &'static Machine,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Daemon {
    /// Starts it, waits until it serves, and then lets the runtime know.
    pub(crate) fn start(world: &'static World, machine: &'static Machine, settings: &Settings) -> Self {
        let access_file = world.cloud.access_file();
        let mut arguments = settings.arguments(machine, &world.cluster.daemons_kubeconfig());
        machine.write(NETWORK_FILE, &settings.network().to_string());
        let _ = std::fs::remove_file(machine.file(POOL_FILE));
        if settings.in_cluster {
            machine.write(POOL_FILE, &settings.pool().to_string());
        }
        let own = ["--cooling", "5", "--cleanup-cache-on-exit", "--instance", &machine.instance()];
        arguments.extend(own.map(str::to_owned));
        arguments.extend(["--access-file".to_owned(), access_file.display().to_string()]);
        let mut daemon = Self { machine, arguments, process: None };
        daemon.begin();
        daemon.until_ready();
        if settings.in_cluster {
            until("the CNI file is written", || machine.file(CNI_FILE).exists().then_some(()));
        } else {
            machine.write(CNI_FILE, &settings.network().to_string());
        }
        daemon
    }

    fn begin(&mut self) {
        let mut command = self.machine.command(build::DAEMON);
        command.arg("start").args(&self.arguments);
        self.process = Some(self.machine.start(command, &self.machine.folder().join("daemon.log")));
    }

    pub(crate) fn until_ready(&self) {
        until("the daemon is ready", || self.asked(&["status"]).ok()?.contains("ready").then_some(()));
    }

    /// Switches hairpin while it runs.
    pub(crate) fn set_hairpin(&self, settings: &Settings, hairpin: bool) {
        let settings = Settings { way: Way::Veth { hairpin }, ..settings.clone() };
        self.machine.write(NETWORK_FILE, &settings.network().to_string());
        self.process.as_ref().unwrap().signal(Signal::SIGHUP);
    }

    /// It ends with its machine.
    pub(crate) fn is_lost(&mut self) {
        self.process = None;
    }

    /// Starts it on a machine that was booted again.
    pub(crate) fn begin_anew(&mut self) {
        self.begin();
        self.until_ready();
    }

    /// Kills it at once and starts it again.
    pub(crate) fn restart(&mut self) {
        self.process.take().unwrap().ends_by(Signal::SIGKILL);
        self.begin();
    }

    /// What its program prints when asked; its complaint as the error.
    pub(crate) fn asked(&self, arguments: &[&str]) -> Result<String, String> {
        output(self.machine.command(build::DAEMON).args(arguments))
    }

    pub(crate) fn listed(&self, what: &str) -> Value {
        serde_json::from_str(&self.asked(&[what, "-o", "json"]).unwrap()).unwrap()
    }

    pub(crate) fn said(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::said)
    }

    /// How many ADDs have failed so far, of those of all daemons of this machine.
    pub(crate) fn failed_adds(&self) -> usize {
        self.said().matches("ADD failed").count()
    }

    /// Waits until no pod is known any more.
    pub(crate) fn until_given_back(&self) {
        until("all pods are given back", || (self.listed("pods") == json!([])).then_some(()));
    }

    /// Takes the runtime's file away and has the daemon end in good order.
    pub(crate) fn is_told_to_end(&self) {
        let _ = std::fs::remove_file(self.machine.file(CNI_FILE));
        self.process.as_ref().unwrap().signal(Signal::SIGTERM);
    }

    /// Waits until it has ended so, which it was told.
    pub(crate) fn end(mut self) {
        let process = self.process.take().unwrap();
        let log = process.log().to_owned();
        let success = process.ends();
        let said = std::fs::read_to_string(log).unwrap_or_default();
        assert!(!said.contains("panicked") && success, "{said}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = std::fs::remove_file(self.machine.file(CNI_FILE));
            // The next trial should not find what this one had.
            process.ends_by(Signal::SIGTERM);
        }
    }
}
