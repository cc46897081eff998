//! A node with its daemon, hosted in this process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::agent::{Agent, AgentConfig, AgentParts};
use hostnic_core::attachment::NetnsPath;
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::id::InstanceId;
use hostnic_core::ledger::{AddressState, LeaseRecord, NicRecord, NicState};
use hostnic_core::store::{BootId, HostId, Identity, RedbStore};
use hostnic_daemon::{Node, SimulatedCloud, seed};
use hostnic_netlink::{NetlinkProgrammer, Netns};
use serde_json::Value;

use crate::build::DAEMON;
use crate::plugin::Call;
use crate::pod::Pod;
use crate::witness;

/// How long anything here may take on a busy machine; what succeeds takes a small part of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A node. Its daemon can be stopped and started again.
#[derive(Debug)]
pub(crate) struct Host {
    instance: InstanceId,
    netns: NetnsPath,
    folder: PathBuf,
    pods: PathBuf,
    config: AgentConfig,
    boot: BootId,
    node: Option<Node>,
}

impl Host {
    /// A node without a daemon, whose files are in `folder` and whose pods' namespaces in `pods`.
    pub(crate) fn new(
        instance: InstanceId,
        netns: NetnsPath,
        folder: PathBuf,
        pods: PathBuf,
        config: AgentConfig,
    ) -> Self {
        let boot = BootId::of_this_boot().unwrap();
        Self { instance, netns, folder, pods, config, boot, node: None }
    }

    /// Starts the daemon over the store that is there, and waits until its pool is filled.
    pub(crate) async fn start(&mut self, cloud: &SimulatedCloud) {
        self.start_cold(cloud).await;
        let low = usize::try_from(self.config.pool.low).unwrap();
        self.until("the pool is filled", |agent| free(agent) >= low).await;
    }

    /// Starts the daemon and waits for nothing.
    pub(crate) async fn start_cold(&mut self, cloud: &SimulatedCloud) {
        let host = HostId::new(self.instance.as_str()).unwrap();
        let identity = Identity { boot: self.boot.clone(), host };
        let (store, _) = RedbStore::open(self.store(), identity, SystemClock.now()).await.unwrap();
        let parts = AgentParts {
            provider: cloud.provider(&self.instance),
            forwarding: Some(cloud.forwarding(&self.instance)),
            tagging: None,
            programmer: Arc::new(self.programmer().await),
            addresses: None,
            enforcer: None,
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            seed: seed().unwrap(),
        };
        self.node = Some(Node::start(parts, self.config.clone(), &self.socket()).await.unwrap());
    }

    /// From now on the node is in another boot. What else a reboot does to it is for the trial.
    pub(crate) fn in_boot(&mut self, boot: &str) {
        self.boot = boot.parse().unwrap();
    }

    /// Stops the daemon in good order.
    pub(crate) async fn stop(&mut self) {
        self.node.take().unwrap().stop(PATIENCE).await;
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("hostnic.sock")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("state.redb")
    }

    pub(crate) fn netns(&self) -> &Path {
        self.netns.as_path()
    }

    /// What `hostnic-daemon nics` or `pods` prints.
    pub(crate) async fn listed(&self, what: &str) -> Value {
        let mut command = tokio::process::Command::new(DAEMON);
        let output =
            command.args([what, "-o", "json", "--socket"]).arg(self.socket()).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn instance(&self) -> &InstanceId {
        &self.instance
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.node.as_ref().unwrap().agent()
    }

    /// Another view of the node's kernel than the daemon's.
    pub(crate) async fn programmer(&self) -> NetlinkProgrammer {
        NetlinkProgrammer::new(Netns::open(self.netns()).unwrap(), vec![self.pods.clone()]).await.unwrap()
    }

    /// A pod on this node, without an interface yet.
    pub(crate) async fn pod(&self, id: &str) -> Pod {
        Pod::create(&self.pods, id).await
    }

    /// A call for a pod, to be changed or made.
    pub(crate) fn call(&self, command: &str, pod: &Pod) -> Call {
        Call::new(command, &self.socket(), pod.id(), pod.path())
    }

    pub(crate) fn leases(&self) -> Vec<LeaseRecord> {
        self.agent().leases()
    }

    /// Waits until the daemon's records are as wanted.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Agent) -> bool) {
        let agent = self.agent();
        let mut changes = agent.changes();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if holds(agent) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}; NICs {:#?}, leases {:#?}", agent.nics(), agent.leases());
        }
    }

    /// Waits until all is done that answered DELs had left to do.
    pub(crate) async fn until_deleted(&self) {
        let ended = tokio::time::timeout(PATIENCE, self.agent().dels_ended()).await;
        assert!(ended.is_ok(), "DELs do not end: {:#?}", self.leases());
    }

    /// Waits until the NIC can be given to the next pod: its link is in the node, unused, and its address is free.
    pub(crate) async fn until_free(&self, mac: &str) {
        self.until("the NIC is free", |agent| {
            agent.nics().iter().any(|nic| nic.mac.to_string() == mac && is_free(nic))
        })
        .await;
        let link = self.until_back(mac).await;
        assert!(!link["flags"].as_array().unwrap().contains(&"UP".into()), "{link:#}");
    }

    /// Waits until the NIC is in the node again, where it returns to when nothing holds its namespace any more.
    pub(crate) async fn until_back(&self, mac: &str) -> Value {
        let back = async {
            loop {
                if let Some(link) = witness::link_by_mac(self.netns(), mac) {
                    return link;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, back).await.unwrap()
    }

    /// Waits until the pool rests: its NICs are all in, and enough of them are free.
    pub(crate) async fn until_at_rest(&self) {
        let low = usize::try_from(self.config.pool.low).unwrap();
        let ready = |agent: &Agent| agent.nics().iter().all(|nic| nic.state == NicState::Ready);
        self.until("the pool rests", |agent| ready(agent) && free(agent) >= low).await;
    }

    /// Everything that a call could have changed, of a node [at rest](Self::until_at_rest): the node's kernel, and the daemon's records.
    pub(crate) fn snapshot(&self) -> BTreeSet<String> {
        let mut things = witness::everything(self.netns());
        things.extend(self.agent().nics().iter().map(|nic| format!("{nic:?}")));
        things.extend(self.leases().iter().map(|lease| format!("{lease:?}")));
        things
    }

    /// Gives all back and stops.
    pub(crate) async fn end(&mut self) {
        self.until_deleted().await;
        assert_eq!(self.leases(), [], "leases are left on {}", self.instance);
        let left = self.agent().drain(PATIENCE).await;
        assert_eq!(left, 0, "NICs of {} are left: {:#?}", self.instance, self.agent().nics());
        self.stop().await;
    }
}

fn is_free(nic: &NicRecord) -> bool {
    nic.state == NicState::Ready && nic.addresses.iter().all(|a| matches!(a.state, AddressState::Free { .. }))
}

/// How many NICs can be given to pods.
pub(crate) fn free(agent: &Agent) -> usize {
    agent.nics().iter().filter(|nic| is_free(nic)).count()
}
