//! What is refused, and what is not.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::sim::Cloud;
use hostnic_kube::ipam::{PoolCloud, PoolController};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stage::{BLOCK, COLLECTOR, OWN, Stage, block, client, connect, merge, objects, pool, refused};
use crate::world::{World, eventually};

pub(super) async fn pools(world: &World) {
    let stage = Stage::set(world).await;
    let controller = stage.controller().await;
    stage.make("IPPool", "vxnet-aaaaaaa", pool("172.16.3.0/24")).await.unwrap();
    let change = |patch: Value| stage.merge("IPPool", "vxnet-aaaaaaa", json!({ "spec": patch }));

    let told = refused(change(json!({ "cidr": "172.16.4.0/24", "blockSize": 27 })).await);
    println!("{told}");
    assert!(
        told.starts_with("(422) admission webhook \"pools.admission.network.qingcloud.com\" denied"),
        "{told}"
    );
    for part in [
        "IPPool vxnet-aaaaaaa",
        "spec.cidr is 172.16.3.0/24 and may not become 172.16.4.0/24",
        "spec.blockSize is 28",
    ] {
        assert!(told.contains(part), "{told}");
    }
    change(json!({ "disabled": true })).await.unwrap();
    let told = refused(stage.make("IPPool", "vxnet-bbbbbbb", pool("172.16.0.0/16")).await);
    assert!(told.contains("overlaps with 172.16.3.0/24 of IPPool vxnet-aaaaaaa"), "{told}");
    let told = refused(stage.make("IPPool", "vxnet-bbbbbbb", pool("172.16.4.1/24")).await);
    assert!(told.contains("write 172.16.4.0/24"), "{told}");
    stage.make("IPPool", "vxnet-bbbbbbb", pool("172.16.4.0/24")).await.unwrap();

    let used = json!({
        "metadata": { "finalizers": ["finalizers.network.qingcloud.com/ippool"] },
        "status": { "capacity": 256, "allocations": 3, "unallocated": 253, "reserved": 0, "synced": true },
    });
    let counted = stage.objects("IPPool");
    counted.patch("vxnet-bbbbbbb", &PatchParams::default(), &Patch::Merge(&used)).await.unwrap();
    counted.patch_status("vxnet-bbbbbbb", &PatchParams::default(), &Patch::Merge(&used)).await.unwrap();
    let told = refused(counted.delete("vxnet-bbbbbbb", &DeleteParams::foreground()).await);
    assert!(told.contains("delete it without --cascade=foreground"), "{told}");

    let vxnets = |names: &[&str], size: u8| json!({ "vxnets": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(), "blockSize": size });
    let twice = vxnets(&["vxnet-aaaaaaa", "vxnet-aaaaaaa"], 28);
    let told = refused(stage.make("VxNetPool", "v-pool", twice).await);
    assert!(told.contains("names vxnet-aaaaaaa more than once"), "{told}");
    stage.make("VxNetPool", "v-pool", vxnets(&["vxnet-aaaaaaa"], 28)).await.unwrap();
    let told = refused(stage.merge("VxNetPool", "v-pool", json!({ "spec": { "blockSize": 27 } })).await);
    assert!(told.contains("may not change from 28 to 27"), "{told}");

    // Nothing is refused that the controller does.
    let own = client(world, Some(OWN)).await;
    merge(&own, "IPPool", "vxnet-bbbbbbb", json!({ "spec": { "blockSize": 27 } })).await.unwrap();
    controller.end().await;
    assert_eq!(stage.policies().await, ["Ignore"; 3]);
    change(json!({ "blockSize": 27 })).await.unwrap();
}

pub(super) async fn blocks(world: &World) {
    let stage = Stage::set(world).await;
    let controller = stage.controller().await;
    let told = refused(stage.make("IPAMBlock", "4100-10-0-0-0-28", block()).await);
    assert!(told.contains(&format!("is named {BLOCK}")), "{told}");
    stage.make("IPAMBlock", BLOCK, block()).await.unwrap();
    let change = |patch: Value| stage.merge("IPAMBlock", BLOCK, json!({ "spec": patch }));
    let told = refused(change(json!({ "id": 7 })).await);
    assert!(told.contains("leave id and cidr as they are"), "{told}");
    let told = refused(change(json!({ "allocations": [] })).await);
    assert!(told.contains("it would contradict itself"), "{told}");

    let told = refused(stage.objects("IPAMBlock").delete(BLOCK, &DeleteParams::default()).await);
    println!("{told}");
    assert!(told.contains("1 of its addresses are pods'"), "{told}");
    let collector = client(world, Some(COLLECTOR)).await;
    objects(&collector, "IPAMBlock").delete(BLOCK, &DeleteParams::default()).await.unwrap();
    let handle = json!({ "handleID": "other", "block": {}, "deleted": false });
    let told = refused(stage.make("IPAMHandle", "test-web-cf81", handle).await);
    assert!(told.contains("a handle is named after it"), "{told}");
    controller.end().await;
}

