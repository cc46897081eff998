//! What becomes of `v-pool`, in the cluster and in the simulated cloud.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::AddressReservation;
use hostnic_core::sim::{Cloud, Durations, Operation};
use hostnic_kube::ipam::{PoolCloud, PoolController, definitions};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::trial;
use crate::world::{World, eventually};

const VXNETS: [&str; 2] = ["vxnet-aaaaaaa", "vxnet-bbbbbbb"];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "vxnets_of_v_pool_become_pools_and_blocks", |world| async move { made(&world).await }),
        trial(world, "namespaces_get_blocks_of_their_own", |world| async move { assigned(&world).await }),
        trial(world, "a_vxnet_goes_when_nobody_uses_it", |world| async move { taken_out(&world).await }),
        trial(world, "a_controller_may_be_killed_at_any_moment", |world| async move { killed(&world).await }),
        trial(world, "two_controllers_do_no_more_than_one", |world| async move { both(&world).await }),
        trial(world, "what_is_wrong_with_a_vxnet_is_told", |world| async move { refused(&world).await }),
    ]
}

/// A cluster with the custom resources and nothing of them, and a cloud.
struct Stage {
    admin: Client,
    cloud: Cloud,
}

impl Stage {
    async fn set(world: &World) -> Self {
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
        let stage = Self { admin, cloud: builder.durations(durations).build().unwrap() };
        eventually("the resources are served", || async {
            stage.objects("IPAMHandle").list(&ListParams::default()).await.ok()
        })
        .await;
        for kind in ["VxNetPool", "IPAMBlock", "IPPool"] {
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

    fn objects(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("network.qingcloud.com", "v1alpha1", kind);
        Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&kind))
    }

    async fn all(&self, kind: &str) -> Vec<DynamicObject> {
        self.objects(kind).list(&ListParams::default()).await.unwrap().items
    }

    async fn names(&self, kind: &str) -> BTreeSet<String> {
        self.all(kind).await.iter().map(ResourceExt::name_any).collect()
    }

    fn config(&self) -> Api<ConfigMap> {
        Api::namespaced(self.admin.clone(), "kube-system")
    }

    /// Applies document 002's `v-pool`, with these vxnets.
    async fn v_pool(&self, vxnets: &[&str], block_size: u8) {
        let vxnets: Vec<Value> = vxnets.iter().map(|vxnet| json!({ "name": vxnet })).collect();
        let object = json!({
            "apiVersion": "network.qingcloud.com/v1alpha1", "kind": "VxNetPool", "metadata": { "name": "v-pool" },
            "spec": { "vxnets": vxnets, "blockSize": block_size },
        });
        let apply = PatchParams::apply("test").force();
        self.objects("VxNetPool").patch("v-pool", &apply, &Patch::Apply(object)).await.unwrap();
    }

    async fn controller(&self, world: &World) -> Controller {
        let node = Arc::new(self.cloud.node(&"i-controller".parse().unwrap()));
        let security = Some((node.clone() as _, "sg-1".to_owned()));
        let cloud = PoolCloud { provider: node.clone(), addresses: node, security };
        let controller = PoolController::new(&world.admin_access(), cloud).await.unwrap();
        let stop = CancellationToken::new();
        Controller { task: tokio::spawn(controller.run(stop.clone())), stop }
    }

    /// Waits until the status of `v-pool` is as it should be.
    async fn status(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async {
            let status = self.objects("VxNetPool").get("v-pool").await.ok()?.data["status"].clone();
            good(&status).then_some(status)
        })
        .await
    }

    async fn reserved(&self, vxnet: &str) -> usize {
        let node = self.cloud.node(&"i-controller".parse().unwrap());
        node.reserved(&vxnet.parse().unwrap(), &format!("hostnic_{vxnet}")).await.unwrap().len()
    }

    fn reservations(&self) -> u64 {
        self.cloud.calls().get(&Operation::Reserve).copied().unwrap_or_default()
    }
}

