//! QingCloud's API for the machines: hostnic-sim, with NICs that are links.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::process::{Process, succeeds, until};

/// Where nodes reach what is no part of the VPC: the cloud's API, and Kubernetes'.
pub(crate) const OUTSIDE: &str = "100.127.0.1";
pub(crate) const VXNETS: [&str; 3] = ["vxnet-aaaaaaa", "vxnet-bbbbbbb", "vxnet-ccccccc"];
const PREFIXES: [&str; 3] = ["192.168.50.0/24", "192.168.51.0/24", "192.168.52.0/24"];
const ADMIN: &str = "127.0.0.1:7778";
const SECRET: &str = "Th1s-Is-S3cret";

/// The simulator of the machines' cloud.
#[derive(Debug)]
pub(crate) struct Cloud {
    process: Process,
    access_file: PathBuf,
}

impl Cloud {
    /// Starts it, gives the machines their own NICs with addresses and default routes, and lets the tests reach them.
    pub(crate) fn start(machines: &[&Machine], folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-sim"));
        command.args(["serve", "--fabric", "--listen", "127.0.0.1:7777", "--admin", ADMIN]);
        command.args(["--access-key", "ACCESSKEYOFTHETEST", "--log-level", "info"]);
        command.args(["--latency", "attach=300ms", "--latency", "detach=300ms"]);
        for (vxnet, prefix) in VXNETS.iter().zip(PREFIXES) {
            command.arg("--vxnet").arg(format!("{vxnet}={prefix}"));
        }
        for machine in machines {
            command.arg("--instance").arg(format!("{}={}", machine.instance(), machine.netns().display()));
        }
        command.env("HOSTNIC_SIM_SECRET_KEY", SECRET).env("TMPDIR", "/run");
        let process = Process::start(command, &folder.join("cloud.log"), false);
        until("the API listens", || process.said().contains("serving").then_some(()));
        let cloud = Self { access_file: folder.join("client.yaml"), process };
        std::fs::write(&cloud.access_file, access_file()).unwrap();
        std::fs::set_permissions(&cloud.access_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for machine in machines {
            cloud.furnish(machine);
        }
        cloud
    }

    /// The file with the access key.
    pub(crate) fn access_file(&self) -> &Path {
        &self.access_file
    }

    /// Gives the machine's own NIC its address and the default route, as an operator's system does.
    pub(crate) fn furnish(&self, machine: &Machine) {
        let nic = self.primary(machine);
        let mac = nic["mac"].as_str().unwrap().to_owned();
        let address: Ipv4Addr = nic["addresses"][0].as_str().unwrap().parse().unwrap();
        let link = until("the machine's own NIC is plugged in", || {
            let links = machine.ip(&["link", "show"]);
            let link = links.into_iter().find(|link| link["address"] == mac.as_str())?;
            Some(link["ifname"].as_str()?.to_owned())
        });
        let [a, b, c, _] = address.octets();
        for command in [
            format!("ip link set {link} name primary"),
            format!("ip address add {address}/24 dev primary"),
            "ip link set primary up".to_owned(),
            format!("ip route add default via {a}.{b}.{c}.1"),
        ] {
            machine.run(&command.split(' ').collect::<Vec<_>>());
        }
        // The API server asks kubelets by their nodes' addresses.
        let by = machine.address("mgmt0").to_string();
        let mut route = Command::new("ip");
        route.args(["route", "replace", &address.to_string(), "via", &by]);
        succeeds(&mut route);
    }

    /// One request to the admin API, which is to succeed.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(ADMIN).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn state(&self) -> Value {
        self.admin("GET", "/state", &Value::Null)["cloud"].take()
    }

    /// A machine's own NIC.
    pub(crate) fn primary(&self, machine: &Machine) -> Value {
        let state = self.state();
        let id = state["instances"][machine.instance()]["primary"].as_str().unwrap();
        state["nics"][id]["nic"].clone()
    }

    /// The NICs that there are beside the machines' own.
    pub(crate) fn nics(&self) -> Vec<Value> {
        let state = self.state();
        let nics = state["nics"].as_object().unwrap().values();
        nics.map(|nic| nic["nic"].clone()).filter(|nic| nic["name"] != "primary").collect()
    }

    /// Whether a machine's own NIC may send packets of others, as that of a machine that routes.
    pub(crate) fn set_forwarding(&self, machine: &Machine, forwards: bool) {
        let asked = json!({ "nic": self.primary(machine)["id"], "forwards": forwards });
        self.admin("POST", "/nics/forwarding", &asked);
    }

    /// Runs `ip` where the VPC's router is.
    pub(crate) fn router(&self, arguments: &[&str]) -> String {
        let simulator = self.process.pid();
        let vpc = format!("--net=/proc/{simulator}/root/run/hostnic-sim-{simulator}/vpc");
        let mut command = Command::new("nsenter");
        succeeds(command.args([&vpc, "--", "ip"]).args(arguments))
    }

    /// What was dropped so far at the NICs' ports, each a line.
    pub(crate) fn dropped(&self) -> Vec<String> {
        let told = self.admin("GET", "/police", &Value::Null);
        told["dropped"].as_array().unwrap().iter().map(Value::to_string).collect()
    }
}

/// Where the API is and with which key, in the form of QingCloud's SDKs.
fn access_file() -> String {
    format!(
        "qy_access_key_id: ACCESSKEYOFTHETEST\nqy_secret_access_key: {SECRET}\nzone: sim1\nhost: {OUTSIDE}\nport: 7777\n\
         protocol: http\nuri: /iaas\n"
    )
}
