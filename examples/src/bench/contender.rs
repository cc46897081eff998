//! One of the two plugins, called as a container runtime does.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::gauge::{GAUGE, Measured};
use super::run::BenchError;
use super::world::SpareNic;
use crate::plugin::IFNAME;
use crate::sandbox::Sandbox;

/// The addresses of the pods of `ptp`, and of the node as these see it.
const PTP_SUBNET: &str = "192.168.61.0/24";
pub(super) const PTP_NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 61, 1);

/// A plugin and how it is told what to do.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    program: PathBuf,
    config: Value,
}

impl Contender {
    /// Our plugin, which asks the daemon on `socket`.
    pub(super) fn ours(program: &Path, socket: &Path) -> Self {
        let config = json!({ "cniVersion": "1.0.0", "name": "bench", "type": "hostnic", "socket": socket });
        Self { name: "hostnic", program: program.to_owned(), config }
    }

    /// `ptp`, which makes a veth and has its `host-local` helper find an address; that keeps its records in `folder`.
    pub(super) fn ptp(program: &Path, folder: &Path) -> Self {
        let ipam = json!({
            "type": "host-local",
            "ranges": [[{ "subnet": PTP_SUBNET }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
            "dataDir": folder.join("host-local"),
        });
        let config =
            json!({ "cniVersion": "1.0.0", "name": "bench", "type": "ptp", "mtu": 1500, "ipam": ipam });
        Self { name: "ptp", program: program.to_owned(), config }
    }

    /// `host-device`, which moves `nic` and has its `static` helper say the address.
    pub(super) fn host_device(program: &Path, nic: &SpareNic) -> Self {
        let ipam = json!({
            "type": "static",
            "addresses": [{ "address": nic.address, "gateway": nic.gateway }],
            "routes": [{ "dst": "0.0.0.0/0" }],
        });
        let config = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "host-device", "device": nic.name, "ipam": ipam,
        });
        Self { name: "host-device", program: program.to_owned(), config }
    }

    /// Calls it and measures its process.
    pub(super) async fn call(
        &self,
        command: &'static str,
        id: &str,
        sandbox: &Sandbox,
    ) -> Result<Measured, BenchError> {
        let output = self.measured(command, id, sandbox).await.map_err(BenchError::Gauge)?;
        let measured: Measured = serde_json::from_slice(&output).map_err(BenchError::Answer)?;
        if measured.success {
            return Ok(measured);
        }
        Err(BenchError::Plugin { plugin: self.name, command, said: measured.output.trim().to_owned() })
    }

    /// Calls it as it is, without measuring its process: many measuring processes would take the time of what they measure.
    pub(super) async fn run(
        &self,
        command: &'static str,
        id: &str,
        sandbox: &Sandbox,
    ) -> Result<(), BenchError> {
        let ran = self.fed(Command::new(&self.program), command, id, sandbox).await;
        let output = ran.map_err(|source| BenchError::Run { plugin: self.name, source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Err(BenchError::Plugin { plugin: self.name, command, said })
    }

    async fn measured(&self, command: &str, id: &str, sandbox: &Sandbox) -> std::io::Result<Vec<u8>> {
        let mut gauge = Command::new(std::env::current_exe()?);
        gauge.arg(GAUGE).arg(&self.program);
        Ok(self.fed(gauge, command, id, sandbox).await?.stdout)
    }

    async fn fed(
        &self,
        mut program: Command,
        command: &str,
        id: &str,
        sandbox: &Sandbox,
    ) -> std::io::Result<Output> {
        let mut child = program
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", sandbox.path())
            .env("CNI_IFNAME", IFNAME)
            .env("CNI_PATH", self.program.parent().unwrap_or(Path::new("/")))
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={id}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(self.config.to_string().as_bytes()).await?;
        }
        child.wait_with_output().await
    }
}
