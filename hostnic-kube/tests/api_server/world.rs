//! One API server for all tests, and what they make in it.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use hostnic_core::attachment::PodRef;
use hostnic_core::ipam::Lease;
use hostnic_kube::{Access, Cluster, ClusterConfig, NodeName};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rights;
use crate::server::{ADMIN, CONTROLLER, DAEMON, Server};

pub(crate) struct World {
    server: Option<Server>,
}

impl World {
    /// For a list of the tests.
    pub(crate) fn unstarted() -> Self {
        Self { server: None }
    }

    pub(crate) fn start() -> Result<Self, String> {
        let world = Self { server: Some(Server::start()?) };
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let ready = tokio::time::timeout(Duration::from_secs(180), world.ready()).await;
            ready.map_err(|_| {
                let log = fs::read_to_string(world.server().path("kube-apiserver.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                format!("kube-apiserver did not get ready; its log ends with:\n{}", last.join("\n"))
            })?;
            rights::grant(&world.admin().await).await;
            Ok(world)
        })
    }

    pub(crate) fn end(&self) {
        if let Some(server) = &self.server {
            server.end();
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Returns when the API server serves.
    pub(crate) async fn ready(&self) {
        loop {
            let admin = self.admin().await;
            let nodes: Api<Node> = Api::all(admin.clone());
            let namespaces: Api<Namespace> = Api::all(admin);
            // It makes them when it starts, one after the other.
            let there = async {
                let mut there = nodes.list(&ListParams::default()).await.is_ok();
                for name in ["kube-system", "default"] {
                    there &= namespaces.get(name).await.is_ok();
                }
                there
            };
            if tokio::time::timeout(Duration::from_secs(5), there).await == Ok(true) {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn kubeconfig(&self, token: &str, port: u16) -> Value {
        let cluster =
            json!({ "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": cluster }],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        })
    }

    /// A client that may do everything.
    pub(crate) async fn admin(&self) -> Client {
        let file: Kubeconfig = serde_json::from_value(self.kubeconfig(ADMIN, self.server().port)).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// How the controller reaches the API server, with its documented rights.
    pub(crate) fn controller_access(&self) -> Access {
        let path = self.server().path("kubeconfig.controller");
        fs::write(&path, self.kubeconfig(CONTROLLER, self.server().port).to_string()).unwrap();
        Access::Kubeconfig(path)
    }

    /// How a node reaches the API server, with its documented rights.
    pub(crate) fn node_access(&self) -> Access {
        Access::Kubeconfig(self.kubeconfig_file(self.server().port))
    }

    fn kubeconfig_file(&self, port: u16) -> PathBuf {
        let path = self.server().path(&format!("kubeconfig.{port}"));
        fs::write(&path, self.kubeconfig(DAEMON, port).to_string()).unwrap();
        path
    }

    /// What a daemon on this node would be started with, by this way to the API server.
    pub(crate) fn config(&self, node: &str, port: u16) -> ClusterConfig {
        ClusterConfig::new(NodeName::new(node).unwrap(), Access::Kubeconfig(self.kubeconfig_file(port)))
    }

    pub(crate) async fn connect(&self, node: &str) -> Cluster {
        let mut cluster = Cluster::connect(self.config(node, self.server().port)).await.unwrap();
        cluster.choose_subnet();
        cluster
    }
}

/// Waits until the look shows something. Fails after 20 s, with what it was about.
pub(crate) async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(Duration::from_secs(20), what, look).await
}

pub(crate) async fn eventually_within<T, F>(patience: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "within {patience:?} there was not: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn make_node(admin: &Client, name: &str, spec: Value, annotations: &[(&str, &str)]) {
    let nodes: Api<Node> = Api::all(admin.clone());
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    let metadata = json!({ "name": name, "annotations": annotations });
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec });
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
}

/// Makes a pod that is bound to the node. Returns how a runtime would name it.
pub(crate) async fn make_pod(admin: &Client, node: &str, name: &str, annotations: &[(&str, &str)]) -> PodRef {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "annotations": annotations },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "none" }] },
    });
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: pod.uid() }
}

pub(crate) async fn remove_pod(admin: &Client, name: &str) {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
}

pub(crate) fn lease(nic: &str, address: &str) -> Lease {
    Lease {
        nic: nic.parse().unwrap(),
        mac: nic.parse().unwrap(),
        subnet: "vxnet-a".parse().unwrap(),
        address: address.parse().unwrap(),
        gateway: "10.9.0.1".parse().unwrap(),
    }
}

/// The events about an object, as `kubectl describe` finds them.
pub(crate) async fn events_about(admin: &Client, uid: &str) -> Vec<Event> {
    let events: Api<Event> = Api::all(admin.clone());
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    events.list(&about).await.unwrap().items
}
