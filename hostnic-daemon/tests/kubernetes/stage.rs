//! One trial's use of the world: daemons with its settings, what it makes in the cluster, and the judgement at its end.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::daemon::{Daemon, Settings};
use crate::machine::Machine;
use crate::pod::{LABEL, PORT, Pod, Wanted};
use crate::process::{succeeds, until};
use crate::world::World;

/// The nodes with daemons.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) world: &'static World,
    pub(crate) daemons: Vec<Daemon>,
    before: Vec<BTreeSet<String>>,
    dropped: Vec<String>,
}

impl Stage {
    /// Starts a daemon on each node, and waits until pods can be placed there.
    pub(crate) fn set(world: &'static World, settings: &[Settings; 2]) -> Self {
        let mut stage = Self::without_daemons(world);
        let nodes = world.nodes.iter().zip(settings);
        stage.daemons = nodes.map(|(node, settings)| Daemon::start(world, node, settings)).collect();
        stage.until_nodes_are_ready();
        stage
    }

    /// The same for a trial that brings daemons of its own.
    pub(crate) fn without_daemons(world: &'static World) -> Self {
        let before = world.nodes.iter().map(kernel).collect();
        Self { world, daemons: Vec::new(), before, dropped: world.cloud.dropped() }
    }

    /// Waits until pods can be placed on each node.
    pub(crate) fn until_nodes_are_ready(&self) {
        for node in &self.world.nodes {
            let condition = format!("node/{}", node.name());
            let wait = ["wait", "--for=condition=Ready", "--timeout=60s", &condition];
            self.world.cluster.kubectl(&wait).unwrap();
        }
    }

    /// Makes pods and waits until all run.
    pub(crate) fn pods<const N: usize>(&self, wanted: [Wanted; N]) -> [Pod; N] {
        for wanted in &wanted {
            self.world.cluster.apply(&wanted.object());
        }
        wanted.map(|wanted| self.running(&wanted.name))
    }

    /// Makes a Deployment and waits until so many of its pods run.
    pub(crate) fn deployment(&self, wanted: &Wanted, replicas: u32) -> Vec<Pod> {
        self.world.cluster.apply(&wanted.deployment(replicas));
        let deployment = format!("deployment/{}", wanted.name);
        let rolled = self.world.cluster.kubectl(&["rollout", "status", "--timeout=90s", &deployment]);
        if let Err(said) = rolled {
            let events = self.world.cluster.kubectl(&["get", "events"]);
            panic!("{said}{}", events.unwrap_or_else(|said| said));
        }
        let app = format!("app={}", wanted.labels["app"]);
        let told = self.world.cluster.get(&["pods", "--selector", &app]);
        let names =
            told["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap());
        names.map(|name| self.running(name)).collect()
    }

    /// Waits until a pod is ready.
    pub(crate) fn running(&self, name: &str) -> Pod {
        let name = format!("pod/{name}");
        let waited = self.world.cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &name]);
        if let Err(said) = waited {
            let described = self.world.cluster.kubectl(&["describe", &name]);
            panic!("{said}{}", described.unwrap_or_else(|said| said));
        }
        until("the pod's process is found", || Pod::of(&self.world.cluster.get(&[&name])))
    }

    /// Makes a service of the pods with this app, which are these, and waits until the nodes know them; answers its
    /// address and its node port.
    pub(crate) fn service(&self, name: &str, app: &str, spec: &Value, pods: &[&Pod]) -> (Ipv4Addr, u16) {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": {LABEL: "yes"}},
            "spec": {
                "type": "NodePort",
                "selector": {"app": app},
                "ports": [{"port": 80, "targetPort": PORT}],
            },
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.world.cluster.apply(&object);
        let told = self.world.cluster.get(&["service", name]);
        let mark = format!("default/{name}");
        for node in &self.world.nodes {
            until(&format!("{} serves {name}", node.name()), || {
                let rules = node.run(&["iptables-save", "-t", "nat"]);
                let mut ends = rules.lines().filter(|rule| rule.contains(&mark) && rule.contains("DNAT"));
                let known: BTreeSet<&str> =
                    ends.by_ref().filter_map(|rule| rule.split("--to-destination ").nth(1)).collect();
                let wanted: Vec<String> = pods.iter().map(|pod| format!("{}:{PORT}", pod.address)).collect();
                (known == wanted.iter().map(String::as_str).collect()).then_some(())
            });
        }
        let port = told["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        (told["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), port.try_into().unwrap())
    }

    /// Frames that a cloud would have dropped since the beginning.
    pub(crate) fn dropped(&self) -> Vec<String> {
        self.world.cloud.dropped().into_iter().filter(|line| !self.dropped.contains(line)).collect()
    }

    /// Removes what the trial made, and makes sure that nothing of it is left in cluster, nodes and cloud, and that the
    /// cloud dropped nothing.
    pub(crate) fn end(mut self) {
        let begun = Instant::now();
        clear(self.world, &self.daemons);
        let cleared = begun.elapsed();
        for daemon in &self.daemons {
            daemon.is_told_to_end();
        }
        for daemon in self.daemons.drain(..) {
            daemon.end();
        }
        println!(
            "    pods were gone after {:.1} s, NICs after {:.1} s",
            cleared.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        assert_eq!(self.world.cloud.nics(), Vec::<Value>::new(), "NICs are left in the cloud");
        for (node, before) in self.world.nodes.iter().zip(&self.before) {
            let now = kernel(node);
            let [less, more]: [Vec<_>; 2] =
                [before.difference(&now).collect(), now.difference(before).collect()];
            assert!(less.is_empty() && more.is_empty(), "{}: less {less:#?}, more {more:#?}", node.name());
        }
        assert_eq!(self.dropped(), Vec::<String>::new(), "a cloud would have dropped these");
        println!("    police counters 0; nothing left in cluster, cloud and nodes' kernels");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The next trial finds a clean cluster, as far as it can be.
            for (node, daemon) in self.world.nodes.iter().zip(&self.daemons) {
                let said = daemon.said();
                let lines: Vec<&str> = said.lines().collect();
                let last = lines[lines.len().saturating_sub(15)..].join("\n");
                eprintln!("    the daemon of {} said last:\n{last}", node.name());
            }
            clear(self.world, &self.daemons);
        }
    }
}

