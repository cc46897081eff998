//! A cluster with the custom resources, and controllers of it.

use std::sync::Arc;
use std::time::Duration;

use hostnic_kube::Access;
use hostnic_kube::admission::{
    AccountName, Accounts, Admission, AdmissionSettings, AdmissionState, Endpoint, Standing,
};
use hostnic_kube::ipam::definitions;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::server::ADMIN;
use crate::world::{World, eventually};

pub(super) const OWN: &str = "system:serviceaccount:kube-system:hostnic-controller";
pub(super) const NODE: &str = "system:serviceaccount:kube-system:hostnic-node";
pub(super) const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
pub(super) const REGISTRATIONS: [&str; 2] = ["hostnic-resources", "hostnic-configmaps"];
pub(super) const BLOCK: &str = "4100-172-16-3-0-28";

/// A kubeconfig by which one who may do everything acts as this account.
pub(super) fn kubeconfig(world: &World, account: Option<&str>) -> Value {
    let cluster = json!({
        "server": format!("https://127.0.0.1:{}", world.server().port), "insecure-skip-tls-verify": true,
    });
    let mut user = json!({ "token": ADMIN });
    if let Some(account) = account {
        user["as"] = account.into();
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    })
}

pub(super) async fn client(world: &World, account: Option<&str>) -> Client {
    let file: Kubeconfig = serde_json::from_value(kubeconfig(world, account)).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap())
        .unwrap()
}

pub(super) async fn apply<K>(api: &Api<K>, object: Value)
where
    K: Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
}

/// Gives the controller's account the rights that the crate's documentation lists, and the others what they do here.
pub(super) async fn grant(admin: &Client) {
    let right = |group: &str, resource: &str, names: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": verbs });
    let (hooks, resources) = ("admissionregistration.k8s.io", "network.qingcloud.com");
    let documented = json!([
        right(hooks, "validatingwebhookconfigurations", &[], &["create"]),
        right(hooks, "validatingwebhookconfigurations", &REGISTRATIONS, &["get", "update"]),
        right(resources, "ippools", &[], &["list", "create"]),
        right(resources, "ipamblocks", &[], &["list"]),
        right("", "namespaces", &["kube-system"], &["get"]),
    ]);
    let in_namespace = json!([
        right("", "secrets", &[], &["create"]),
        right("", "secrets", &["hostnic-admission"], &["get", "update"]),
    ]);
    // What the controller of pools, nodes and Kubernetes itself may do.
    let others = json!([right(resources, "*", &[], &["*"])]);
    let own = json!([
        right(resources, "ippools", &[], &["get", "patch"]),
        right(resources, "ippools", &[], &["watch", "update", "delete"]),
        right(resources, "ippools/status", &[], &["patch"]),
        right(resources, "ipamblocks", &[], &["get", "create", "update", "delete"]),
        right(resources, "vxnetpools", &[], &["list", "watch", "get"]),
        right(resources, "vxnetpools/status", &[], &["patch"]),
        right("", "namespaces", &[], &["list"]),
        right("", "configmaps", &[], &["get", "update"]),
    ]);
    let group = "rbac.authorization.k8s.io";
    let users = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({ "apiGroup": group, "kind": "User", "name": name })).collect()
    };
    let refers = |kind: &str, name: &str| json!({ "apiGroup": group, "kind": kind, "name": name });
    for (name, rules, who) in [
        ("hostnic-admission", &documented, users(&[OWN])),
        ("hostnic-pools", &own, users(&[OWN])),
        ("hostnic-others", &others, users(&[NODE, COLLECTOR])),
    ] {
        let metadata = json!({ "name": name });
        let kind =
            |kind: &str| json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata });
        let mut role = kind("ClusterRole");
        role["rules"] = rules.clone();
        apply::<ClusterRole>(&Api::all(admin.clone()), role).await;
        let mut binding = kind("ClusterRoleBinding");
        (binding["subjects"], binding["roleRef"]) = (who, refers("ClusterRole", name));
        apply::<ClusterRoleBinding>(&Api::all(admin.clone()), binding).await;
    }
    let kind = |kind: &str| json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": { "name": "hostnic-admission" } });
    let mut role = kind("Role");
    role["rules"] = in_namespace;
    apply::<Role>(&Api::namespaced(admin.clone(), "kube-system"), role).await;
    let mut binding = kind("RoleBinding");
    (binding["subjects"], binding["roleRef"]) = (users(&[OWN]), refers("Role", "hostnic-admission"));
    apply::<RoleBinding>(&Api::namespaced(admin.clone(), "kube-system"), binding).await;
}

