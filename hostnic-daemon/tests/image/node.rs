//! A node of the cluster: a machine in a cloud, and what kubelet does on it with the manifest.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hostnic_netlink::Netns;
use serde_json::{Value, json};

use crate::api::{Api, INSTANCE};
use crate::bundle::Surroundings;
use crate::container::Container;
use crate::host::PATIENCE;
use crate::machine::Machine;
use crate::manifest::Manifest;
use crate::plugin::Call;
use crate::{names, witness};

/// The daemon's arguments beside the manifest's. There is no API server here; the tests on a real Kubernetes have one.
const ARGUMENTS: [&str; 9] = [
    "--kubernetes=false",
    "--mode=passthrough",
    "--vxnet",
    "vxnet-a,vxnet-b",
    "--pool-low",
    "1",
    "--pool-high",
    "4",
    "--cleanup-cache-on-exit",
];

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) surroundings: Surroundings,
    api: Api,
}

impl Node {
    /// A node whose kernel forwards nothing, as it comes from the cloud.
    pub(crate) async fn new() -> Self {
        let machine = Machine::new().await;
        witness::run(machine.netns(), &["ip", "link", "set", "lo", "up"]);
        // Its primary NIC, whose address it sends to pods from.
        for command in [
            ["link", "add", "primary", "type", "veth", "peer", "name", "router"].as_slice(),
            &["link", "set", "router", "up"],
            &["address", "add", "172.30.0.2/24", "dev", "primary"],
            &["link", "set", "primary", "up"],
            &["route", "add", "default", "via", "172.30.0.1"],
        ] {
            witness::run(machine.netns(), &[&["ip"], command].concat());
        }
        // As systemd has it for all of a machine.
        witness::run(machine.netns(), &["mount", "--make-shared", "/run"]);
        let api = Api::start(&machine).await;
        let access_file = std::fs::read_to_string(api.access_file()).unwrap();
        let address =
            access_file.lines().find_map(|line| line.strip_prefix("host: '")?.strip_suffix('\'')).unwrap();
        let address: Ipv4Addr = address.parse().unwrap();
        names::serve(Netns::open(machine.netns()).unwrap(), address).await;
        let surroundings = Surroundings {
            netns: machine.netns().to_owned(),
            host: machine.folder().join("host"),
            address: "127.0.0.1".to_owned(),
            credentials: "qcsecret",
            access_file: access_file.replace(&address.to_string(), names::API),
        };
        let qingcloud = surroundings.path("/etc/qingcloud");
        std::fs::create_dir_all(&qingcloud).unwrap();
        std::fs::write(qingcloud.join("instance-id"), INSTANCE).unwrap();
        symlink(surroundings.path("/run/hostnic/hostnic.sock"), machine.socket()).unwrap();
        let node = Self { machine, surroundings, api };
        node.forwards_nothing();
        node
    }

    /// Undoes what a daemon before did to the kernel's settings.
    pub(crate) fn forwards_nothing(&self) {
        witness::run(self.machine.netns(), &["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=0"]);
    }

    fn bundle(&self, called: &str) -> PathBuf {
        self.machine.folder().join("bundles").join(called)
    }

    /// Runs the init container, which is to end by itself; answers whether it succeeded, and what it printed or said.
    pub(crate) async fn installs(&self, manifest: &Manifest, called: &str) -> (bool, String) {
        let bundle = self.bundle(called);
        self.surroundings.bundle(&bundle, manifest, manifest.install(), &[]);
        Container::start(&self.machine, &bundle).ended().await
    }

    /// Starts the daemon.
    pub(crate) fn starts(&self, manifest: &Manifest, called: &str) -> Container {
        let bundle = self.bundle(called);
        self.surroundings.bundle(&bundle, manifest, manifest.daemon(), &ARGUMENTS);
        Container::start(&self.machine, &bundle)
    }

    /// Waits until a daemon has a NIC to give, or says why there will be none.
    pub(crate) async fn is_up(&self, daemon: &mut Container) -> Result<(), String> {
        let up = async {
            loop {
                if daemon.running.has_ended() {
                    let said = daemon.running.said();
                    return Err(format!("does not start: {}", said.lines().last().unwrap_or_default()));
                }
                if self
                    .machine
                    .asked(&["nics", "-o", "json"])
                    .await
                    .is_ok_and(|nics| nics.contains("\"free\""))
                {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, up).await {
            Ok(up) => up,
            Err(_) => Err(format!("no NIC is free: {}", daemon.running.said())),
        }
    }

    /// A pod added and deleted that comes after the daemon, with a route by the node itself; or what kept it from that.
    pub(crate) async fn serves(&self, name: &str) -> Result<(), String> {
        let machine = &self.machine;
        let pod = machine.pod(name).await;
        let answer = added(asking(machine.call("ADD", &pod))).await?;
        pod.agrees_with(&answer);
        let routes = answer["routes"].as_array().unwrap();
        let by_node = routes.iter().find(|route| route["dst"] == "10.96.0.0/12").unwrap();
        pod.ping(by_node["gw"].as_str().unwrap().parse().unwrap()).await;
        asking(machine.call("DEL", &pod)).succeeds().await;
        machine.until_released().await;
        pod.is_empty();
        Ok(())
    }

    /// The same for a container whose namespace is named by its process.
    pub(crate) async fn serves_by_proc(&self, netns: &Path) -> Result<(), String> {
        let call = |command| Call::new(command, &self.machine.socket(), "contained", netns);
        added(call("ADD").with("timeout", json!(5))).await?;
        call("DEL").succeeds().await;
        self.machine.until_released().await;
        Ok(())
    }

    /// What is answered at an address of the node, as to kubelet.
    pub(crate) async fn page(&self, address: &str, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        let address = address.to_owned();
        let exchange = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        Netns::open(self.machine.netns()).unwrap().run(exchange).await.unwrap().unwrap()
    }

    /// Ends the cloud. Nothing may be left in it.
    pub(crate) async fn end(self) {
        assert_eq!(self.api.nics().await, Vec::<Value>::new(), "NICs are left in the cloud");
        self.api.end().await;
    }
}

fn asking(call: Call) -> Call {
    call.with("ipam", json!({"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]})).with("timeout", json!(5))
}

/// The result of an ADD, or why it failed.
async fn added(call: Call) -> Result<Value, String> {
    let outcome = call.run().await;
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
    if outcome.success {
        return Ok(answer);
    }
    let [message, details] = ["msg", "details"].map(|key| answer[key].as_str().unwrap_or_default());
    Err(format!("ADD fails: {message}: {details}"))
}
