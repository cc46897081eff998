//! What a person is shown of addresses, and what a repair puts right.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, PodRef};
use hostnic_core::ipam::{AddressRequest, AddressSource};
use hostnic_kube::NodeName;
use hostnic_kube::ipam::{BlockAddresses, Finding, IpamTools};
use kube::api::DeleteParams;
use libtest_mimic::Trial;
use serde_json::json;

use crate::stage::{Stage, VXNETS, is_ready};
use crate::trial;
use crate::world::{World, eventually, make_node, make_pod, remove_pod};

const BLOCK: &str = "4100-172-16-3-0-26";

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![trial(world, "what_is_lost_is_found_and_put_right", |world| async move { lost(&world).await })]
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
    let claim = async |pod: PodRef| {
        let key = AttachmentKey {
            network: "net".parse().unwrap(),
            container: format!("sandbox-of-{}", pod.name).parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let request = AddressRequest { key, pod, candidates: vec![], patience: Duration::from_secs(10) };
        source.claim(&request).await.unwrap()
    };
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
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: "nowhere".parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    let patience = Duration::from_secs(1);
    source.claim(&AddressRequest { key, pod: nowhere, candidates: vec![], patience }).await.unwrap_err();
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
