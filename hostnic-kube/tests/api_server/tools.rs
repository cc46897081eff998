//! What a person is shown of addresses, and what a repair puts right.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, PodRef};
use hostnic_core::ipam::{AddressRequest, AddressSource};
use hostnic_kube::NodeName;
use hostnic_kube::ipam::{BlockAddresses, Finding, GivenBack, GoneNodes, IpamTools};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{Stage, VXNETS, is_ready};
use crate::trial;
use crate::world::{World, eventually, make_node, make_pod, remove_pod};

const BLOCK: &str = "4100-172-16-3-0-26";

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "what_is_lost_is_found_and_put_right", |world| async move { lost(&world).await }),
        trial(world, "addresses_of_a_node_that_is_gone_are_given_back", |world| async move {
            gone(&world).await;
        }),
    ]
}

async fn lost(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS[..1], 26).await;
    stage.map("off", &json!({ "default": [BLOCK], "other": ["4100-172-16-3-64-26"] }).to_string()).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    controller.end().await;
    make_node(&stage.admin, "tools-node", json!({}), &[]).await;
    let node = NodeName::new("tools-node").unwrap();
    let source = BlockAddresses::connect(&world.node_access(), &node, "no-uid-of-it").await.unwrap();
    let claim = async |pod: PodRef| source.claim(&request(pod)).await.unwrap();
    let stays = claim(make_pod(&stage.admin, "tools-node", "tools-stays", &[]).await).await;
    let goes = claim(make_pod(&stage.admin, "tools-node", "tools-goes", &[]).await).await;
    eventually("both have handles", || async { (stage.names("IPAMHandle").await.len() == 2).then_some(()) })
        .await;

    let figures = source.figures();
    let usage = eventually("the node knows the blocks once it is asked", || async { figures.usage() }).await;
    let of_vxnet = usage.vxnets[VXNETS[0]];
    assert_eq!((of_vxnet.allocated, of_vxnet.reserved, usage.blocks.len()), (6, 15, 4));
    let used: Vec<_> =
        usage.namespaces.iter().map(|(name, usage)| (name.as_deref(), usage.allocated)).collect();
    assert_eq!(used, [(None, 0), (Some("default"), 6), (Some("other"), 0)]);

    let tools = IpamTools::connect(&world.node_access()).await.unwrap();
    let shown = tools.inventory().await.unwrap().utilisation();
    let first = &shown.vxnets[0];
    assert_eq!((first.name.as_str(), first.numbers.allocate, first.numbers.reserved), (VXNETS[0], 6, 15));
    assert_eq!((first.blocks[0].name.as_str(), first.blocks.len()), (BLOCK, 4));
    assert_eq!(shown.namespaces["default"], [BLOCK]);
    assert_eq!(shown.free, ["4100-172-16-3-128-26", "4100-172-16-3-192-26"]);

    // A namespace that has nothing to draw from.
    let nowhere = PodRef { namespace: "nowhere".to_owned(), name: "p".to_owned(), uid: None };
    let patience = Duration::from_secs(1);
    source.claim(&AddressRequest { patience, ..request(nowhere) }).await.unwrap_err();
    let failed = figures.failures();
    assert!(failed.from_nowhere > 0 && failed.from_blocks + failed.from_pools == 0, "{failed:?}");

    // The node comes to be another one, a pod goes without a word, and so does the other one's handle.
    drop(source);
    remove_pod(&stage.admin, "tools-goes").await;
    let handles = stage.objects("IPAMHandle");
    handles.delete("default-tools-stays-sandbox-of-tools-stays", &DeleteParams::default()).await.unwrap();
    let found = tools.inventory().await.unwrap().check();
    let leaked: Vec<_> = found.iter().filter(|f| matches!(f, Finding::Leaked { .. })).collect();
    let missing = found.iter().filter(|f| matches!(f, Finding::HandleMissing { .. })).count();
    assert_eq!((found.len(), leaked.len(), missing), (6, 5, 1), "{found:?}");
    assert!(leaked.iter().any(|finding| finding.to_string().contains("there is no pod default/tools-goes")));
    assert_eq!(tools.repair(&found).await.unwrap(), 6);
    assert_eq!(tools.inventory().await.unwrap().check(), []);
    let again = tools.repair(&found).await.unwrap();
    assert_eq!(again, 0, "it does no harm to repair what is right");

    let address = |claimed: &hostnic_core::ipam::ClaimedAddress| match claimed.address.addr() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => panic!("not of IPv4"),
    };
    assert_eq!(tools.release_address(address(&goes)).await.unwrap(), None);
    let handle = tools.release_address(address(&stays)).await.unwrap().unwrap();
    assert_eq!(handle, "default-tools-stays-sandbox-of-tools-stays");
    assert_eq!(tools.release_handle(&handle).await.unwrap(), 0);
    assert_eq!(tools.inventory().await.unwrap().utilisation().vxnets[0].numbers.allocate, 0);
    remove_pod(&stage.admin, "tools-stays").await;
}