struct Controller {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Controller {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it wherever it is.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn is_ready(status: &Value) -> bool {
    status["ready"] == true
}

async fn made(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    let controller = stage.controller(world).await;
    let status = stage.status("v-pool is ready", is_ready).await;
    let first = json!({
        "name": VXNETS[0], "ippool": VXNETS[0],
        "subnets": ["4100-172-16-3-0-26", "4100-172-16-3-64-26", "4100-172-16-3-128-26", "4100-172-16-3-192-26"],
    });
    assert_eq!(status["pools"][0], first);
    assert_eq!(
        (&status["conditions"][0]["type"], &status["conditions"][0]["status"]),
        (&"Ready".into(), &"True".into())
    );
    // All but the last twelve of the addresses that the cloud hands out.
    assert_eq!((stage.reserved(VXNETS[0]).await, stage.reserved(VXNETS[1]).await), (241, 241));
    assert_eq!(stage.cloud.allowed("sg-1").len(), 2);

    let pool = stage.objects("IPPool").get(VXNETS[0]).await.unwrap();
    assert_eq!(pool.labels()["controller"], VXNETS[0]);
    assert_eq!(pool.labels()["ippool.network.qingcloud.com/id"], "4100");
    assert_eq!(pool.finalizers(), ["finalizers.network.qingcloud.com/ippool"]);
    let told = |part: &str| pool.data["spec"][part].clone();
    assert_eq!(
        (told("type"), told("rangeStart"), told("rangeEnd")),
        ("local".into(), "172.16.3.2".into(), "172.16.3.242".into())
    );
    let counted =
        json!({ "capacity": 256, "reserved": 15, "allocations": 0, "unallocated": 241, "synced": true });
    eventually("the pool counts", || async {
        let status = stage.objects("IPPool").get(VXNETS[0]).await.unwrap().data["status"].clone();
        (status == counted).then_some(())
    })
    .await;
    let block = stage.objects("IPAMBlock").get("4100-172-16-3-192-26").await.unwrap();
    assert_eq!(block.labels()["ippool.network.qingcloud.com/name"], VXNETS[0]);
    let owner = &block.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), owner.controller),
        ("IPPool", VXNETS[0], Some(true))
    );
    let spec = &block.data["spec"];
    assert_eq!(
        spec["attributes"],
        json!([{ "handle_id": "kubesphere-reserved-handle", "secondary": { "note": "kubesphere reserved" } }])
    );
    assert_eq!((spec["allocations"][50].clone(), spec["allocations"][51].clone()), (Value::Null, 0.into()));
    controller.end().await;

    // Another one finds all of it, and what somebody took away is made again.
    assert_eq!(stage.reservations(), 2);
    stage.objects("IPAMBlock").delete("4100-172-16-4-0-26", &DeleteParams::default()).await.unwrap();
    let controller = stage.controller(world).await;
    eventually("the block is there again", || async {
        (stage.names("IPAMBlock").await.len() == 8).then_some(())
    })
    .await;
    assert_eq!(stage.reservations(), 2);
    controller.end().await;
}

/// That everything is there once: each address claimed, each block made and free.
async fn is_whole(stage: &Stage) {
    for vxnet in VXNETS {
        let node = stage.cloud.node(&"i-controller".parse().unwrap());
        let reserved = node.reserved(&vxnet.parse().unwrap(), &format!("hostnic_{vxnet}")).await.unwrap();
        let addresses: BTreeSet<_> = reserved.iter().map(|reserved| reserved.address).collect();
        assert_eq!((reserved.len(), addresses.len()), (241, 241), "{vxnet}");
    }
    let blocks = stage.all("IPAMBlock").await;
    assert_eq!((blocks.len(), stage.names("IPPool").await.len()), (8, 2));
    let free: usize =
        blocks.iter().map(|block| block.data["spec"]["unallocated"].as_array().unwrap().len()).sum();
    assert_eq!(free, 482);
}

async fn killed(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    // Each goes on where the one before was ended, a little later each time.
    for lives in (5..400).step_by(12) {
        let controller = stage.controller(world).await;
        tokio::time::sleep(Duration::from_millis(lives)).await;
        controller.kill().await;
    }
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    is_whole(&stage).await;
    controller.end().await;
}

