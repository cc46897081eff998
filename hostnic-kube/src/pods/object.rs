//! A pod as far as it is read: what else the API server tells of it, with whatever secrets its environment holds, is never kept.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ApiResource, Object};
use serde::{Deserialize, Serialize};

/// A pod of the API server's.
pub(crate) type NodePod = Object<Spec, Status>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    #[serde(default)]
    host_network: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    phase: String,
}

/// A pod as far as it says where it is.
pub(crate) type Placed = Object<Place, Status>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    #[serde(default)]
    node_name: Option<String>,
}

impl Place {
    /// The node that it was bound to.
    pub(crate) fn node(self) -> Option<String> {
        self.node_name.filter(|name| !name.is_empty())
    }
}

/// Pods of all namespaces, and where they are.
pub(crate) fn all_placed(client: Client) -> Api<Placed> {
    Api::all_with(client, &ApiResource::erase::<Pod>(&()))
}

/// Pods of all namespaces.
pub(crate) fn all(client: Client) -> Api<NodePod> {
    Api::all_with(client, &ApiResource::erase::<Pod>(&()))
}

/// Those of one.
pub(crate) fn of_namespace(client: Client, namespace: &str) -> Api<NodePod> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<Pod>(&()))
}

/// Whether an interface is owed to the pod: it has a network of its own, and is to run.
pub(crate) fn is_owed_an_interface(pod: &NodePod) -> bool {
    let phase = pod.status.as_ref().map_or("", |status| &status.phase);
    let over = pod.metadata.deletion_timestamp.is_some() || matches!(phase, "Succeeded" | "Failed");
    !over && !pod.spec.host_network
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owed(change: serde_json::Value) -> bool {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "uid": "u" },
            "spec": { "containers": [{ "name": "c", "env": [{ "name": "A", "value": "secret" }] }] },
            "status": { "phase": "Pending" },
        });
        for (part, values) in change.as_object().unwrap() {
            pod[part].as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        }
        let read: NodePod = serde_json::from_value(pod).unwrap();
        assert!(!format!("{read:?}").contains("secret"));
        is_owed_an_interface(&read)
    }

    #[test]
    fn pods_that_are_to_run_in_a_network_of_their_own_are_owed_one() {
        assert!(owed(json!({})) && owed(json!({ "status": { "phase": "Running" } })));
        assert!(!owed(json!({ "spec": { "hostNetwork": true } })));
        assert!(!owed(json!({ "status": { "phase": "Succeeded" } })));
        assert!(!owed(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } })));
    }
}