/// A pod's sandbox.
fn request(pod: PodRef) -> AddressRequest {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("sandbox-of-{}", pod.name).parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    AddressRequest { key, pod, candidates: vec![], patience: Duration::from_secs(10) }
}

async fn gone(world: &World) {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS[..1], 26).await;
    stage.map("off", &json!({ "default": [BLOCK] }).to_string()).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    controller.end().await;
    let nodes: Api<Node> = Api::all(stage.admin.clone());
    let mut sources = Vec::new();
    for node in ["lives-node", "gone-node"] {
        make_node(&stage.admin, node, json!({}), &[]).await;
        let uid = nodes.get(node).await.unwrap().uid().unwrap();
        let name = NodeName::new(node).unwrap();
        sources.push(BlockAddresses::connect(&world.node_access(), &name, &uid).await.unwrap());
        for pod in ["one", "two"] {
            let pod = make_pod(&stage.admin, node, &format!("{pod}-of-{node}"), &[]).await;
            sources.last().unwrap().claim(&request(pod)).await.unwrap();
        }
    }
    let tools = IpamTools::connect(&world.controller_access()).await.unwrap();
    let shown = IpamTools::connect(&world.node_access()).await.unwrap();
    let held = || async { shown.inventory().await.unwrap().utilisation().vxnets[0].numbers.allocate };
    let full =
        eventually("both have their stock", || async { Some(held().await).filter(|held| *held > 6) }).await;
    drop(sources);

    // Its object goes, its kubelet speaks once more, and one of its pods is still known.
    let leases: Api<Lease> = Api::namespaced(stage.admin.clone(), "kube-node-lease");
    let lease = json!({ "metadata": { "name": "gone-node" }, "spec": { "holderIdentity": "gone-node" } });
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    nodes.delete("gone-node", &DeleteParams::default()).await.unwrap();
    remove_pod(&stage.admin, "one-of-gone-node").await;
    let start = Instant::now();
    let minutes = |minutes: u64| start + Duration::from_secs(60 * minutes);
    let mut looker = GoneNodes::new(tools.clone());
    assert_eq!(looker.look(minutes(0)).await.unwrap(), GivenBack::default());
    let spoke = Patch::Merge(json!({ "spec": { "leaseDurationSeconds": 40 } }));
    leases.patch("gone-node", &PatchParams::default(), &spoke).await.unwrap();
    assert_eq!(looker.look(minutes(10)).await.unwrap(), GivenBack::default());
    assert_eq!(held().await, full);
    // Whoever takes over suspects anew.
    assert_eq!(GoneNodes::new(tools).look(minutes(60)).await.unwrap(), GivenBack::default());
    assert_eq!(looker.look(minutes(19)).await.unwrap(), GivenBack::default());
    let first = looker.look(minutes(20)).await.unwrap();
    assert_eq!(first.nodes, ["gone-node".to_owned()].into());
    assert!(first.addresses > 1, "a pod's and the stock's: {first:?}");
    remove_pod(&stage.admin, "two-of-gone-node").await;
    looker.look(minutes(21)).await.unwrap();
    assert!(looker.look(minutes(31)).await.unwrap().addresses > 0);
    let left = shown.inventory().await.unwrap();
    assert_eq!(left.utilisation().vxnets[0].numbers.allocate, full / 2, "what the living node has stays");
    let leaked = left.check().into_iter().filter(|finding| matches!(finding, Finding::Leaked { .. }));
    assert_eq!(leaked.count(), 0);
    assert!(!stage.names("IPAMHandle").await.iter().any(|handle| handle.contains("gone-node")));
    for pod in ["one", "two"] {
        remove_pod(&stage.admin, &format!("{pod}-of-lives-node")).await;
    }
    leases.delete("gone-node", &DeleteParams::default()).await.unwrap();
}
