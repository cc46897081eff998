//! Addresses of pods, drawn from blocks by several nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, PodRef};
use hostnic_core::ipam::{AddressRequest, AddressSource, ClaimedAddress};
use hostnic_core::{ErrorKind, Refusal, Result};
use hostnic_kube::NodeName;
use hostnic_kube::ipam::BlockAddresses;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::inherited;
use crate::stage::{Stage, VXNETS, is_ready};
use crate::trial;
use crate::world::{World, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const OWN: &str = "4100-172-16-3-64-26";

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "a_pod_has_an_address_of_its_namespace", |world| async move { one(&world).await }),
        trial(world, "a_warm_pod_waits_for_nobody", |world| async move { warm(&world).await }),
        trial(world, "a_pod_has_the_address_that_it_names", |world| async move { fixed(&world).await }),
        trial(world, "what_a_namespace_lacks_is_named", |world| async move { lacking(&world).await }),
        trial(world, "many_nodes_share_a_small_block", |world| async move { many(&world).await }),
        trial(world, "a_block_that_moves_has_no_foreign_pod", |world| async move { moved(&world).await }),
        trial(world, "a_node_finds_what_it_had", |world| async move { inherited::again(&world).await }),
        trial(world, "what_the_go_version_wrote_is_continued", |world| async move {
            inherited::gos(&world).await
        }),
    ]
}

pub(crate) async fn node(world: &World, name: &str) -> BlockAddresses {
    let node = NodeName::new(name).unwrap();
    BlockAddresses::connect(&world.node_access(), &node, &format!("uid-of-{name}")).await.unwrap()
}

