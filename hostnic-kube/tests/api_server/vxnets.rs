//! What becomes of `v-pool`, in the cluster and in the simulated cloud.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::AddressReservation;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::stage::{Stage, VXNETS, is_ready};
use crate::trial;
use crate::world::{World, eventually, make_pod, remove_pod};

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "vxnets_of_v_pool_become_pools_and_blocks", |world| async move { made(&world).await }),
        trial(
            world,
            "a_pool_that_is_removed_by_hand_is_made_again",
            |world| async move { removed(&world).await },
        ),
        trial(world, "a_disabled_pool_gives_no_addresses", |world| async move { disabled(&world).await }),
        trial(world, "a_vxnet_goes_when_nobody_uses_it", |world| async move { taken_out(&world).await }),
        trial(world, "a_controller_may_be_killed_at_any_moment", |world| async move { killed(&world).await }),
        trial(world, "two_controllers_do_no_more_than_one", |world| async move { both(&world).await }),
        trial(world, "what_is_wrong_with_a_vxnet_is_told", |world| async move { refused(&world).await }),
    ]
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

async fn taken_out(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, 26).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    let block = "4100-172-16-4-0-26";
    stage.take(block, 1).await;
    stage.v_pool(&VXNETS[..1], 26).await;
    let leaving = |status: &Value| status["message"].as_str().is_some_and(|told| told.contains("its last"));
    let status = stage.status("the vxnet waits for its pods", leaving).await;
    assert!(is_ready(&status) && status["pools"].as_array().unwrap().len() == 1, "{status}");
    assert_eq!(stage.reserved(VXNETS[1]).await, 241);

    // Nobody else gets an address of it meanwhile.
    let closed = stage.objects("IPAMBlock").get("4100-172-16-4-64-26").await.unwrap();
    assert_eq!(closed.data["spec"]["deleted"], true);
    // One who changes his mind finds it as it was.
    stage.v_pool(&VXNETS, 26).await;
    stage.status("both are wanted", |status| is_ready(status) && status["message"].is_null()).await;
    let open = stage.objects("IPAMBlock").get("4100-172-16-4-64-26").await.unwrap();
    assert_eq!(open.data["spec"]["deleted"], false);
    stage.v_pool(&VXNETS[..1], 26).await;
    stage.status("the vxnet waits again", leaving).await;
    stage.take(block, 0).await;
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

async fn removed(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS[..1], 26).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    stage.take("4100-172-16-3-0-26", 2).await;
    let before = stage.objects("IPPool").get(VXNETS[0]).await.unwrap().uid();
    stage.objects("IPPool").delete(VXNETS[0], &DeleteParams::default()).await.unwrap();
    let removing = |status: &Value| status["conditions"][0]["reason"] == "Removing";
    let status = stage.status("its pods are waited for", removing).await;
    assert!(status["message"].as_str().unwrap().contains("its last 2 pods"), "{status}");
    assert_eq!(stage.objects("IPPool").get(VXNETS[0]).await.unwrap().uid(), before);
    stage.take("4100-172-16-3-0-26", 0).await;
    eventually("another one is in its place", || async {
        let pool = stage.objects("IPPool").get(VXNETS[0]).await.ok()?;
        (pool.uid() != before && stage.names("IPAMBlock").await.len() == 4).then_some(())
    })
    .await;
    stage.status("v-pool is ready again", is_ready).await;
    assert_eq!(stage.reserved(VXNETS[0]).await, 241);

    // Its blocks may be gone before their pods are: nothing of it is given to others then.
    let client = stage.admin.clone();
    make_pod(&client, "somewhere", "left-alone", &[]).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let told =
        Patch::Merge(json!({ "status": { "podIP": "172.16.3.9", "podIPs": [{ "ip": "172.16.3.9" }] } }));
    pods.patch_status("left-alone", &PatchParams::default(), &told).await.unwrap();
    stage.objects("IPAMBlock").delete("4100-172-16-3-0-26", &DeleteParams::default()).await.unwrap();
    let removed = |status: &Value| status["conditions"][0]["reason"] == "BlocksRemoved";
    let status = stage.status("a block is not made again that is a pod's", removed).await;
    assert!(status["message"].as_str().unwrap().contains("of which 1 pods"), "{status}");
    assert_eq!(stage.names("IPAMBlock").await.len(), 3);
    let before = stage.objects("IPPool").get(VXNETS[0]).await.unwrap().uid();
    stage.objects("IPPool").delete(VXNETS[0], &DeleteParams::foreground()).await.unwrap();
    // As Kubernetes does where that is asked for.
    for block in stage.names("IPAMBlock").await {
        let _ = stage.objects("IPAMBlock").delete(&block, &DeleteParams::default()).await;
    }
    let lost =
        |status: &Value| status["message"].as_str().is_some_and(|told| told.contains("blocks of 1 of"));
    stage.status("a pod is known to have lost its block", lost).await;
    assert_eq!(stage.reserved(VXNETS[0]).await, 241);
    let kept =
        Patch::Merge(json!({ "metadata": { "finalizers": ["finalizers.network.qingcloud.com/ippool"] } }));
    stage.objects("IPPool").patch(VXNETS[0], &PatchParams::default(), &kept).await.unwrap();
    assert_eq!(stage.objects("IPPool").get(VXNETS[0]).await.unwrap().uid(), before);
    remove_pod(&client, "left-alone").await;
    eventually("another one is in its place", || async {
        let pool = stage.objects("IPPool").get(VXNETS[0]).await.ok()?;
        (pool.uid() != before && stage.names("IPAMBlock").await.len() == 4).then_some(())
    })
    .await;

    // One whose `v-pool` is gone goes as well, and not before somebody removes it.
    stage.objects("VxNetPool").delete("v-pool", &DeleteParams::default()).await.unwrap();
    stage.objects("IPPool").delete(VXNETS[0], &DeleteParams::default()).await.unwrap();
    eventually("nothing is left of the vxnet", || async {
        let left = stage.names("IPPool").await.len() + stage.names("IPAMBlock").await.len();
        (left + stage.reserved(VXNETS[0]).await == 0).then_some(())
    })
    .await;
    controller.end().await;
}

async fn disabled(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS[..1], 26).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    for (disabled, what) in [(true, "no block gives addresses"), (false, "all of them do again")] {
        let change = Patch::Merge(json!({ "spec": { "disabled": disabled } }));
        stage.objects("IPPool").patch(VXNETS[0], &PatchParams::default(), &change).await.unwrap();
        eventually(what, || async {
            let blocks = stage.all("IPAMBlock").await;
            blocks.iter().all(|block| block.data["spec"]["deleted"] == disabled).then_some(())
        })
        .await;
    }
    controller.end().await;
}