pub(super) async fn mapping(world: &World) {
    let stage = Stage::set(world).await;
    let controller = stage.controller().await;
    let wrong = json!({ "a": [BLOCK, "vxnet-aaaaaaa"], "b": [BLOCK] }).to_string();
    // The same text means nothing elsewhere.
    stage.config("hostnic-other", &wrong).await.unwrap();
    let told = refused(stage.config("hostnic-ipam-config", &wrong).await);
    println!("{told}");
    assert!(told.contains("4100-172-16-3-0-28 to both a and b"), "{told}");
    assert!(told.contains("\"vxnet-aaaaaaa\" names no block"), "{told}");
    let told = refused(stage.config("hostnic-ipam-config", "{").await);
    assert!(told.contains("ipam must be JSON"), "{told}");
    stage.config("hostnic-ipam-config", &json!({ "a": [BLOCK] }).to_string()).await.unwrap();
    controller.end().await;
}

/// The controller of pools does all that it does while changes are refused for want of an answer.
pub(super) async fn own(world: &World) {
    let stage = Stage::set(world).await;
    let controller = stage.controller().await;
    let builder = Cloud::builder().router("rtr-1").instance("i-controller").security_group("sg-1");
    let cloud = builder.subnet("vxnet-aaaaaaa", "172.16.3.0/24").build().unwrap();
    let node = Arc::new(cloud.node(&"i-controller".parse().unwrap()));
    let cloud = PoolCloud { provider: node.clone(), addresses: node.clone(), security: None };
    let pools = PoolController::new(&stage.access, cloud, Vec::new()).await.unwrap();
    let stop = CancellationToken::new();
    let working = tokio::spawn(pools.run(stop.clone()));

    let wanted = json!({ "vxnets": [{ "name": "vxnet-aaaaaaa" }], "blockSize": 26 });
    stage.make("VxNetPool", "v-pool", wanted).await.unwrap();
    eventually("v-pool is ready", || async {
        let v_pool = stage.objects("VxNetPool").get("v-pool").await.unwrap();
        (v_pool.data["status"]["ready"] == true).then_some(())
    })
    .await;
    // Nobody but the controller takes a block away.
    stage.merge("VxNetPool", "v-pool", json!({ "spec": { "vxnets": [] } })).await.unwrap();
    eventually("nothing is left of the vxnet", || async {
        let blocks = stage.objects("IPAMBlock").list(&ListParams::default()).await.unwrap().items;
        let pools = stage.objects("IPPool").list(&ListParams::default()).await.unwrap().items;
        (blocks.is_empty() && pools.is_empty()).then_some(())
    })
    .await;
    assert_eq!(stage.policies().await[0], "Fail");
    stop.cancel();
    working.await.unwrap();
    controller.end().await;
}

/// What the server answers to this, sent as it is.
async fn answered(port: u16, stage: &Stage, request: &[u8]) -> String {
    let mut stream = connect(port, stage).await;
    stream.write_all(request).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

pub(super) async fn strange(world: &World) {
    let stage = Stage::set(world).await;
    let mut replica = stage.replica(|_| {}).await;
    replica.until("it can answer", |state| state.serves).await;
    let port = replica.port;
    // Some that say nothing, which must not be in anybody's way.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let sent = |line: &str, body: &[u8]| {
        let mut request =
            format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        request
    };
    let code = |answer: String| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let posted = "POST /validate/configmaps?timeout=2s";
    for (line, body, expected) in [
        ("GET /validate/configmaps", vec![], "405"),
        ("POST /validate", vec![], "404"),
        (posted, b"{".to_vec(), "500"),
        (posted, vec![b' '; 3 * 1024 * 1024 + 1], "413"),
    ] {
        assert_eq!(code(answered(port, &stage, &sent(line, &body)).await), expected, "{line}");
    }
    let review = |name: &str| {
        let request = json!({
            "uid": "u", "operation": "CREATE", "name": name, "namespace": "kube-system",
            "resource": { "group": "", "version": "v1", "resource": "configmaps" },
            "userInfo": { "username": "somebody" }, "object": { "data": { "ipam": 7 } },
        });
        sent(posted, json!({ "request": request }).to_string().as_bytes())
    };
    // Nothing is read of another one, whatever is in it.
    let answer = answered(port, &stage, &review("other")).await;
    assert!(answer.contains(r#""allowed":true"#), "{answer}");
    assert_eq!(code(answered(port, &stage, &review("hostnic-ipam-config")).await), "500");
    // Whoever says nothing does not keep it from ending either.
    let begun = Instant::now();
    replica.end().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(silent);
}