async fn both(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    let controllers = [stage.controller(world).await, stage.controller(world).await];
    stage.status("v-pool is ready", is_ready).await;
    is_whole(&stage).await;
    for controller in controllers {
        controller.end().await;
    }
}

async fn assigned(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "hostnic-ipam-config" },
        "data": { "subnet-auto-assign": "off", "ipam": json!({ "Default": [VXNETS[0]] }).to_string() },
    });
    stage.config().create(&PostParams::default(), &serde_json::from_value(config).unwrap()).await.unwrap();
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    let mapping = || async {
        let config = stage.config().get("hostnic-ipam-config").await.unwrap();
        serde_json::from_str::<Value>(&config.data.unwrap()["ipam"]).unwrap()
    };
    assert_eq!(mapping().await, json!({ "Default": [VXNETS[0]] }));
    let on = Patch::Merge(json!({ "data": { "subnet-auto-assign": "on" } }));
    stage.config().patch("hostnic-ipam-config", &PatchParams::default(), &on).await.unwrap();
    // Whatever changes is looked at at once, and the ConfigMap when something else does.
    stage.v_pool(&[VXNETS[1], VXNETS[0]], 26).await;
    let given = eventually("each namespace has a block", || async {
        let given = mapping().await;
        (given.as_object().unwrap().len() == 5).then_some(given)
    })
    .await;
    let blocks: BTreeSet<&str> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .iter()
        .map(|ns| given[ns][0].as_str().unwrap())
        .collect();
    assert_eq!(blocks.len(), 4, "{given}");
    assert!(blocks.iter().all(|block| block.starts_with("4100-172-16-4-")), "{given}");
    controller.end().await;
}

async fn taken_out(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    let taken = |handle: Value| {
        Patch::Merge(json!({ "spec": {
            "allocations": [0, 0, 1], "unallocated": [], "attributes": [{ "handle_id": "kubesphere-reserved-handle" }, handle],
        } }))
    };
    let blocks = stage.objects("IPAMBlock");
    let block = "4100-172-16-4-0-26";
    blocks
        .patch(block, &PatchParams::default(), &taken(json!({ "handle_id": "test-web-cf81" })))
        .await
        .unwrap();
    stage.v_pool(&VXNETS[..1], 26).await;
    let leaving = |status: &Value| status["message"].as_str().is_some_and(|told| told.contains("its last"));
    let status = stage.status("the vxnet waits for its pods", leaving).await;
    assert!(is_ready(&status) && status["pools"].as_array().unwrap().len() == 1, "{status}");
    assert_eq!(stage.reserved(VXNETS[1]).await, 241);

    let free = taken(json!({ "handle_id": "kubesphere-reserved-handle" }));
    blocks.patch(block, &PatchParams::default(), &free).await.unwrap();
    eventually("nothing is left of the vxnet", || async {
        let gone = stage.reserved(VXNETS[1]).await == 0
            && stage.names("IPPool").await == BTreeSet::from([VXNETS[0].to_owned()])
            && stage.names("IPAMBlock").await.len() == 4;
        gone.then_some(())
    })
    .await;
    stage.status("nothing is to be told", |status| is_ready(status) && status["message"].is_null()).await;
    controller.end().await;
}

async fn refused(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&[VXNETS[0], "vxnet-zzzzzzz"], 27).await;
    let controller = stage.controller(world).await;
    let unknown = |status: &Value| status["conditions"][0]["reason"] == "UnknownVxnet";
    let status = stage.status("the vxnet is unknown", unknown).await;
    assert!(!is_ready(&status));
    assert!(
        status["message"].as_str().unwrap().starts_with("vxnet-zzzzzzz: the cloud does not know it"),
        "{status}"
    );
    // The others are served all the same.
    eventually("the good one is cut", || async { (stage.names("IPAMBlock").await.len() == 8).then_some(()) })
        .await;
    stage.v_pool(&[VXNETS[0]], 23).await;
    stage.status("its own block size counts", is_ready).await;
    controller.end().await;
}