pub(crate) fn key(pod: &str) -> AttachmentKey {
    AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("sandbox-of-{pod}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

pub(crate) fn pod(namespace: &str, pod: &str) -> PodRef {
    PodRef { namespace: namespace.to_owned(), name: pod.to_owned(), uid: None }
}

pub(crate) fn request(namespace: &str, name: &str) -> AddressRequest {
    AddressRequest { key: key(name), pod: pod(namespace, name), candidates: Vec::new(), patience: PATIENCE }
}

pub(crate) async fn claim(node: &BlockAddresses, namespace: &str, name: &str) -> ClaimedAddress {
    node.claim(&request(namespace, name)).await.unwrap()
}

pub(crate) async fn release(node: &BlockAddresses, name: &str) {
    node.release(&key(name).mark()).await.unwrap();
}

/// Pools of both vxnets, and the mapping.
pub(crate) async fn stage(world: &World, block_size: u8, ipam: &Value) -> Stage {
    let stage = Stage::set(world).await;
    stage.v_pool(&VXNETS, block_size).await;
    stage.map("off", &ipam.to_string()).await;
    let controller = stage.controller(world).await;
    stage.status("v-pool is ready", is_ready).await;
    controller.end().await;
    stage
}

impl Stage {
    /// Who has which addresses of a block, by handle.
    pub(crate) async fn holders(&self, block: &str) -> BTreeMap<String, Vec<usize>> {
        let spec = self.objects("IPAMBlock").get(block).await.unwrap().data["spec"].clone();
        let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, index) in spec["allocations"].as_array().unwrap().iter().enumerate() {
            let Some(index) = index.as_u64() else { continue };
            let handle = spec["attributes"][usize::try_from(index).unwrap()]["handle_id"].as_str().unwrap();
            if handle != "kubesphere-reserved-handle" {
                holders.entry(handle.to_owned()).or_default().push(number);
            }
        }
        holders
    }

    pub(crate) async fn handles(&self) -> BTreeSet<String> {
        self.names("IPAMHandle").await
    }
}

async fn one(world: &World) {
    let stage = stage(world, 26, &json!({ "Default": [VXNETS[1]], "test": [OWN] })).await;
    let node = node(world, "node1").await;
    let claimed = claim(&node, "test", "web-0").await;
    assert_eq!(
        (claimed.address.to_string().as_str(), claimed.subnet.as_str()),
        ("172.16.3.64/24", VXNETS[0])
    );
    assert_eq!(claimed.gateway, "172.16.3.1".parse::<IpAddr>().unwrap());
    assert_eq!(claim(&node, "test", "web-0").await, claimed, "asked again");
    let handle = "test-web-0-sandbox-of-web-0";
    assert_eq!(stage.holders(OWN).await, [(handle.to_owned(), vec![0])].into());
    let spec = stage.objects("IPAMBlock").get(OWN).await.unwrap().data["spec"].clone();
    let told = &spec["attributes"][0]["secondary"];
    let of = |name: &str| told[name].as_str().unwrap().to_owned();
    assert_eq!([of("namespace"), of("pod"), of("node"), of("ip")], ["test", "web-0", "node1", "172.16.3.64"]);
    eventually("its handle is written", || async { stage.handles().await.contains(handle).then_some(()) })
        .await;
    let object = stage.objects("IPAMHandle").get(handle).await.unwrap().data["spec"].clone();
    assert_eq!(object["block"], json!({ "4100-172.16.3.64/26": 1 }));

    // A namespace without blocks has what is nobody's.
    let other = claim(&node, "other", "web-1").await;
    assert_eq!(other.subnet.as_str(), VXNETS[1]);

    release(&node, "web-0").await;
    assert_eq!(stage.holders(OWN).await, BTreeMap::new());
    let spec = stage.objects("IPAMBlock").get(OWN).await.unwrap().data["spec"].clone();
    assert_eq!(spec["unallocated"].as_array().unwrap().last(), Some(&json!(0)), "it comes back at the end");
    eventually("its handle is gone", || async { (!stage.handles().await.contains(handle)).then_some(()) })
        .await;
    release(&node, "web-0").await;
    release(&node, "never").await;
    release(&node, "web-1").await;
}

async fn warm(world: &World) {
    let stage = stage(world, 26, &json!({ "test": [OWN] })).await;
    let node = node(world, "node1").await;
    claim(&node, "test", "p1").await;
    claim(&node, "test", "p2").await;
    let stock = "hostnic-stock-uid-of-node1".to_owned();
    let in_stock = || async { stage.holders(OWN).await.get(&stock).map_or(0, Vec::len) };
    assert_eq!(in_stock().await, 4);
    let before = node.counts();
    let mut claims: Vec<ClaimedAddress> = Vec::new();
    for name in ["p3", "p4", "p5"] {
        let request = request("test", name);
        // Nothing is waited for: it is there when it is first asked.
        let claim = node.claim(&request);
        tokio::pin!(claim);
        match futures::poll!(&mut claim) {
            std::task::Poll::Ready(claimed) => claims.push(claimed.unwrap()),
            std::task::Poll::Pending => panic!("{name} waits"),
        }
    }
    assert_eq!(node.counts().reads, before.reads);
    eventually("the pods have them in the block, too", || async {
        let holders = stage.holders(OWN).await;
        let have =
            ["p3", "p4", "p5"].iter().all(|p| holders.contains_key(&format!("test-{p}-sandbox-of-{p}")));
        (have && holders.get(&stock).is_some_and(|stock| stock.len() == 4)).then_some(())
    })
    .await;
    for name in ["p1", "p2", "p3", "p4", "p5"] {
        release(&node, name).await;
    }
    // Who has no pods of a namespace keeps no stock for it.
    eventually("the stock is returned", || async { (in_stock().await == 0).then_some(()) }).await;
    assert_eq!(stage.holders(OWN).await, BTreeMap::new());

    // Nor does anybody keep any of a vxnet that goes, however many pods he has.
    for name in ["p6", "p7"] {
        claim(&node, "test", name).await;
    }
    assert_eq!(in_stock().await, 4);
    stage.v_pool(&VXNETS[1..], 26).await;
    let controller = stage.controller(world).await;
    eventually("only pods hold the vxnet", || async { (in_stock().await == 0).then_some(()) }).await;
    assert_eq!(stage.holders(OWN).await.len(), 2);
    for name in ["p6", "p7"] {
        release(&node, name).await;
    }
    eventually("the vxnet is gone", || async {
        (!stage.names("IPPool").await.contains(VXNETS[0])).then_some(())
    })
    .await;
    controller.end().await;
}

async fn fixed(world: &World) {
    let stage = stage(world, 26, &json!({ "Default": [VXNETS[1]], "test": [OWN] })).await;
    let node = node(world, "node1").await;
    let claim = |namespace: &'static str, name: &'static str, candidates: &[&str]| {
        let candidates = candidates.iter().map(|address| address.parse().unwrap()).collect();
        let request =
            AddressRequest { candidates, patience: Duration::from_secs(2), ..request(namespace, name) };
        let node = &node;
        async move { node.claim(&request).await }
    };
    let address = |claimed: Result<ClaimedAddress>| claimed.unwrap().address.addr().to_string();
    assert_eq!(address(claim("test", "a", &["172.16.3.70"]).await), "172.16.3.70");
    assert_eq!(address(claim("test", "b", &["172.16.3.70", "172.16.3.71"]).await), "172.16.3.71");
    let taken = claim("test", "c", &["172.16.3.70", "172.16.3.71"]).await.unwrap_err();
    assert!(matches!(taken.refusal(), Some(Refusal::CandidatesTaken { .. })), "{taken:?}");
    let foreign = claim("test", "d", &["172.16.3.5"]).await.unwrap_err();
    assert!(matches!(foreign.refusal(), Some(Refusal::CandidatesForeign { .. })), "{foreign:?}");
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
    assert_eq!(address(claim("other", "e", &["172.16.4.9"]).await), "172.16.4.9");
    // It is waited for while somebody has it.
    let late = claim("test", "f", &["172.16.3.70"]);
    tokio::pin!(late);
    assert!(futures::poll!(&mut late).is_pending());
    let (late, ()) = tokio::join!(late, release(&node, "a"));
    assert_eq!(address(late), "172.16.3.70");
    // One that the node has in stock is had at once, and of another node's stock as soon as that hears of it.
    claim("test", "g", &[]).await.unwrap();
    let stock = stage.holders(OWN).await["hostnic-stock-uid-of-node1"].clone();
    let [own, others] = [stock[1], stock[2]].map(|number| format!("172.16.3.{}", 64 + number));
    assert_eq!(address(claim("test", "h", &[&own]).await), own);
    let second = self::node(world, "node2").await;
    let candidates = vec![others.parse().unwrap()];
    let asked = second.claim(&AddressRequest { candidates, ..request("test", "i") }).await;
    assert_eq!(address(asked), others);
    for name in ["b", "e", "f", "g", "h"] {
        release(&node, name).await;
    }
    release(&second, "i").await;
    eventually("nobody has any", || async { stage.holders(OWN).await.is_empty().then_some(()) }).await;
}

async fn lacking(world: &World) {
    let missing = json!({ "test": ["4100-172-16-3-0-27", "4100-172-16-3-128-27"] });
    let stage = stage(world, 26, &missing).await;
    let node = node(world, "node1").await;
    let refused = |namespace: &'static str, name: &'static str| {
        let request = AddressRequest { patience: Duration::from_secs(2), ..request(namespace, name) };
        let node = &node;
        async move { node.claim(&request).await.unwrap_err() }
    };
    let error = refused("test", "a").await;
    assert_eq!(error.refusal().map(Refusal::word), Some("AddressBlockMissing"));
    assert!(error.to_string().contains("4100-172-16-3-0-27, 4100-172-16-3-128-27"), "{error}");
    let error = refused("other", "b").await;
    assert_eq!(error.refusal().map(Refusal::word), Some("NoAddressBlock"));
    // Somebody corrects it while a pod waits.
    let waits = request("test", "c");
    let (claimed, ()) = tokio::join!(node.claim(&waits), async {
        stage.map("off", &json!({ "test": ["4100-172-16-4-0-26"] }).to_string()).await;
    });
    assert_eq!(claimed.unwrap().subnet.as_str(), VXNETS[1]);
    release(&node, "c").await;

    // A block that is full is told, and a second one helps at once.
    let small = "4100-172-16-4-0-26";
    let free = stage.objects("IPAMBlock").get(small).await.unwrap().data["spec"]["unallocated"].clone();
    stage.take(small, free.as_array().unwrap().len()).await;
    let error = refused("test", "d").await;
    assert_eq!(error.refusal().map(Refusal::word), Some("NoAddressLeft"));
    let waits = request("test", "e");
    let (claimed, ()) = tokio::join!(node.claim(&waits), async {
        stage.map("off", &json!({ "test": [small, OWN] }).to_string()).await;
    });
    assert_eq!(claimed.unwrap().subnet.as_str(), VXNETS[0]);
    release(&node, "e").await;
}

async fn many(world: &World) {
    let small = "4100-172-16-3-32-27";
    let stage = stage(world, 27, &json!({ "test": [small] })).await;
    let mut nodes = Vec::new();
    for number in 0..50 {
        nodes.push(node(world, &format!("node{number}")).await);
    }
    let mut addresses = BTreeSet::new();
    for (number, node) in nodes.iter().enumerate().take(30) {
        // Some nodes get a second pod early on, so that they would keep a stock.
        let node = if number % 3 == 0 { node } else { &nodes[number % 3] };
        let claimed = claim(node, "test", &format!("pod{number}")).await;
        assert!(addresses.insert(claimed.address), "{claimed:?} twice");
    }
    assert_eq!(addresses.len(), 30);
    println!("30 pods on nodes of 50 have an address each of a block of 32");
    // All the rest, at once, by nodes that have none yet: what others have in stock comes back.
    let used: usize =
        stage.holders(small).await.iter().filter(|(h, _)| !h.starts_with("hostnic-stock-")).count();
    let rest = [claim(&nodes[40], "test", "last1"), claim(&nodes[41], "test", "last2")];
    let rest = futures::future::join_all(rest).await;
    assert_eq!((used, rest.len()), (30, 2));
    drop(nodes);
}

async fn moved(world: &World) {
    let block = "4100-172-16-3-32-27";
    let (mine, yours) = ("4100-172-16-3-64-27", "4100-172-16-3-96-27");
    let stage = stage(world, 27, &json!({ "a": [block], "b": [yours] })).await;
    let nodes = [node(world, "node1").await, node(world, "node2").await];
    let stop = Arc::new(tokio::sync::Notify::new());
    let mut churns = JoinSet::new();
    let nodes = Arc::new(nodes);
    for (number, namespace) in [(0, "a"), (1, "a"), (0, "b"), (1, "b")] {
        let (nodes, stop) = (nodes.clone(), stop.clone());
        churns.spawn(async move {
            let stopped = stop.notified();
            tokio::pin!(stopped);
            let mut count = 0_usize;
            // The oldest of three goes when the next one comes.
            while futures::poll!(&mut stopped).is_pending() {
                let name = |count: usize| format!("{namespace}-{number}-{count}");
                claim(&nodes[number], namespace, &name(count)).await;
                if count >= 3 {
                    release(&nodes[number], &name(count - 3)).await;
                }
                count += 1;
            }
            count
        });
    }
    let namespaces_in = |holders: &BTreeMap<String, Vec<usize>>| -> BTreeSet<String> {
        let pods = holders.keys().filter(|handle| !handle.starts_with("hostnic-stock-"));
        pods.map(|handle| handle[..1].to_owned()).collect()
    };
    // Each move rests as long as it does in a cluster: once in a hurry.
    let whole =
        std::env::var("HOSTNIC_SCALE").ok().and_then(|scale| scale.parse::<f64>().ok()).unwrap_or(0.1);
    let moves = [("a", "b"), ("b", "a"), ("a", "b")];
    for (from, to) in moves.into_iter().take(if whole < 1.0 { 1 } else { moves.len() }) {
        let of = |namespace: &str, also: bool| {
            let own = if namespace == "a" { mine } else { yours };
            if also { json!([block]) } else { json!([own]) }
        };
        // As the controller does it: nobody has it, it rests, and the next one has it.
        stage.map("off", &json!({ (from): of(from, false), (to): of(to, false) }).to_string()).await;
        let taken_away = Instant::now();
        eventually("nobody has any of it", || async { stage.holders(block).await.is_empty().then_some(()) })
            .await;
        tokio::time::sleep_until(taken_away + Duration::from_secs(15)).await;
        assert_eq!(stage.holders(block).await, BTreeMap::new());
        stage.map("off", &json!({ (from): of(from, false), (to): of(to, true) }).to_string()).await;
        eventually("the next one uses it", || async {
            let namespaces = namespaces_in(&stage.holders(block).await);
            assert!(
                namespaces.iter().all(|namespace| namespace == to),
                "{namespaces:?} in the block of {to}"
            );
            (!namespaces.is_empty()).then_some(())
        })
        .await;
    }
    stop.notify_waiters();
    let mut pods = 0;
    while let Some(count) = churns.join_next().await {
        pods += count.unwrap();
    }
    println!("{pods} pods came and went while a block moved");
    assert!(pods > 40);
}
