//! Two nodes in veth mode with the settings of the Kubernetes guide, and runtimes that have nothing but the CNI file that
//! the daemon writes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::machine::{Machine, Running};
use crate::pod::Pod;
use crate::site::Site;
use crate::trial;
use crate::witness::{ip, run};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "nodes_in_veth_mode_serve_pods_by_the_cni_file_they_write_and_switch_hairpin_by_theirs",
        serves,
    )]
}

/// The settings of one node, kept as a cluster keeps a mounted ConfigMap: behind a link that is swapped.
struct ConfigMap(PathBuf);

impl ConfigMap {
    fn mount(folder: PathBuf, hairpin: bool) -> Self {
        fs::create_dir(&folder).unwrap();
        symlink("data/hostnic-cni.json", folder.join("hostnic-cni.json")).unwrap();
        let map = Self(folder);
        map.replace("1", hairpin);
        map
    }

    fn replace(&self, version: &str, hairpin: bool) {
        let text = json!({
            "cniVersion": "0.3.1", "name": "hostnic", "type": "hostnic", "vethPrefix": "vnic", "mtu": 1400,
            "serviceCIDR": "10.96.0.0/12", "hairpin": hairpin, "natMark": "0x10000"
        });
        fs::create_dir(self.0.join(version)).unwrap();
        fs::write(self.0.join(version).join("hostnic-cni.json"), text.to_string()).unwrap();
        symlink(version, self.0.join("swapped")).unwrap();
        fs::rename(self.0.join("swapped"), self.0.join("data")).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.0.join("hostnic-cni.json")
    }
}

/// A node with its settings, and where its runtime looks.
struct Node {
    number: usize,
    settings: ConfigMap,
    runtime: PathBuf,
}

