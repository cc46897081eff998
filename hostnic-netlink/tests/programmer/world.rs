//! A node and its pods, as network namespaces, and questions to `ip` about them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::id::MacAddr;
use hostnic_core::route::{PodDatapath, PodPlan, Route};
use hostnic_netlink::link::VethEnd;
use hostnic_netlink::{Connection, NamedNetns, NetlinkProgrammer};
use serde_json::Value;
use tokio::time::Instant;

/// Namespaces of different trials have different names.
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) const MAC: &str = "52:54:00:00:00:01";

/// A node in a namespace of its own, a folder for the namespaces of its pods, and the other ends of its NICs.
pub(crate) struct World {
    folder: PathBuf,
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

    /// A node with one NIC, `eth1` with [`MAC`], a pod, its plan and a programmer.
    pub(crate) async fn with_a_pod() -> (Self, NamedNetns, PodPlan, NetlinkProgrammer) {
        let world = Self::new().await;
        world.plug("eth1", MAC).await;
        let pod = world.pod("pod").await;
        let plan = plan(&pod, "c1", MAC);
        let programmer = world.programmer().await;
        (world, pod, plan, programmer)
    }

    pub(crate) async fn programmer(&self) -> NetlinkProgrammer {
        NetlinkProgrammer::new(self.node.open().unwrap(), vec![self.folder.join("pods")]).await.unwrap()
    }

    pub(crate) async fn pod(&self, name: &str) -> NamedNetns {
        NamedNetns::create(self.folder.join("pods").join(name)).await.unwrap()
    }

    /// Plugs a NIC into the node: one end of a pair, whose other end, of the same name, is outside and up.
    pub(crate) async fn plug(&self, name: &str, mac: &str) -> MacAddr {
        let mac: MacAddr = mac.parse().unwrap();
        let connection = Connection::open(&self.node.open().unwrap()).await.unwrap();
        let outside = self.outside.open().unwrap();
        let ends = (
            VethEnd { name, mac: Some(mac), netns: None },
            VethEnd { name, mac: None, netns: Some(&outside) },
        );
        connection.create_veth(ends.0, ends.1).await.unwrap();
        ip(self.outside.path(), &["link", "set", name, "up"]);
        connection.close().await;
        mac
    }
}

/// A plan for `eth0` of `container` in `pod`, in a subnet of its own kind: one route beside the default one.
pub(crate) fn plan(pod: &NamedNetns, container: &str, mac: &str) -> PodPlan {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    PodPlan {
        datapath: PodDatapath::Passthrough,
        mark: key.mark(),
        netns: NetnsPath::new(pod.path()).unwrap(),
        sandbox: pod.open().unwrap().sandbox(),
        ifname: key.ifname,
        mac: mac.parse().unwrap(),
        address: "192.168.50.4/24".parse().unwrap(),
        gateway: "192.168.50.1".parse().unwrap(),
        routes: vec![Route {
            destination: "10.10.0.0/16".parse().unwrap(),
            next_hop: Some("192.168.50.9".parse().unwrap()),
        }],
        mtu: Some(1400),
    }
}

/// Runs `ip` in a namespace and returns what it prints, as JSON; no output is an empty list.
pub(crate) fn ip(netns: &Path, arguments: &[&str]) -> Value {
    let output = run(netns, &[&["ip", "-j", "-d"], arguments].concat());
    if output.stdout.is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command in a namespace, and expects it to succeed.
pub(crate) fn run(netns: &Path, command: &[&str]) -> Output {
    // `nsenter` changes the network alone, where `ip netns exec` would also mount a new /sys.
    let network = format!("--net={}", netns.display());
    let output = Command::new("nsenter").arg(network).args(command).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The names of a namespace's links, loopback left out, in order.
pub(crate) fn links(netns: &Path) -> Vec<String> {
    let mut names = fields(&ip(netns, &["link", "show"]), "ifname");
    names.retain(|name| name != "lo");
    names.sort();
    names
}

/// One field of every object of a list.
pub(crate) fn fields(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().filter_map(|item| Some(item[field].as_str()?.to_owned())).collect()
}

/// What an operation could have changed in a namespace, without what the kernel adds by itself some time later.
pub(crate) fn everything(netns: &Path) -> String {
    let addresses = ["-4", "address", "show"];
    let commands = [&["link", "show"][..], &addresses, &["-4", "route", "show", "table", "all"]];
    let [mut links, mut addresses, routes] = commands.map(|arguments| ip(netns, arguments));
    for link in links.as_array_mut().unwrap().iter_mut().chain(addresses.as_array_mut().unwrap()) {
        let link = link.as_object_mut().unwrap();
        let up = link["flags"].as_array().unwrap().contains(&Value::from("UP"));
        link.insert("flags".to_owned(), up.into());
        link.remove("operstate");
    }
    format!("{links:#}\n{addresses:#}\n{routes:#}")
}

/// As [`eventually`], where the answer is waited for.
pub(crate) async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds().await {
        assert!(Instant::now() < end, "not within 5 s: {what}");
        tokio::task::yield_now().await;
    }
}

/// Asks again until the answer is yes; for what the kernel does in the background.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < end, "not within 5 s: {what}");
        tokio::task::yield_now().await;
    }
}
