//! Pods of local/busybox:1 that answer who they are and who asks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value, json};

/// The port at which each pod answers.
pub(crate) const PORT: u16 = 8080;

/// The label by which a trial finds all that it made.
pub(crate) const LABEL: &str = "hostnic.test";

/// Answers a request for /cgi-bin/who by the pod's name and the asker's address, and ends when it is told to: what ignores
/// that is waited for, two seconds at the least.
const SERVE: &str = r#"mkdir -p /www/cgi-bin
printf '#!/bin/sh\necho "Content-type: text/plain"; echo; echo "$POD_NAME $REMOTE_ADDR"\n' >/www/cgi-bin/who
chmod +x /www/cgi-bin/who; trap exit TERM; httpd -f -p 8080 -h /www & wait"#;

/// What a pod shall be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) node: Option<&'static str>,
    pub(crate) labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    host_network: bool,
    tolerant: bool,
}

impl Wanted {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            node: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            host_network: false,
            tolerant: false,
        }
    }

    pub(crate) fn on(mut self, node: &'static str) -> Self {
        self.node = Some(node);
        self
    }

    pub(crate) fn app(mut self, app: &str) -> Self {
        self.labels.insert("app".to_owned(), app.to_owned());
        self
    }

    /// With an annotation of ours, such as `vxnet`.
    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(format!("hostnic.network.kubesphere.io/{key}"), value.to_owned());
        self
    }

    /// With one of these addresses, the first that is free.
    pub(crate) fn addresses(mut self, candidates: &[Ipv4Addr]) -> Self {
        self.annotations.insert("cni.projectcalico.org/ipAddrs".to_owned(), json!(candidates).to_string());
        self
    }

    /// One that has no network of its own.
    pub(crate) fn in_the_nodes_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// One that goes to its node whatever is said against that.
    pub(crate) fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// The pod.
    pub(crate) fn object(&self) -> Value {
        let mut pod = self.template();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(self.name);
        pod
    }

    /// A Deployment of so many of them.
    pub(crate) fn deployment(&self, replicas: u32) -> Value {
        let template = self.template();
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "labels": {LABEL: "yes"}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": self.labels},
                "template": template,
            },
        })
    }

    fn template(&self) -> Value {
        let mut labels = self.labels.clone();
        labels.insert(LABEL.to_owned(), "yes".to_owned());
        let mut spec = json!({
            "terminationGracePeriodSeconds": 1,
            "hostNetwork": self.host_network,
            "enableServiceLinks": false,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main",
                "image": "local/busybox:1",
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", SERVE],
                "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "ports": [{"containerPort": PORT}],
            }],
        });
        if let Some(node) = self.node {
            spec["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        if self.tolerant {
            spec["tolerations"] = json!([{"operator": "Exists"}]);
        }
        json!({"metadata": {"labels": labels, "annotations": self.annotations}, "spec": spec})
    }
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// The node that it runs on.
    pub(crate) node: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) uid: String,
    /// Its network namespace, as long as its container runs.
    pub(crate) netns: PathBuf,
}

impl Pod {
    /// The running pod of this object.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&object["metadata"]["name"])?;
        Some(Self {
            netns: netns(&name)?,
            address: object["status"]["podIP"].as_str()?.parse().ok()?,
            node: text(&object["spec"]["nodeName"])?,
            uid: text(&object["metadata"]["uid"])?,
            name,
        })
    }
}

/// The network of the container that knows itself by this name; processes of all machines are seen from here.
fn netns(name: &str) -> Option<PathBuf> {
    let wanted = format!("POD_NAME={name}");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let of_pod = processes.map(|entry| entry.path()).find(|path| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    })?;
    Some(of_pod.join("ns/net"))
}
