//! The machine of somebody who follows a document: the folders that the document names, as they would be found on it, its
//! programs under the document's names, and QingCloud's API in the place of the real one.
//!
//! Nothing of the real machine is touched: each command has /etc, /opt and /run/hostnic of its desk and nobody else's.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Once;

use hostnic_core::capability::NicForwarding;
use hostnic_core::id::NicId;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::Command;

use crate::api::{ACCESS_KEY, Api, SECRET};
use crate::build;
use crate::machine::{Machine, Running};
use crate::pod::Pod;
use crate::witness::{self, ip};

/// The instance in the prompt of hostnic-cni's document.
pub(crate) const INSTANCE: &str = "i-zwa7jztl";
/// Where the machine's own /etc is while a desk's is in its place.
const OWN_ETC: &str = "/run/etc-of-the-machine";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The vxnets of the log in hostnic-cni's document, with their prefixes.
pub(crate) const FIRST: &str = "vxnet-oca1g0z";
pub(crate) const SECOND: &str = "vxnet-oilq879";
pub(crate) const THIRD: &str = "vxnet-2n6g6gx";
const VXNETS: [(&str, &str); 3] =
    [(FIRST, "192.168.4.0/24"), (SECOND, "192.168.3.0/24"), (THIRD, "192.168.0.0/24")];

/// The access key and its secret.
pub(crate) const ACCESS: [&str; 2] = [ACCESS_KEY, SECRET];

/// Puts a desk's folders in the place of the machine's and runs a line.
const ENTER: &str = r#"set -e
mount --bind "$1/etc" /etc
mount --bind "$1/opt" /opt
mount --bind "$1/run" /run/hostnic
cd "$1/work"
exec bash -c "$2"
"#;

/// A machine to follow a document on.
pub(crate) struct Desk {
    machine: Machine,
    api: Api,
    host: Ipv4Addr,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Lets namespaces that are made later be seen by programs with mounts of their own.
fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for folder in [OWN_ETC, "/run/hostnic"] {
            std::fs::create_dir(folder).unwrap();
        }
        for arguments in [["--rbind", "/etc", OWN_ETC].as_slice(), &["--make-shared", "/run"]] {
            let done = std::process::Command::new("mount").args(arguments).status().unwrap();
            assert!(done.success(), "mount {arguments:?}");
        }
    });
}

/// The machine's /etc, but for what the documents write there.
fn furnish_etc(etc: &Path) {
    for folder in ["qingcloud", "cni/net.d"] {
        std::fs::create_dir_all(etc.join(folder)).unwrap();
    }
    std::fs::write(etc.join("qingcloud/instance-id"), format!("{INSTANCE}\n")).unwrap();
    std::fs::write(etc.join("hosts"), "127.0.0.1 localhost\n192.168.4.253 node-1\n").unwrap();
    for entry in std::fs::read_dir("/etc").unwrap() {
        let name = entry.unwrap().file_name();
        if !["qingcloud", "cni", "hostnic", "hosts"].iter().any(|own| name == *own) {
            symlink(Path::new(OWN_ETC).join(&name), etc.join(&name)).unwrap();
        }
    }
}

