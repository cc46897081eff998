//! A node and its pods, as network namespaces, and questions to `ip` about them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use hostnic_core::id::MacAddr;
use hostnic_netlink::link::VethEnd;
use hostnic_netlink::{Connection, NamedNetns};
use serde_json::Value;

/// Namespaces of different trials have different names.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A node in a namespace of its own, a folder for the namespaces of its pods, and the other ends of its NICs.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) node: NamedNetns,
    pub(crate) outside: NamedNetns,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = PathBuf::from(format!("/run/world{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let node = NamedNetns::create(folder.join("node")).await.unwrap();
        let outside = NamedNetns::create(folder.join("outside")).await.unwrap();
        Self { folder, node, outside }
    }

    /// Where the programmer looks for pods.
    pub(crate) fn pods(&self) -> PathBuf {
        self.folder.join("pods")
    }

    pub(crate) async fn pod(&self, name: &str) -> NamedNetns {
        NamedNetns::create(self.pods().join(name)).await.unwrap()
    }

    /// Plugs a NIC into the node: one end of a pair, whose other end, of the same name, is outside.
    pub(crate) async fn plug(&self, name: &str, mac: &str) -> MacAddr {
        let mac: MacAddr = mac.parse().unwrap();
        let connection = Connection::open(&self.node.open().unwrap()).await.unwrap();
        let outside = self.outside.open().unwrap();
        connection
            .create_veth(
                VethEnd { name, mac: Some(mac), netns: None },
                VethEnd { name, mac: None, netns: Some(&outside) },
            )
            .await
            .unwrap();
        ip(self.outside.path(), &["link", "set", name, "up"]);
        connection.close().await;
        mac
    }
}

/// Runs `ip` in a namespace and returns what it prints, as JSON; empty output is an empty list.
pub(crate) fn ip(netns: &Path, arguments: &[&str]) -> Value {
    let output = run(netns, &[&["-j", "-d"], arguments].concat());
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether `ip` succeeds.
pub(crate) fn ip_succeeds(netns: &Path, arguments: &[&str]) -> bool {
    run(netns, arguments).status.success()
}

fn run(netns: &Path, arguments: &[&str]) -> std::process::Output {
    // `nsenter` changes the network alone, where `ip netns exec` would also mount a new /sys.
    let network = format!("--net={}", netns.display());
    Command::new("nsenter").arg(network).arg("ip").args(arguments).output().unwrap()
}

/// The names of a namespace's links, loopback left out, in order.
pub(crate) fn links(netns: &Path) -> Vec<String> {
    let list = ip(netns, &["link", "show"]);
    let mut names: Vec<String> =
        list.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).collect();
    names.retain(|name| name != "lo");
    names.sort();
    names
}