/// A cluster with the custom resources, and nothing of them or of the webhooks.
pub(super) struct Stage {
    pub(super) admin: Client,
    pub(super) access: Access,
}

impl Stage {
    pub(super) async fn set(world: &World) -> Self {
        let admin = client(world, None).await;
        let path = world.server().path("kubeconfig.controller");
        std::fs::write(&path, kubeconfig(world, Some(OWN)).to_string()).unwrap();
        let stage = Self { admin, access: Access::Kubeconfig(path) };
        stage.clear().await;
        grant(&stage.admin).await;
        for definition in definitions().unwrap() {
            apply::<CustomResourceDefinition>(&Api::all(stage.admin.clone()), definition).await;
        }
        eventually("the resources are served", || async {
            stage.objects("IPAMHandle").list(&ListParams::default()).await.ok()
        })
        .await;
        for kind in ["VxNetPool", "IPAMBlock", "IPPool"] {
            let api = stage.objects(kind);
            eventually("none are left", || async {
                let all = api.list(&ListParams::default()).await.unwrap().items;
                for object in &all {
                    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                    let _ = api.patch(&object.name_any(), &PatchParams::default(), &free).await;
                    let _ = api.delete(&object.name_any(), &DeleteParams::default()).await;
                }
                all.is_empty().then_some(())
            })
            .await;
        }
        stage
    }

    /// Takes away what a controller left.
    pub(super) async fn clear(&self) {
        for name in REGISTRATIONS {
            let _ = self.registrations().delete(name, &DeleteParams::default()).await;
        }
        let _ = self.secrets().delete("hostnic-admission", &DeleteParams::default()).await;
        let _ = self.configs().delete("hostnic-ipam-config", &DeleteParams::default()).await;
    }

    pub(super) fn objects(&self, kind: &str) -> Api<DynamicObject> {
        objects(&self.admin, kind)
    }

    pub(super) fn registrations(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.admin.clone())
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), "kube-system")
    }

    pub(super) fn configs(&self) -> Api<ConfigMap> {
        Api::namespaced(self.admin.clone(), "kube-system")
    }

    /// What each webhook does with a change when nobody answers.
    pub(super) async fn policies(&self) -> Vec<String> {
        let mut policies = Vec::new();
        for name in REGISTRATIONS {
            let webhooks = self.registrations().get(name).await.unwrap().webhooks.unwrap();
            policies.extend(webhooks.into_iter().filter_map(|webhook| webhook.failure_policy));
        }
        policies
    }

    pub(super) async fn replica(&self, change: impl FnOnce(&mut AdmissionSettings)) -> Replica {
        self.prepared(change).await.start()
    }

    pub(super) async fn prepared(&self, change: impl FnOnce(&mut AdmissionSettings)) -> Prepared {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let account = |name: &str| AccountName::new(name).unwrap();
        let accounts = Accounts { own: account(OWN), nodes: vec![account(NODE)] };
        let endpoint = Endpoint::Address { host: "127.0.0.1".to_owned(), port };
        let mut settings = AdmissionSettings::new(endpoint, "kube-system", accounts);
        change(&mut settings);
        let admission = Arc::new(Admission::new(&self.access, settings).await.unwrap());
        Prepared { admission, listener, port }
    }

    /// One that leads and is ready.
    pub(super) async fn controller(&self) -> Replica {
        let mut replica = self.replica(|_| {}).await;
        replica.lead().await;
        replica
    }

    pub(super) async fn make(&self, kind: &str, name: &str, spec: Value) -> kube::Result<DynamicObject> {
        make(&self.admin, kind, name, spec).await
    }

    pub(super) async fn merge(&self, kind: &str, name: &str, patch: Value) -> kube::Result<DynamicObject> {
        merge(&self.admin, kind, name, patch).await
    }

    pub(super) async fn config(&self, name: &str, ipam: &str) -> kube::Result<ConfigMap> {
        let config = json!({ "metadata": { "name": name }, "data": { "ipam": ipam } });
        let _ = self.configs().delete(name, &DeleteParams::default()).await;
        self.configs().create(&PostParams::default(), &serde_json::from_value(config).unwrap()).await
    }
}

