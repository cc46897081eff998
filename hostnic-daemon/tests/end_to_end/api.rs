//! QingCloud's API for some machines: the program hostnic-sim in a network of its own, with NICs that are links of the
//! machines.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use hostnic_core::Result;
use hostnic_netlink::NamedNetns;
use hostnic_qingcloud::{Config, InstanceSource, QingCloud, QingCloudProvider};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::machine::{Machine, Running};
use crate::witness;

pub(crate) const SECRET: &str = "Th1s-Is-S3cret";
pub(crate) const ACCESS_KEY: &str = "ACCESSKEYOFTHETEST";
pub(crate) const INSTANCE: &str = "i-node1";
/// Every simulator has a loopback of its own.
const API: &str = "127.0.0.1:7777";
const ADMIN: &str = "127.0.0.1:7778";

/// The simulator of the machines' cloud.
#[derive(Debug)]
pub(crate) struct Api {
    running: Running,
    netns: NamedNetns,
    folder: PathBuf,
    own_links: BTreeSet<String>,
}

impl Api {
    /// A cloud of one machine, with two vxnets.
    pub(crate) async fn start(machine: &Machine) -> Self {
        let vxnets = ["--vxnet", "vxnet-a=192.168.50.0/24", "--vxnet", "vxnet-b=192.168.51.0/24"];
        Self::of(&[(INSTANCE, machine)], &vxnets).await
    }

    /// A cloud of these machines and flags, whose jobs nobody should have to wait for. Its files are in the first machine's
    /// folder.
    pub(crate) async fn of(machines: &[(&str, &Machine)], flags: &[&str]) -> Self {
        let (_, machine) = machines[0];
        let netns = NamedNetns::create(machine.folder().join("cloud")).await.unwrap();
        witness::run(netns.path(), &["ip", "link", "set", "lo", "up"]);
        let mut command = machine.run(netns.path(), env!("CARGO_BIN_EXE_hostnic-sim"));
        command
            .args(["serve", "--fabric", "--listen", API, "--admin", ADMIN, "--access-key", ACCESS_KEY])
            .args(flags)
            .args(["--latency", "attach=50ms", "--latency", "detach=50ms"])
            // Clouds of different machines have different NICs, as in truth: the machines' pods are in one folder.
            .arg("--seed")
            .arg(machine.number().to_string())
            .env("HOSTNIC_SIM_SECRET_KEY", SECRET);
        for (instance, machine) in machines {
            command.arg("--instance").arg(format!("{instance}={}", machine.netns().display()));
        }
        let running = machine.spawn(command, "api-log");
        machine.until(&running, "the API listens", async || running.said().contains("serving")).await;
        let folder = machine.folder().to_owned();
        let mut api = Self { running, netns, folder, own_links: BTreeSet::new() };
        api.write_access_file("client.yaml", SECRET);
        for (instance, machine) in machines {
            api.plugged(instance, machine).await;
        }
        api.own_links = witness::macs(machine.netns());
        api
    }

    /// The MAC address of an instance's own NIC.
    pub(crate) async fn primary(&self, instance: &str) -> String {
        self.cloud().await["instances"][instance]["primary"].as_str().unwrap().to_owned()
    }

    /// Waits until an instance's own NIC is plugged in; answers its MAC address.
    pub(crate) async fn plugged(&self, instance: &str, machine: &Machine) -> String {
        let primary = self.primary(instance).await;
        let plugged = async || witness::link_by_mac(machine.netns(), &primary).is_some();
        machine.until(&self.running, "the machine's own NIC is plugged in", plugged).await;
        primary
    }

    /// The MAC addresses of the links that the first machine had before any daemon.
    pub(crate) fn own_links(&self) -> &BTreeSet<String> {
        &self.own_links
    }

