//! The manifests, as a cluster's user applies them.

use serde_json::{Value, json};

const NODE: &str = include_str!("../../../deploy/hostnic-node.yaml");
const PROC_NETNS: &str = include_str!("../../../deploy/kubernetes/proc-netns/daemonset.yaml");
const FOREIGN_FOLDERS: &str = include_str!("../../../deploy/kubernetes/foreign-folders/daemonset.yaml");

/// What the DaemonSet makes of a node, and the settings beside it.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pod: Value,
    settings: Value,
}

impl Manifest {
    pub(crate) fn node() -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(NODE).unwrap();
        let the = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
        Self { pod: the("DaemonSet")["spec"]["template"]["spec"].clone(), settings: the("ConfigMap").clone() }
    }

    pub(crate) fn with_proc_netns(self) -> Self {
        self.patched(PROC_NETNS)
    }

    pub(crate) fn with_foreign_folders(self) -> Self {
        self.patched(FOREIGN_FOLDERS)
    }

    /// As kubectl does it for the things that the overlays change: lists of containers by name, all else replaced.
    fn patched(mut self, patch: &str) -> Self {
        let patch: Value = serde_saphyr::from_str(patch).unwrap();
        let patch = &patch["spec"]["template"]["spec"];
        for (key, value) in patch.as_object().unwrap() {
            match key.as_str() {
                "hostPID" => self.pod["hostPID"] = value.clone(),
                "containers" | "initContainers" => {
                    for container in value.as_array().unwrap() {
                        let add = container["securityContext"]["capabilities"]["add"].clone();
                        named(&mut self.pod[key], &container["name"])["securityContext"]["capabilities"]["add"] =
                            add;
                    }
                }
                other => panic!("the test does not know what becomes of {other}"),
            }
        }
        self
    }

    /// Without one of the capabilities of the daemon's container.
    pub(crate) fn without_capability(mut self, name: &str) -> Self {
        self.pod["containers"][0]["securityContext"]["capabilities"]["add"]
            .as_array_mut()
            .unwrap()
            .retain(|added| added != name);
        self
    }

    /// Without one of the mounts of the daemon's container.
    pub(crate) fn without_mount(mut self, volume: &str) -> Self {
        let mounts = self.pod["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        let before = mounts.len();
        mounts.retain(|mount| mount["name"] != volume);
        assert_eq!(mounts.len() + 1, before, "there is no mount of {volume}");
        self
    }

    /// The daemon's container.
    pub(crate) fn daemon(&self) -> &Value {
        assert_eq!(self.pod["containers"].as_array().unwrap().len(), 1);
        &self.pod["containers"][0]
    }

    /// The container that installs the plugin.
    pub(crate) fn install(&self) -> &Value {
        assert_eq!(self.pod["initContainers"].as_array().unwrap().len(), 1);
        &self.pod["initContainers"][0]
    }

    /// The capabilities that the daemon's container is given.
    pub(crate) fn capabilities(&self) -> Vec<String> {
        let added = self.daemon()["securityContext"]["capabilities"]["add"].as_array().unwrap();
        added.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn shares_processes(&self) -> bool {
        self.pod["hostPID"] == json!(true)
    }

    /// What all containers of the pod have in common.
    pub(crate) fn pod(&self) -> &Value {
        &self.pod
    }

    pub(crate) fn volume(&self, name: &Value) -> &Value {
        self.pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == *name).unwrap()
    }

    /// A text of the ConfigMap that the manifest brings.
    pub(crate) fn setting(&self, config_map: &Value, key: &Value) -> &str {
        assert_eq!(self.settings["metadata"]["name"], *config_map);
        self.settings["data"][key.as_str().unwrap()].as_str().unwrap()
    }
}

fn named<'a>(list: &'a mut Value, name: &Value) -> &'a mut Value {
    list.as_array_mut().unwrap().iter_mut().find(|entry| entry["name"] == *name).unwrap()
}
