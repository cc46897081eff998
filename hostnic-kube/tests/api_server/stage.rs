//! A cluster with the custom resources, a cloud, and controllers of pools.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::AddressReservation;
use hostnic_core::sim::{Cloud, Durations, Operation};
use hostnic_kube::ipam::{PoolCloud, PoolController, definitions};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{World, eventually, eventually_within};

pub(crate) const VXNETS: [&str; 2] = ["vxnet-aaaaaaa", "vxnet-bbbbbbb"];
/// One with many addresses.
pub(crate) const LARGE: &str = "vxnet-ccccccc";

/// A cluster with the custom resources and nothing of them, and a cloud.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) admin: Client,
    pub(crate) cloud: Cloud,
}

impl Stage {
    pub(crate) async fn set(world: &World) -> Self {
        let admin = world.admin().await;
        let crds: Api<CustomResourceDefinition> = Api::all(admin.clone());
        for definition in definitions().unwrap() {
            let crd: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
            let apply = PatchParams::apply("test").force();
            crds.patch(&crd.name_any(), &apply, &Patch::Apply(&crd)).await.unwrap();
        }
        let durations = Durations { reserve: Duration::from_millis(300), ..Durations::default() };
        let builder = Cloud::builder().router("rtr-1").instance("i-controller").security_group("sg-1");
        let builder = builder.subnet(VXNETS[0], "172.16.3.0/24").subnet(VXNETS[1], "172.16.4.0/24");
        let builder = builder.subnet(LARGE, "172.16.32.0/19");
        let stage = Self { admin, cloud: builder.durations(durations).build().unwrap() };
        eventually("the resources are served", || async {
            stage.objects("IPAMHandle").list(&ListParams::default()).await.ok()
        })
        .await;
        for kind in ["VxNetPool", "IPAMBlock", "IPPool", "IPAMHandle"] {
            for object in stage.all(kind).await {
                let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                let name = object.name_any();
                let api = stage.objects(kind);
                let _ = api.patch(&name, &PatchParams::default(), &free).await;
                let _ = api.delete(&name, &DeleteParams::default()).await;
            }
            eventually("none are left", || async { stage.all(kind).await.is_empty().then_some(()) }).await;
        }
        let _ = stage.config().delete("hostnic-ipam-config", &DeleteParams::default()).await;
        stage
    }

    pub(crate) fn objects(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("network.qingcloud.com", "v1alpha1", kind);
        Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&kind))
    }

    pub(crate) async fn all(&self, kind: &str) -> Vec<DynamicObject> {
        self.objects(kind).list(&ListParams::default()).await.unwrap().items
    }

    pub(crate) async fn names(&self, kind: &str) -> BTreeSet<String> {
        self.all(kind).await.iter().map(ResourceExt::name_any).collect()
    }

    pub(crate) fn config(&self) -> Api<ConfigMap> {
        Api::namespaced(self.admin.clone(), "kube-system")
    }

    /// Applies document 002's `v-pool`, with these vxnets.
    pub(crate) async fn v_pool(&self, vxnets: &[&str], block_size: u8) {
        let vxnets: Vec<Value> = vxnets.iter().map(|vxnet| json!({ "name": vxnet })).collect();
        let object = json!({
            "apiVersion": "network.qingcloud.com/v1alpha1", "kind": "VxNetPool", "metadata": { "name": "v-pool" },
            "spec": { "vxnets": vxnets, "blockSize": block_size },
        });
        let apply = PatchParams::apply("test").force();
        self.objects("VxNetPool").patch("v-pool", &apply, &Patch::Apply(object)).await.unwrap();
    }

    pub(crate) async fn controller(&self, world: &World) -> Controller {
        let node = Arc::new(self.cloud.node(&"i-controller".parse().unwrap()));
        let security = Some((node.clone() as _, Arc::new("sg-1".to_owned()) as _));
        let cloud = PoolCloud { provider: node.clone(), addresses: node, security };
        let controller = PoolController::new(&world.controller_access(), cloud, Vec::new()).await.unwrap();
        let stop = CancellationToken::new();
        Controller { task: tokio::spawn(controller.run(stop.clone())), stop }
    }

    /// Writes ConfigMap hostnic-ipam-config.
    pub(crate) async fn map(&self, auto: &str, ipam: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "hostnic-ipam-config" },
            "data": { "subnet-auto-assign": auto, "ipam": ipam },
        });
        let apply = PatchParams::apply("test").force();
        self.config().patch("hostnic-ipam-config", &apply, &Patch::Apply(config)).await.unwrap();
    }

    /// What its key `ipam` says.
    pub(crate) async fn mapping(&self) -> Value {
        let config = self.config().get("hostnic-ipam-config").await.unwrap();
        serde_json::from_str(&config.data.unwrap()["ipam"]).unwrap()
    }

    /// Makes this many addresses of a block somebody's, or all free again.
    pub(crate) async fn take(&self, block: &str, count: usize) {
        let spec = self.objects("IPAMBlock").get(block).await.unwrap().data["spec"].clone();
        let reserved = |index: &Value| *index == json!(0);
        let mut allocations: Vec<Value> = spec["allocations"].as_array().unwrap().clone();
        let has_reserved = spec["attributes"][0]["handle_id"] == "kubesphere-reserved-handle";
        let own = usize::from(has_reserved);
        for place in allocations.iter_mut().filter(|index| !has_reserved || !reserved(index)) {
            *place = Value::Null;
        }
        let mut free: Vec<usize> = (0..allocations.len()).filter(|n| allocations[*n].is_null()).collect();
        for number in free.drain(..count) {
            allocations[number] = json!(own);
        }
        let mut attributes: Vec<Value> = spec["attributes"].as_array().unwrap()[..own].to_vec();
        attributes.push(json!({ "handle_id": "test-web-cf81" }));
        let change =
            json!({ "spec": { "allocations": allocations, "unallocated": free, "attributes": attributes } });
        self.objects("IPAMBlock").patch(block, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// Waits until the status of `v-pool` is as it should be.
    pub(crate) async fn status(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        self.status_within(Duration::from_secs(20), what, good).await
    }

    pub(crate) async fn status_within(
        &self,
        patience: Duration,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually_within(patience, what, || async {
            let status = self.objects("VxNetPool").get("v-pool").await.ok()?.data["status"].clone();
            good(&status).then_some(status)
        })
        .await
    }

    pub(crate) async fn reserved(&self, vxnet: &str) -> usize {
        let node = self.cloud.node(&"i-controller".parse().unwrap());
        node.reserved(&vxnet.parse().unwrap(), &format!("hostnic_{vxnet}")).await.unwrap().len()
    }

    pub(crate) fn reservations(&self) -> u64 {
        self.cloud.calls().get(&Operation::Reserve).copied().unwrap_or_default()
    }
}

pub(crate) struct Controller {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Controller {
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) fn is_ready(status: &Value) -> bool {
    status["ready"] == true
}
