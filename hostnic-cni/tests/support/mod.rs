//! A daemon that says what a test wants, and a plugin run with the surroundings that a test wants.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hostnic_cni::contract::{
    Add, Check, Del, Freed, Gc, Interface, NodeService, NodeStatus, TcpLimits, serve, serve_tcp, v1,
};
use hostnic_cni::error::{CniError, Code};
use hostnic_cni::plugin::{Invocation, Outcome, run};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::route::Route;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What the daemon was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Add(Add),
    Del(Del),
    Check(Check),
    Gc(Gc),
    Status,
}

/// What the daemon answers.
#[derive(Debug, Clone)]
pub struct Answers {
    pub add: Result<Interface, CniError>,
    pub del: Result<(), CniError>,
    pub check: Result<Interface, CniError>,
    pub gc: Result<Freed, CniError>,
    pub status: NodeStatus,
    /// Whether a DEL and a STATUS are never answered.
    pub silent: bool,
}

/// The interface that the daemon gives.
pub fn interface() -> Interface {
    Interface {
        mac: "52:54:00:12:34:56".parse().unwrap(),
        mtu: 1500,
        address: "192.168.50.4/24".parse().unwrap(),
        gateway: [192, 168, 50, 1].into(),
        routes: vec![Route {
            destination: "10.96.0.0/12".parse().unwrap(),
            next_hop: Some([192, 168, 50, 3].into()),
        }],
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            add: Ok(interface()),
            del: Ok(()),
            check: Ok(interface()),
            gc: Ok(Freed::default()),
            status: NodeStatus::default(),
            silent: false,
        }
    }
}

struct FakeNode {
    answers: Answers,
    asked: Mutex<Vec<Asked>>,
}

impl FakeNode {
    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }
}

#[async_trait]
impl NodeService for FakeNode {
    async fn add(&self, request: Add) -> Result<Interface, CniError> {
        self.note(Asked::Add(request));
        self.answers.add.clone()
    }

    async fn del(&self, request: Del) -> Result<(), CniError> {
        self.note(Asked::Del(request));
        if self.answers.silent {
            std::future::pending().await
        }
        self.answers.del.clone()
    }

    async fn check(&self, request: Check) -> Result<Interface, CniError> {
        self.note(Asked::Check(request));
        self.answers.check.clone()
    }

    async fn gc(&self, request: Gc) -> Result<Freed, CniError> {
        self.note(Asked::Gc(request));
        self.answers.gc.clone()
    }

    async fn status(&self) -> NodeStatus {
        self.note(Asked::Status);
        if self.answers.silent {
            std::future::pending().await
        }
        self.answers.status.clone()
    }

    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        Ok(vec![v1::Nic { id: "nic-1".to_owned(), ..v1::Nic::default() }])
    }

    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        Err(CniError::new(Code::TryAgainLater, "list pods: the records are being read"))
    }

    fn version(&self) -> String {
        "0.0.0-test".to_owned()
    }
}

/// A daemon on a socket of its own; gone when dropped.
pub struct FakeDaemon {
    node: Arc<FakeNode>,
    dir: TempDir,
    tcp: SocketAddr,
    runtime: Option<Runtime>,
}

impl FakeDaemon {
    pub fn start(answers: Answers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Arc::new(FakeNode { answers, asked: Mutex::default() });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _guard = runtime.enter();
            tokio::net::UnixListener::bind(dir.path().join("hostnic.sock")).unwrap()
        };
        runtime.spawn(serve(listener, node.clone(), std::future::pending()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let tcp = listener.local_addr().unwrap();
        runtime.spawn(serve_tcp(listener, node.clone(), TcpLimits::default(), std::future::pending()));
        // Something that exists and is not the test's own namespace; only a daemon would enter it.
        std::fs::write(dir.path().join("netns"), "").unwrap();
        Self { node, dir, tcp, runtime: Some(runtime) }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("hostnic.sock")
    }

    /// The TCP address on which it listens as well.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    pub fn netns(&self) -> PathBuf {
        self.dir.path().join("netns")
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.node.asked.lock().unwrap())
    }

    /// A call that is right in all its parts.
    pub fn call(&self, command: &str) -> PluginCall {
        PluginCall::new(command, &self.socket(), &self.netns())
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One run of the plugin, to be changed by a test before it is done.
pub struct PluginCall {
    pub environment: BTreeMap<String, OsString>,
    pub config: Value,
    /// Instead of the configuration.
    pub stdin: Option<Vec<u8>>,
    pub at_terminal: bool,
}

impl PluginCall {
    pub fn new(command: &str, socket: &Path, netns: &Path) -> Self {
        let environment = [
            ("CNI_COMMAND", command.into()),
            ("CNI_CONTAINERID", "c1".into()),
            ("CNI_NETNS", netns.as_os_str().to_owned()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_PATH", "/opt/cni/bin".into()),
        ];
        let mut config = json!({"cniVersion": "1.1.0", "name": "net", "type": "hostnic", "socket": socket});
        if command == "CHECK" {
            config["prevResult"] = previous(netns);
        }
        if command == "GC" {
            config["cni.dev/valid-attachments"] = json!([]);
        }
        Self {
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            config,
            stdin: None,
            at_terminal: false,
        }
    }

    pub fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub fn unset(mut self, names: &[&str]) -> Self {
        self.environment.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// Sets a key of the configuration.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Takes a key out of the configuration.
    pub fn without(mut self, key: &str) -> Self {
        self.config.as_object_mut().unwrap().remove(key);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub fn input(&self) -> Vec<u8> {
        self.stdin.clone().unwrap_or_else(|| self.config.to_string().into_bytes())
    }

    pub fn run(self) -> Outcome {
        let input = self.input();
        run(Invocation {
            started_at: SystemClock.now(),
            environment: &|name| self.environment.get(name).cloned(),
            stdin: &mut input.as_slice(),
            at_terminal: self.at_terminal,
        })
    }
}

/// What an ADD answered for [`interface`], in the newest form.
pub fn previous(netns: &Path) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mac": "52:54:00:12:34:56", "mtu": 1500, "sandbox": netns}],
        "ips": [{"interface": 0, "address": "192.168.50.4/24", "gateway": "192.168.50.1"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "192.168.50.1"}, {"dst": "10.96.0.0/12", "gw": "192.168.50.3"}]
    })
}

/// The result or error that an outcome printed.
pub fn printed(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

/// Makes sure that the outcome is an error as runtimes read it, and gives its code and message.
pub fn failure(outcome: &Outcome) -> (u64, String) {
    assert!(!outcome.success, "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let error = printed(outcome);
    let version = error["cniVersion"].as_str().unwrap();
    assert!(version.parse::<hostnic_cni::version::Version>().is_ok(), "{version}");
    let message = error["msg"].as_str().unwrap().to_owned();
    assert!(!message.is_empty());
    (error["code"].as_u64().unwrap(), message)
}
