//! A node: its namespace, its daemon as a process, and the plugin that asks it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hostnic_netlink::{NamedNetns, Netns};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::timeout;

use super::cloud::{VXNETS, ZONE};
use super::launch::launched;
use super::process::Process;
use super::report::LastWord;
use super::story::DemoError;
use crate::plugin::Plugin;

/// How many NICs are kept for pods to come, at least and at most, and how many there may be.
const POOL: [&str; 6] = ["--pool-low", "3", "--pool-high", "5", "--max-nics", "8"];
/// How long a listing may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node of the cloud.
#[derive(Debug)]
pub(super) struct Node {
    /// Its instance id.
    pub(super) name: String,
    folder: PathBuf,
    netns: NamedNetns,
}

/// A node whose daemon runs.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) node: Node,
    pub(super) plugin: Plugin,
    program: PathBuf,
    process: Process,
}

/// A NIC, as `hostnic-daemon nics -o json` tells.
#[derive(Debug, Deserialize)]
struct ListedNic {
    addresses: Vec<ListedAddress>,
}

#[derive(Debug, Deserialize)]
struct ListedAddress {
    state: String,
    holder: Option<String>,
}

impl Node {
    /// An empty namespace, with a folder for the node's files.
    pub(super) async fn create(folder: PathBuf, name: &str) -> Result<Self, DemoError> {
        let netns = NamedNetns::create(folder.join("netns")).await?;
        Ok(Self { name: name.to_owned(), folder, netns })
    }

    /// How the simulator is told of it.
    pub(super) fn instance(&self) -> String {
        format!("{}={}", self.name, self.netns.path().display())
    }

    /// Its namespace.
    pub(super) fn netns(&self) -> Result<Netns, DemoError> {
        Ok(self.netns.open()?)
    }

    /// The name of its namespace.
    pub(super) fn netns_path(&self) -> &Path {
        self.netns.path()
    }

    /// Where its daemon listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("hostnic.sock")
    }

    /// What its daemon says.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("hostnic-daemon.log")
    }

    /// Removes the namespace.
    pub(super) fn remove(self) -> Result<(), DemoError> {
        Ok(self.netns.remove()?)
    }

    /// Starts the node's daemon, and waits until `warm` NICs are free for pods.
    pub(super) async fn start(
        self,
        programs: &super::Programs,
        access_file: &Path,
        warm: usize,
    ) -> Result<Agent, DemoError> {
        let vxnets = VXNETS.map(|(id, _)| id).join(",");
        let mut command = launched(&programs.daemon, Some(self.netns.path()));
        command
            .args(["start", "--provider", "qingcloud", "--zone", ZONE, "--vxnet", &vxnets])
            .args(["--instance", &self.name, "--policy", "RoundRotate", "--cooling", "1"])
            .args(POOL)
            .args(["--cleanup-cache-on-exit", "--log-level", "info", "--access-file"])
            .arg(access_file)
            .arg("--socket")
            .arg(self.socket())
            .arg("--store")
            .arg(self.folder.join("state.redb"))
            .stdout(Stdio::null());
        let name = format!("hostnic-daemon of {}", self.name);
        let process = Process::start(&name, command, &self.log())?;
        let plugin = Plugin::new(&programs.plugin, &self.socket());
        let mut agent = Agent { node: self, plugin, program: programs.daemon.clone(), process };
        let Agent { node, program, process, .. } = &mut agent;
        process
            .until("has no NICs for pods", async || {
                let nics: Vec<ListedNic> = listed(program, node, "nics").await?;
                let free = nics.iter().flat_map(|nic| &nic.addresses).filter(|a| a.state == "free");
                (free.count() >= warm).then_some(())
            })
            .await?;
        Ok(agent)
    }
}

impl Agent {
    /// Waits until no lease is left, as a DEL is answered before its NIC is back, and says what there is then.
    pub(super) async fn last_word(&mut self) -> Result<LastWord, DemoError> {
        let Self { node, program, process, .. } = self;
        let (nics, leases) = process
            .until("has leases that no pod has", async || {
                let pods: Vec<serde_json::Value> = listed(program, node, "pods").await?;
                let nics: Vec<ListedNic> = listed(program, node, "nics").await?;
                let held = nics.iter().flat_map(|nic| &nic.addresses).any(|a| a.holder.is_some());
                (pods.is_empty() && !held).then_some((nics.len(), pods.len()))
            })
            .await?;
        Ok(LastWord { node: node.name.clone(), nics, leases })
    }

    /// Tells the daemon to stop, which gives every NIC back, and waits for its end.
    pub(super) async fn stop(self) -> Result<Node, DemoError> {
        self.process.stop().await?;
        Ok(self.node)
    }

    /// The daemon's process.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The command that asks the daemon.
    pub(super) fn ask(&self, what: &str) -> String {
        format!("{} {what} --socket {}", self.program.display(), self.node.socket().display())
    }
}

/// What the daemon lists, by its own program; nothing while it does not answer.
async fn listed<T: DeserializeOwned>(program: &Path, node: &Node, what: &str) -> Option<T> {
    let mut command = Command::new(program);
    command.args([what, "-o", "json", "--socket"]).arg(node.socket()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
}