impl Desk {
    /// A machine whose own NIC is in the vxnet `own`, set up as DHCP would.
    pub(crate) async fn new(own: &str) -> Self {
        prepare();
        let machine = Machine::new().await;
        let folder = machine.folder();
        for name in ["etc", "opt/cni/bin", "run", "home", "work/bin"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        furnish_etc(&folder.join("etc"));
        // The programs under the documents' names, and the plugins, as a package of them would be unpacked.
        for name in ["daemon", "qingagent", "hostnic-daemon"] {
            symlink(build::DAEMON, folder.join("work/bin").join(name)).unwrap();
        }
        for name in ["hostnic", "qingcni"] {
            std::fs::copy(build::path(), folder.join("opt/cni/bin").join(name)).unwrap();
        }
        symlink(LOOPBACK, folder.join("opt/cni/bin/loopback")).unwrap();
        symlink(folder.join("run/hostnic.sock"), machine.socket()).unwrap();

        let mut flags = vec!["--zone".to_owned(), "pek3a".to_owned()];
        for (id, prefix) in VXNETS {
            let flag = if id == own { "--primary-vxnet" } else { "--vxnet" };
            flags.extend([flag.to_owned(), format!("{id}={prefix}")]);
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let api = Api::of(&[(INSTANCE, &machine)], &flags).await;
        let host = set_up_own_nic(&machine, &api, own).await;
        Self { machine, api, host }
    }

    /// The machine's own address.
    pub(crate) fn host(&self) -> Ipv4Addr {
        self.host
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Lets the machine's own NIC send in the name of others, in the cloud.
    pub(crate) async fn let_own_nic_forward(&self) {
        let nic: NicId = self.api.primary(INSTANCE).await.parse().unwrap();
        self.api.elsewhere(INSTANCE, async move |cloud| cloud.allow_forwarding(&[nic]).await).await;
    }

    /// A file of the desk, by the path that the document gives.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.machine.folder().join("home").join(rest),
            None if path.starts_with('/') => self.machine.folder().join(&path[1..]),
            None => self.machine.folder().join("work").join(path),
        }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        std::fs::write(self.file(path), text).unwrap();
    }

    /// Adds where the API is to the access file, as for a private cloud.
    pub(crate) fn add_place_of_api(&self) {
        let all = std::fs::read_to_string(self.api.access_file()).unwrap();
        let is_place =
            |line: &&str| ["host", "port", "protocol", "uri"].iter().any(|key| line.starts_with(key));
        let place: Vec<&str> = all.lines().filter(is_place).collect();
        assert_eq!(place.len(), 4, "{place:?}");
        let path = "/etc/qingcloud/client.yaml";
        let text = std::fs::read_to_string(self.file(path)).unwrap();
        self.write(path, &format!("{text}{}\n", place.join("\n")));
    }

    /// The access file of somebody who has filled it in.
    pub(crate) fn write_access_file(&self) {
        let [key, secret] = ACCESS;
        let text =
            format!("qy_access_key_id: \"{key}\"\nqy_secret_access_key: \"{secret}\"\nzone: \"pek3a\"\n");
        self.write("/etc/qingcloud/client.yaml", &text);
        self.add_place_of_api();
    }

    /// What a line of a shell does on this machine.
    fn command(&self, line: &str) -> Command {
        let folder = self.machine.folder();
        let mut command = self.machine.run(self.machine.netns(), "unshare");
        command
            .args(["--mount", "--propagation", "slave", "--", "bash", "-c", ENTER, "desk"])
            .arg(folder)
            .arg(line)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", folder.join("home"))
            .env("TMPDIR", folder);
        command
    }

    /// Runs a line to its end.
    pub(crate) async fn run(&self, line: &str) -> Said {
        self.run_with(line, &[]).await
    }

    async fn run_with(&self, line: &str, environment: &[(&str, &str)]) -> Said {
        let output = self.command(line).envs(environment.iter().copied()).output();
        let output = tokio::time::timeout(crate::host::PATIENCE, output).await;
        let output = output.unwrap_or_else(|_| panic!("{line} does not end")).unwrap();
        let text = |bytes: Vec<u8>| self.as_the_reader_sees_it(&String::from_utf8(bytes).unwrap());
        Said { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs a line that is to succeed, and gives back what it printed.
    pub(crate) async fn succeeds(&self, line: &str) -> String {
        let said = self.run(line).await;
        assert!(said.success, "{line}: {said:?}");
        said.stdout
    }

    /// Runs a line that is to be refused, and gives back the complaint on one line.
    pub(crate) async fn refuses(&self, line: &str) -> String {
        let said = self.run(line).await;
        assert!(!said.success, "{line}: {said:?}");
        assert!(!said.stderr.contains("panicked"), "{line}: {said:?}");
        // What was logged before the complaint is about something else.
        let complaint =
            said.stderr.split_once("hostnic-daemon: ").map_or(said.stderr.as_str(), |(_, rest)| rest);
        format!("refused: {}", complaint.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Starts a daemon by its line and waits until its pool is filled.
    pub(crate) async fn start(&self, line: &str) -> Running {
        let mut command = self.command(&format!("exec {line}"));
        command.stdin(std::process::Stdio::null());
        let daemon = self.machine.spawn(command, "daemon-log");
        self.machine.until_filled(&daemon).await;
        daemon
    }

    /// Waits until so many NICs are free.
    pub(crate) async fn until_free(&self, daemon: &Running, wanted: usize) {
        let is_free = |nic: &&Value| nic["addresses"][0]["state"] == "free";
        let enough = async || {
            self.machine.listed("nics").await.as_array().unwrap().iter().filter(is_free).count() >= wanted
        };
        self.machine.until(daemon, &format!("{wanted} NICs are free"), enough).await;
    }

    /// The rest of the log line in which the daemon says something that begins so.
    pub(crate) fn told(&self, daemon: &Running, begin: &str) -> String {
        let said = daemon.said();
        let line = said.lines().find_map(|line| line.find(begin).map(|at| &line[at..]));
        line.unwrap_or_else(|| panic!("it does not say {begin:?}: {said}")).to_owned()
    }

    /// Ends a daemon in good order; gives back what it said.
    pub(crate) async fn stop(&self, daemon: Running) -> String {
        let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
        assert!(success, "{said}");
        said
    }

    /// Where anybody listens by TCP, as `ss` tells it.
    pub(crate) fn listeners(&self) -> BTreeSet<String> {
        let listed = witness::run(self.machine.netns(), &["ss", "-Hltn"]).stdout;
        let of_line = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        String::from_utf8(listed).unwrap().lines().filter_map(of_line).collect()
    }

    /// The same in words.
    pub(crate) fn listens(&self) -> String {
        format!("listens on {} only", self.listeners().into_iter().collect::<Vec<_>>().join(" and "))
    }

    /// The configuration files of CNI, in the order in which a runtime takes them.
    pub(crate) fn networks(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.file("/etc/cni/net.d")).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What a runtime does with a configuration of CNI: it runs the plugin of its `type` with the file as input.
    pub(crate) async fn plug(&self, file: &str, environment: &[(&str, &str)]) -> Result<Value, String> {
        let path = format!("/etc/cni/net.d/{file}");
        let config = std::fs::read(self.file(&path)).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let plugin = config["type"].as_str().unwrap();
        let said = self.run_with(&format!("exec /opt/cni/bin/{plugin} <{path}"), environment).await;
        let answer = || serde_json::from_str::<Value>(&said.stdout);
        match (said.success, said.stdout.is_empty()) {
            (true, true) => Ok(Value::Null),
            (true, false) => Ok(answer().unwrap()),
            (false, _) => {
                let error = answer().unwrap_or_else(|_| panic!("{said:?}"));
                Err(format!("refused with code {}: {}", error["code"], error["msg"].as_str().unwrap()))
            }
        }
    }

    /// A call for a pod's eth0 by the first configuration, as Kubernetes makes it.
    pub(crate) async fn call(&self, command: &str, pod: &Pod) -> Result<Value, String> {
        let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", pod.id());
        let environment = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", pod.id()),
            ("CNI_NETNS", pod.path().to_str().unwrap()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", &arguments),
        ];
        self.plug(&self.networks()[0], &environment).await
    }

    /// A text without what differs from desk to desk.
    pub(crate) fn as_the_reader_sees_it(&self, text: &str) -> String {
        let folder = self.machine.folder().to_str().unwrap();
        text.replace(&format!("{folder}/home"), "$HOME").replace(folder, "")
    }

    /// Ends the cloud, which is to have dropped nothing.
    pub(crate) async fn end(self) {
        self.api.end().await;
    }
}

/// Debian's plugin.
pub(crate) const LOOPBACK: &str = "/usr/lib/cni/loopback";

/// Address, route and name of the machine's own NIC; answers the address.
async fn set_up_own_nic(machine: &Machine, api: &Api, vxnet: &str) -> Ipv4Addr {
    let mac = api.primary(INSTANCE).await;
    let all = api.admin("GET", "/nics", Value::Null).await;
    let nic = all["nics"].as_array().unwrap().iter().find(|nic| nic["id"] == mac.as_str()).unwrap().clone();
    assert_eq!(nic["subnet"], vxnet);
    let address: Ipv4Addr = nic["addresses"][0].as_str().unwrap().parse().unwrap();
    let link = witness::link_by_mac(machine.netns(), &mac).unwrap();
    let link = link["ifname"].as_str().unwrap();
    let [a, b, c, _] = address.octets();
    for command in [
        format!("link set {link} name eth0"),
        format!("address add {address}/24 dev eth0"),
        "link set eth0 up".to_owned(),
        "link set lo up".to_owned(),
        format!("route add default via {a}.{b}.{c}.1"),
    ] {
        ip(machine.netns(), &command.split(' ').collect::<Vec<_>>());
    }
    address
}
