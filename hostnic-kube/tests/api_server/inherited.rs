//! What a node finds in the blocks that an earlier run, or the Go version, has left there.

use hostnic_core::ipam::AddressSource;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::addresses::{OWN, claim, key, node, pod, release, stage};
use crate::stage::Stage;
use crate::world::{World, eventually, make_pod, remove_pod};

pub(crate) async fn again(world: &World) {
    let stage = stage(world, 26, &json!({ "test": [OWN] })).await;
    let first = node(world, "node1").await;
    let mut held = Vec::new();
    for name in ["p1", "p2"] {
        held.push((key(name).mark(), Some(pod("test", name)), claim(&first, "test", name).await));
    }
    let lost = claim(&first, "test", "p3").await;
    let handed_over = || async {
        let holders = stage.holders(OWN).await;
        (holders.len() == 4 && holders["hostnic-stock-uid-of-node1"].len() == 4).then_some(holders)
    };
    eventually("all is written", handed_over).await;
    let written = || async { (stage.handles().await.len() == 3).then_some(()) };
    eventually("the handles, too", written).await;
    drop(first);
    back_in_stock(&stage, "test-p2-sandbox-of-p2").await;

    // The next run knows two of the three pods, and finds its stock.
    let second = node(world, "node1").await;
    second.restore(&held).await.unwrap();
    second.settle().await.unwrap();
    eventually("what nobody has is given back", || async {
        let holders = stage.holders(OWN).await;
        (holders.len() == 3 && holders["hostnic-stock-uid-of-node1"].len() == 4).then_some(())
    })
    .await;
    let again = format!("test-p2-{}", key("p2").mark());
    assert!(stage.holders(OWN).await.contains_key(&again), "it is written that p2 has its address");
    let reads = second.counts().reads;
    let from_stock = claim(&second, "test", "p4").await;
    assert!(held.iter().all(|(_, _, claimed)| claimed.address != from_stock.address));
    assert_eq!(second.counts().reads, reads, "the stock is used again");
    assert_ne!(from_stock.address, lost.address);
    // One that was restored goes without anybody's knowing its handle.
    for name in ["p1", "p2", "p4"] {
        release(&second, name).await;
    }
    eventually("nothing is left", || async {
        let is_empty = stage.holders(OWN).await.is_empty() && stage.handles().await.is_empty();
        is_empty.then_some(())
    })
    .await;
}

/// Has all be as if a node had been killed before it wrote that this handle has an address of its stock.
async fn back_in_stock(stage: &Stage, handle: &str) {
    let mut spec = stage.objects("IPAMBlock").get(OWN).await.unwrap().data["spec"].clone();
    let attributes = spec["attributes"].as_array().unwrap().clone();
    let index =
        |handle: &str| json!(attributes.iter().position(|holder| holder["handle_id"] == handle).unwrap());
    let (of_pod, of_stock) = (index(handle), index("hostnic-stock-uid-of-node1"));
    for place in spec["allocations"].as_array_mut().unwrap().iter_mut().filter(|place| **place == of_pod) {
        *place = of_stock.clone();
    }
    let change = Patch::Merge(json!({ "spec": spec }));
    stage.objects("IPAMBlock").patch(OWN, &PatchParams::default(), &change).await.unwrap();
    stage.objects("IPAMHandle").delete(handle, &DeleteParams::default()).await.unwrap();
}

pub(crate) async fn gos(world: &World) {
    let stage = stage(world, 26, &json!({ "test": [OWN] })).await;
    // As the Go version leaves a block in which two pods have an address, of which one is on another node by now.
    let mut allocations = vec![Value::Null; 64];
    (allocations[0], allocations[1]) = (json!(0), json!(1));
    let unallocated: Vec<u32> = (2..64).collect();
    let attributes = ["old", "moved"].map(|pod| {
        let secondary = json!({ "namespace": "default", "node": "node1", "pod": pod, "timestamp": "2022-01-01 00:00:00 +0000 UTC" });
        json!({ "handle_id": format!("default-{pod}-0123456789"), "secondary": secondary })
    });
    make_pod(&stage.admin, "node1", "old", &[]).await;
    make_pod(&stage.admin, "node2", "moved", &[]).await;
    let spec = json!({
        "id": 4100, "cidr": "172.16.3.64/26", "deleted": false, "allocations": allocations, "unallocated": unallocated,
        "attributes": attributes,
    });
    let change = Patch::Merge(json!({ "spec": spec }));
    stage.objects("IPAMBlock").patch(OWN, &PatchParams::default(), &change).await.unwrap();
    let handle = json!({
        "apiVersion": "network.qingcloud.com/v1alpha1", "kind": "IPAMHandle", "metadata": { "name": "default-old-0123456789" },
        "spec": { "handleID": "default-old-0123456789", "block": { "4100-172.16.3.64/26": 1 }, "deleted": false },
    });
    let handles = stage.objects("IPAMHandle");
    handles.create(&PostParams::default(), &serde_json::from_value(handle).unwrap()).await.unwrap();
    let node = node(world, "node1").await;
    node.settle().await.unwrap();
    assert_eq!(claim(&node, "test", "new").await.address.to_string(), "172.16.3.66/24");
    let holders = stage.holders(OWN).await;
    assert_eq!(
        (holders["default-old-0123456789"].as_slice(), holders.len()),
        ([0].as_slice(), 2),
        "{holders:?}"
    );
    release(&node, "new").await;
    // Nobody tells the node when the pod goes.
    remove_pod(&stage.admin, "old").await;
    node.settle().await.unwrap();
    eventually("nothing is left", || async {
        let is_empty = stage.holders(OWN).await.is_empty() && stage.handles().await.is_empty();
        is_empty.then_some(())
    })
    .await;
    remove_pod(&stage.admin, "moved").await;
    assert!(stage.objects("IPAMBlock").get(OWN).await.unwrap().labels().len() == 1);
}
