//! The rights of the service accounts: exactly those that the crate's documentation lists.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Group, resource, name (or any), verb; in kube-system only, or everywhere.
pub(crate) type Right = (&'static str, &'static str, Option<&'static str>, &'static str);

/// A service account of kube-system, and what it may do.
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) everywhere: &'static [Right],
    pub(crate) in_kube_system: &'static [Right],
}

const GROUP: &str = "network.qingcloud.com";

pub(crate) const NODE: Account = Account {
    name: "hostnic-node",
    everywhere: &[
        ("", "pods", None, "list"),
        ("", "pods", None, "watch"),
        ("", "pods", None, "get"),
        ("", "pods", None, "patch"),
        ("", "nodes", None, "list"),
        ("", "nodes", None, "watch"),
        ("", "nodes", None, "patch"),
        ("", "nodes/status", None, "patch"),
        ("", "events", None, "create"),
        ("", "events", None, "patch"),
        ("", "namespaces", Some("kube-system"), "get"),
        ("networking.k8s.io", "servicecidrs", None, "list"),
        (GROUP, "vxnetpools", None, "list"),
        (GROUP, "vxnetpools", None, "watch"),
        (GROUP, "ippools", None, "list"),
        (GROUP, "ipamblocks", None, "get"),
        (GROUP, "ipamblocks", None, "list"),
        (GROUP, "ipamblocks", None, "watch"),
        (GROUP, "ipamblocks", None, "update"),
        (GROUP, "ipamhandles", None, "list"),
        (GROUP, "ipamhandles", None, "create"),
        (GROUP, "ipamhandles", None, "delete"),
    ],
    in_kube_system: &[
        ("", "configmaps", Some("kube-proxy"), "get"),
        ("", "configmaps", Some("kubeadm-config"), "get"),
        ("", "configmaps", Some("hostnic-ipam-config"), "get"),
        ("", "configmaps", Some("hostnic-ipam-config"), "list"),
        ("", "configmaps", Some("hostnic-ipam-config"), "watch"),
        ("coordination.k8s.io", "leases", None, "create"),
        ("coordination.k8s.io", "leases", Some("hostnic-vxnets"), "get"),
        ("coordination.k8s.io", "leases", Some("hostnic-vxnets"), "update"),
    ],
};

pub(crate) const CONTROLLER: Account = Account {
    name: "hostnic-controller",
    everywhere: &[
        (GROUP, "vxnetpools", None, "get"),
        (GROUP, "vxnetpools", None, "list"),
        (GROUP, "vxnetpools", None, "watch"),
        (GROUP, "vxnetpools/status", None, "patch"),
        (GROUP, "ippools/status", None, "patch"),
        (GROUP, "ippools", None, "get"),
        (GROUP, "ippools", None, "list"),
        (GROUP, "ippools", None, "watch"),
        (GROUP, "ippools", None, "create"),
        (GROUP, "ippools", None, "update"),
        (GROUP, "ippools", None, "delete"),
        (GROUP, "ipamblocks", None, "get"),
        (GROUP, "ipamblocks", None, "list"),
        (GROUP, "ipamblocks", None, "watch"),
        (GROUP, "ipamblocks", None, "create"),
        (GROUP, "ipamblocks", None, "update"),
        (GROUP, "ipamblocks", None, "delete"),
        (GROUP, "ipamhandles", None, "delete"),
        ("", "nodes", None, "list"),
        ("", "nodes", None, "watch"),
        ("", "nodes", None, "patch"),
        ("", "pods", None, "list"),
        ("coordination.k8s.io", "leases", None, "get"),
        ("", "namespaces", None, "list"),
        ("", "namespaces", None, "watch"),
        ("", "events", None, "create"),
        ("", "events", None, "patch"),
    ],
    in_kube_system: &[
        ("", "configmaps", Some("hostnic-ipam-config"), "get"),
        ("", "configmaps", Some("hostnic-ipam-config"), "list"),
        ("", "configmaps", Some("hostnic-ipam-config"), "watch"),
        ("", "configmaps", Some("hostnic-ipam-config"), "update"),
        ("coordination.k8s.io", "leases", None, "create"),
        ("coordination.k8s.io", "leases", Some("hostnic-controller"), "get"),
        ("coordination.k8s.io", "leases", Some("hostnic-controller"), "update"),
    ],
};

fn rules(rights: &[Right]) -> Value {
    let rule = |(group, resource, name, verb): &Right| {
        let names: Vec<&str> = name.iter().copied().collect();
        json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names })
    };
    rights.iter().map(rule).collect()
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Gives the accounts their rights.
pub(crate) async fn grant(admin: &Client) {
    for account in [NODE, CONTROLLER] {
        account.grant(admin).await;
    }
}

impl Account {
    async fn grant(&self, admin: &Client) {
        let named = json!({ "name": self.name });
        let subjects = json!([{ "kind": "ServiceAccount", "name": self.name, "namespace": "kube-system" }]);
        let refers =
            |kind| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": self.name });
        let post = PostParams::default();

        let role = object(json!({ "metadata": named, "rules": rules(self.everywhere) }));
        Api::<ClusterRole>::all(admin.clone()).create(&post, &role).await.unwrap();
        let binding =
            object(json!({ "metadata": named, "subjects": subjects, "roleRef": refers("ClusterRole") }));
        Api::<ClusterRoleBinding>::all(admin.clone()).create(&post, &binding).await.unwrap();

        let role = object(json!({ "metadata": named, "rules": rules(self.in_kube_system) }));
        Api::<Role>::namespaced(admin.clone(), "kube-system").create(&post, &role).await.unwrap();
        let binding = object(json!({ "metadata": named, "subjects": subjects, "roleRef": refers("Role") }));
        Api::<RoleBinding>::namespaced(admin.clone(), "kube-system").create(&post, &binding).await.unwrap();
    }
}