    /// The access file that the simulator prints, with this secret.
    pub(crate) fn write_access_file(&self, name: &str, secret: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;

        let path = self.folder.join(name);
        std::fs::write(&path, self.running.printed().replace(SECRET, secret)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The access file that is right.
    pub(crate) fn access_file(&self) -> PathBuf {
        self.folder.join("client.yaml")
    }

    /// One request to the admin API, which is to succeed.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let exchange = move || {
            let mut stream = TcpStream::connect(ADMIN)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer = self.netns.open().unwrap().run(exchange).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// What the simulator has logged so far.
    pub(crate) fn said(&self) -> String {
        self.running.said()
    }

    /// Whether connections to the API are taken.
    pub(crate) async fn listen(&self, listening: bool) {
        self.admin("POST", "/listening", json!({ "listening": listening })).await;
    }

    /// Does what somebody else does in the cloud in the name of an instance, as another program or by the console.
    pub(crate) async fn elsewhere<T, F, W>(&self, instance: &str, act: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(QingCloudProvider) -> W + Send + 'static,
        W: Future<Output = Result<T>>,
    {
        let (file, instance) = (self.access_file(), InstanceSource::Given(instance.parse().unwrap()));
        let acts = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let config = Config::load(&file, None).unwrap().config;
                act(QingCloud::from_config(config).instance(instance).connect().await.unwrap()).await.unwrap()
            })
        };
        self.netns.open().unwrap().run(acts).await.unwrap()
    }

    /// All that the cloud keeps about NICs and instances.
    pub(crate) async fn cloud(&self) -> Value {
        self.admin("GET", "/state", Value::Null).await["cloud"].take()
    }

    /// The NICs that the cloud has beside the primary one, as the cloud tells them.
    pub(crate) async fn nics(&self) -> Vec<Value> {
        let cloud = self.cloud().await;
        let nics = cloud["nics"].as_object().unwrap().values();
        nics.map(|nic| nic["nic"].clone()).filter(|nic| nic["name"] != "primary").collect()
    }

    /// Their MAC addresses.
    pub(crate) async fn macs(&self) -> BTreeSet<String> {
        self.nics().await.iter().map(|nic| nic["mac"].as_str().unwrap().to_owned()).collect()
    }

    /// How many calls there were.
    pub(crate) async fn calls(&self) -> u64 {
        let counts = self.admin("GET", "/counts", Value::Null).await;
        counts["counts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    }

    /// How often an action was called.
    pub(crate) async fn calls_of(&self, action: &str) -> u64 {
        let counts = self.admin("GET", "/counts", Value::Null).await;
        counts["counts"][action].as_u64().unwrap_or(0)
    }

    /// The namespace that is the VPC: its router, and the cloud's ends of all NICs.
    pub(crate) fn vpc(&self) -> PathBuf {
        self.folder.join(format!("hostnic-sim-{}", self.running.pid())).join("vpc")
    }

    /// What the cloud dropped at the NICs' ports, as `nft` tells it.
    pub(crate) fn police_drops(&self) -> u64 {
        let told = witness::run(&self.vpc(), &["nft", "-j", "list", "ruleset"]);
        counted(&serde_json::from_slice(&told.stdout).unwrap())
    }

    /// Ends the cloud, which is to leave nothing behind.
    pub(crate) async fn end(self) {
        assert_eq!(self.police_drops(), 0, "a cloud would have dropped these");
        let (success, said) = self.running.ends_by(Signal::SIGTERM).await;
        assert!(success, "{said}");
    }
}

/// All that the counters in a ruleset of `nft` have counted.
fn counted(ruleset: &Value) -> u64 {
    match ruleset {
        Value::Array(values) => values.iter().map(counted).sum(),
        Value::Object(keys) => keys
            .iter()
            .map(
                |(key, value)| {
                    if key == "counter" { value["packets"].as_u64().unwrap_or(0) } else { counted(value) }
                },
            )
            .sum(),
        _ => 0,
    }
}

/// The flags of a daemon in this cloud.
pub(crate) fn flags(access_file: &Path) -> Vec<&str> {
    vec!["--access-file", access_file.to_str().unwrap(), "--vxnet", "vxnet-a,vxnet-b", "--instance", INSTANCE]
}