impl Node {
    fn new(site: &Site, number: usize) -> Self {
        let folder = site.machines[number].folder();
        let runtime = folder.join("net.d");
        fs::create_dir(&runtime).unwrap();
        // What the Go version left: nothing may be asked by it any more.
        fs::write(runtime.join("10-hostnic.conf"), r#"{"name":"hostnic","type":"hostnic"}"#).unwrap();
        Self { number, settings: ConfigMap::mount(folder.join("settings"), false), runtime }
    }

    async fn start(&self, site: &Site, log: &str) -> Running {
        let file = self.settings.file();
        let folders = [file.to_str().unwrap(), self.runtime.to_str().unwrap()];
        let flags = [
            &[
                "--mode",
                "veth",
                "--vxnet",
                "vxnet-a",
                "--cni-config",
                folders[0],
                "--cni-conf-dir",
                folders[1],
            ][..],
            &["--pool-low", "2", "--pool-high", "6", "--cooling", "0", "--cleanup-cache-on-exit"],
        ];
        let daemon = site.start(self.number, log, &flags.concat()).await;
        let machine = &site.machines[self.number];
        let written = async || self.configuration().is_some();
        machine.until(&daemon, "the CNI file is written", written).await;
        machine.until_filled(&daemon).await;
        daemon
    }

    /// What runtimes of this node have.
    fn configuration(&self) -> Option<String> {
        let text = fs::read_to_string(self.runtime.join("10-hostnic.conf")).ok()?;
        text.contains("hostnicBoot").then_some(text)
    }

    async fn call(&self, site: &Site, command: &str, pod: &Pod) -> Value {
        let call = site.machines[self.number].call(command, pod).stdin(&self.configuration().unwrap());
        call.succeeds().await
    }

    async fn add(&self, site: &Site, pod: &Pod) -> Ipv4Addr {
        let result = self.call(site, "ADD", pod).await;
        let address = result["ips"][0]["address"].as_str().unwrap();
        let link = pod.link("eth0").unwrap();
        assert_eq!(link["mtu"], 1400, "{link:#}");
        address.split('/').next().unwrap().parse().unwrap()
    }
}

/// The rules that lead what came in by a NIC to the pod with this address, as the guide looks for them.
fn hairpin_rules(netns: &Path, address: Ipv4Addr) -> Vec<Value> {
    let rules = ip(netns, &["rule", "show"]);
    let of_pod = |rule: &&Value| {
        rule["dst"] == address.to_string()
            && rule["iif"].as_str().is_some_and(|iif| iif.starts_with("hostnic_"))
    };
    rules.as_array().unwrap().iter().filter(of_pod).cloned().collect()
}

/// What connection tracking knows of these addresses in a namespace.
fn flows_of(netns: &Path, addresses: &[Ipv4Addr]) -> Vec<String> {
    let listed = String::from_utf8(run(netns, &["conntrack", "-L"]).stdout).unwrap();
    let ends: Vec<String> =
        addresses.iter().flat_map(|of| [format!("src={of} "), format!("dst={of} ")]).collect();
    let names = |flow: &&str| ends.iter().any(|end| flow.contains(end));
    listed.lines().filter(names).map(str::to_owned).collect()
}

async fn until_hairpin(machine: &Machine, daemon: &Running, address: Ipv4Addr, on: bool) {
    let what = if on { "hairpin is on" } else { "hairpin is off" };
    let switched = async || hairpin_rules(machine.netns(), address).is_empty() != on;
    machine.until(daemon, what, switched).await;
}

async fn serves() {
    let site = Site::new(&["vxnet-a=192.168.50.0/24"]).await;
    let nodes = [Node::new(&site, 0), Node::new(&site, 1)];
    assert!(nodes.iter().all(|node| node.configuration().is_none()));
    let mut daemons = vec![nodes[0].start(&site, "log-1").await, nodes[1].start(&site, "log-1").await];
    let [first, second] = &site.machines;
    let pods = [first.pod("a").await, first.pod("b").await, second.pod("c").await];
    let of = [&nodes[0], &nodes[0], &nodes[1]];
    let mut addresses = Vec::new();
    for (pod, node) in pods.iter().zip(of) {
        addresses.push(node.add(&site, pod).await);
    }
    let all_reach_all = async || {
        for pod in &pods {
            for address in &addresses {
                pod.ping(*address).await;
            }
            pod.ping([192, 168, 50, 1].into()).await;
        }
    };
    all_reach_all().await;

    let status = first.listed("status").await;
    assert_eq!(
        (&status["mode"], &status["mode_reason"]),
        (&"veth".into(), &"mode is given, flag: --mode".into())
    );
    let listed = first.listed("pods").await;
    assert!(
        listed.as_array().unwrap().iter().all(|pod| pod["way"] == "veth" && pod["subnet"] == "vxnet-a"),
        "{listed:#}"
    );
    assert_eq!(hairpin_rules(first.netns(), addresses[0]), Vec::<Value>::new());
    nodes[0].settings.replace("2", true);
    until_hairpin(first, &daemons[0], addresses[0], true).await;
    all_reach_all().await;

    let configuration = nodes[0].configuration();
    daemons.remove(0).ends_by(Signal::SIGKILL).await;
    daemons.insert(0, nodes[0].start(&site, "log-2").await);
    assert_eq!(nodes[0].configuration(), configuration, "the CNI file of this boot stays");
    assert_eq!(first.listed("pods").await, listed);
    all_reach_all().await;
    assert_eq!(hairpin_rules(first.netns(), addresses[0]).len(), 1);
    nodes[0].settings.replace("3", false);
    until_hairpin(first, &daemons[0], addresses[0], false).await;
    all_reach_all().await;

    assert_ne!(flows_of(first.netns(), &addresses[..2]), [""; 0]);
    for (pod, node) in pods.iter().zip(of) {
        node.call(&site, "DEL", pod).await;
    }
    first.until_released().await;
    assert_eq!(flows_of(first.netns(), &addresses[..2]), [""; 0], "they have survived their pods' leases");
    second.until_released().await;
    pods.iter().for_each(Pod::is_empty);
    for daemon in daemons {
        let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
        assert!(success, "{said}");
    }
    let Site { api, .. } = site;
    assert_eq!(api.nics().await, Vec::<Value>::new(), "NICs are left in the cloud");
    api.end().await;
}