pub(super) fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("network.qingcloud.com", "v1alpha1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

pub(super) async fn make(
    client: &Client,
    kind: &str,
    name: &str,
    spec: Value,
) -> kube::Result<DynamicObject> {
    let object = json!({
        "apiVersion": "network.qingcloud.com/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
    });
    objects(client, kind).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await
}

pub(super) async fn merge(
    client: &Client,
    kind: &str,
    name: &str,
    patch: Value,
) -> kube::Result<DynamicObject> {
    objects(client, kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

pub(super) struct Prepared {
    pub(super) admission: Arc<Admission>,
    pub(super) listener: TcpListener,
    pub(super) port: u16,
}

impl Prepared {
    pub(super) fn start(self) -> Replica {
        let Self { admission, listener, port } = self;
        let (standing, to_be) = watch::channel(Standing::Follower);
        let stop = CancellationToken::new();
        let (state, stopped, running) = (admission.state(), stop.clone(), Arc::clone(&admission));
        let task = tokio::spawn(async move { running.run(listener, to_be, stopped).await });
        Replica { admission, standing, state, stop, task, port }
    }
}

pub(super) struct Replica {
    pub(super) admission: Arc<Admission>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) state: watch::Receiver<AdmissionState>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
    pub(super) port: u16,
}

impl Replica {
    pub(super) async fn until(&mut self, what: &str, is: impl FnMut(&AdmissionState) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), self.state.wait_for(is)).await;
        assert!(waited.is_ok(), "within 20 s there was not: {what}");
    }

    /// As a controller begins to lead.
    pub(super) async fn lead(&mut self) {
        self.admission.relax().await.unwrap();
        self.standing.send_replace(Standing::Ready);
        self.until("changes are refused for want of an answer", |state| state.enforces).await;
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    pub(super) async fn kill(self) -> u16 {
        self.task.abort();
        let _ = self.task.await;
        self.port
    }
}

/// What an API server says of a change that it refuses.
pub(super) fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> String {
    match answer {
        Err(kube::Error::Api(status)) => format!("({}) {}", status.code, status.message),
        other => panic!("it was not refused: {other:?}"),
    }
}

pub(super) fn is_unanswered(told: &str) -> bool {
    told.contains("failed calling webhook")
}

pub(super) fn pool(cidr: &str) -> Value {
    json!({ "type": "local", "cidr": cidr, "blockSize": 28 })
}

/// Of sixteen addresses, of which the third is a pod's.
pub(super) fn block() -> Value {
    let allocations: Vec<Value> =
        (0..16).map(|number| if number == 2 { json!(0) } else { Value::Null }).collect();
    let free: Vec<u32> = (0..16).filter(|number| *number != 2).collect();
    json!({
        "id": 4100, "cidr": "172.16.3.0/28", "allocations": allocations, "unallocated": free, "deleted": false,
        "attributes": [{ "handle_id": "test-web-cf81" }],
    })
}

/// The first certificate of a chain.
pub(super) fn leaf(pem: &[u8]) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

/// The certificate that is served with, which must be of an authority in the Secret.
pub(super) async fn presented(port: u16, stage: &Stage) -> Vec<u8> {
    connect(port, stage).await.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

pub(super) async fn connect(port: u16, stage: &Stage) -> TlsStream<TcpStream> {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let data = stage.secrets().get("hostnic-admission").await.unwrap().data.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for key in ["ca.crt", "former.ca.crt", "next.ca.crt"] {
        if let Some(pem) = data.get(key) {
            roots.add(CertificateDer::from_pem_slice(&pem.0).unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}