/// Removes everything that a trial made, and waits until the runtimes have taken the pods' networks down.
fn clear(world: &World, daemons: &[Daemon]) {
    let label = format!("{LABEL}=yes");
    let delete = |arguments: &[&str]| {
        let all = [&["delete", "--selector", &label], arguments].concat();
        if let Err(said) = world.cluster.kubectl(&all) {
            eprintln!("    {said}");
        }
    };
    // Before their pods, which they would make anew.
    delete(&["deployments", "--cascade=foreground", "--wait=false"]);
    delete(&["pods,services", "--wait=false"]);
    for daemon in daemons {
        daemon.until_given_back();
    }
    // kubelets of this age take up to a minute to say that a pod has gone.
    delete(&["deployments,pods", "--grace-period=0", "--force"]);
}

/// What hostnic could have made in a node's kernel for pods and NICs. The rules of the node itself stay, so that pods are
/// served on while no daemon runs; and what kube-proxy made is its own business.
fn kernel(machine: &Machine) -> BTreeSet<String> {
    let mut things = BTreeSet::new();
    let mut note = |what: &str, command: &[&str], keys: &[&str]| {
        for thing in machine.ip(command).into_iter().filter(|thing| what != "rule" || names_anything(thing)) {
            let told = keys.iter().map(|key| format!(" {key} {}", thing[*key]));
            things.insert(format!("{what}:{}", told.collect::<String>()));
        }
    };
    note("link", &["link", "show"], &["ifname", "ifalias", "altnames"]);
    let routes = ["-4", "route", "show", "table", "all"];
    note("route", &routes, &["dst", "gateway", "dev", "table", "prefsrc", "scope"]);
    note("rule", &["-4", "rule", "show"], &["priority", "src", "dst", "iif", "fwmark", "table"]);
    note("proxy", &["-4", "neighbour", "show", "proxy"], &["dst", "dev"]);
    let tables = succeeds(machine.command("nft").args(["list", "tables"]));
    let of_node = |line: &str| line.ends_with("hostnic-node") || line.ends_with("hostnic-hairpin");
    let ours = |line: &&str| line.contains("hostnic") && !of_node(line);
    things.extend(tables.lines().filter(ours).map(str::to_owned));
    things
}

/// Whether a rule is for a pod, a NIC or a subnet.
fn names_anything(rule: &Value) -> bool {
    rule["src"] != "all" || rule["dst"].is_string() || rule["iif"].as_str().is_some_and(|iif| iif != "lo")
}
