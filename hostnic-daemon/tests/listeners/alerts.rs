//! The alert rules of hostnic-cni 1.x, held against what a node exposes: each fires when it should, and not before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hostnic_cni::contract::{Client, Del};
use hostnic_core::ErrorKind;
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_daemon::AddressBook;
use hostnic_kube::ipam::{AddressFailures, AddressUsage, Usage};

use crate::http::get;
use crate::world::{PATIENCE, World, call, key, until};

/// `max(allocator) by (label) / max(total) by (label) > 0.8`
const NEARLY_FULL: [(&str, &str); 3] = [
    ("hostnic_ipam_vxnet", "vxnet_name"),
    ("hostnic_ipam_subnet", "subnet_name"),
    ("hostnic_ipam_namespace", "ns_name"),
];
/// `min(irate(metric[5m])) by (node_name) > 0`
const FAILS: [&str; 6] = [
    "hostnic_ipam_alloc_from_block_failed",
    "hostnic_ipam_alloc_from_pool_failed",
    "hostnic_ipam_alloc_resource_notfound",
    "hostnic_ipam_alloc_from_host_failed",
    "hostnic_ipam_free_from_pool_failed",
    "hostnic_ipam_free_from_host_failed",
];

/// A sample: its metric, its labels, its value.
struct Sample {
    metric: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// One scrape.
struct Scrape {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    async fn of(node: &hostnic_daemon::Node) -> Self {
        let text = get(node.manage_address().unwrap(), "/metrics").await.body;
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let types = types.map(|(metric, of)| (metric.to_owned(), of.to_owned())).collect();
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(sample).collect();
        Self { samples, types }
    }

    fn of_metric(&self, metric: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.metric == metric)
    }

    /// By the value of a label, the largest of the samples. All of them are gauges, with `labels` and none besides.
    fn max_by(&self, metric: &str, label: &str, labels: &[&str]) -> BTreeMap<String, f64> {
        assert_eq!(self.types.get(metric).map(String::as_str), Some("gauge"), "{metric}");
        let mut largest: BTreeMap<String, f64> = BTreeMap::new();
        for sample in self.of_metric(metric) {
            let names: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
            assert_eq!(names, labels.iter().copied().collect(), "{metric}");
            let value = largest.entry(sample.labels[label].clone()).or_insert(sample.value);
            *value = value.max(sample.value);
        }
        largest
    }

    /// Whose addresses are nearly used up, by each of the three rules.
    fn nearly_full(&self) -> Vec<String> {
        let mut firing = Vec::new();
        for (metric, label) in NEARLY_FULL {
            let of = |what: &str| self.max_by(&format!("{metric}_{what}"), label, &[label, "node_name"]);
            let (allocated, total, free) = (of("allocator"), of("total"), of("unallocator"));
            assert_eq!(free.keys().collect::<Vec<_>>(), total.keys().collect::<Vec<_>>());
            let full = allocated.iter().filter(|(whose, count)| *count / total[*whose] > 0.8);
            firing.extend(full.map(|(whose, _)| format!("{label}={whose}")));
        }
        firing
    }

    /// Which failures have become more since.
    fn failing_since(&self, before: &Self) -> Vec<&'static str> {
        let grown = |metric: &&&'static str| {
            let of = |scrape: &Self| scrape.max_by(metric, "node_name", &["node_name"])["node-1"];
            of(self) > of(before)
        };
        FAILS.iter().filter(grown).copied().collect()
    }

    /// `sum(hostnic_vxnet_count{phase!="Succeeded"}) by (vxnet_name) > 0`
    fn attach_failed(&self) -> Vec<(&str, &str)> {
        let nics = self.of_metric("hostnic_vxnet_count");
        let mut late: Vec<_> = nics
            .filter(|nic| nic.labels["phase"] != "Succeeded" && nic.value > 0.0)
            .map(|nic| (nic.labels["vxnet_name"].as_str(), nic.labels["phase"].as_str()))
            .collect();
        late.dedup();
        late
    }
}

fn sample(line: &str) -> Sample {
    let (name, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap();
    let Some((metric, labels)) = name.split_once('{') else {
        return Sample { metric: name.to_owned(), labels: BTreeMap::new(), value };
    };
    let labels = labels.strip_suffix('}').unwrap().split("\",").map(|label| {
        let (label, text) = label.split_once("=\"").unwrap();
        (label.to_owned(), text.trim_end_matches('"').to_owned())
    });
    Sample { metric: metric.to_owned(), labels: labels.collect(), value }
}

/// What a cluster would say.
#[derive(Debug, Default)]
struct Book {
    usage: Mutex<Option<AddressUsage>>,
    failed: AtomicU64,
}

impl AddressBook for Book {
    fn usage(&self) -> Option<AddressUsage> {
        self.usage.lock().unwrap().clone()
    }

    fn failures(&self) -> AddressFailures {
        let failed = self.failed.load(Ordering::Relaxed);
        AddressFailures { from_blocks: failed, from_pools: failed, from_nowhere: failed }
    }
}

fn used(allocated: u32, free: u32, reserved: u32) -> Usage {
    Usage { capacity: allocated + free + reserved, reserved, allocated, free }
}

#[tokio::test]
async fn the_alert_rules_of_the_go_version_work_unchanged() {
    let mut world = World::sharing();
    let book = Arc::new(Book::default());
    world.book = Some(book.clone());
    let node = world.cold(world.listeners()).await.unwrap();
    let mut client = Client::connect(&world.socket()).await.unwrap();

    // Nobody knows the blocks yet: that is no cluster without addresses.
    let first = Scrape::of(&node).await;
    assert_eq!(first.of_metric("hostnic_ipam_vxnet_total").count(), 0);
    *book.usage.lock().unwrap() = Some(AddressUsage {
        vxnets: [("vxnet-a".to_owned(), used(26, 70, 32)), ("vxnet-b".to_owned(), used(9, 1, 6))].into(),
        blocks: [
            ("4100-192-168-1-0-27".to_owned(), used(26, 4, 2)),
            ("4100-192-168-1-32-27".to_owned(), used(0, 32, 0)),
        ]
        .into(),
        // Most of its addresses are no pod's ever: what is used counts of the rest.
        namespaces: [(Some("test".to_owned()), used(9, 1, 90)), (None, used(0, 32, 0))].into(),
    });
    let calm = Scrape::of(&node).await;
    assert_eq!(calm.nearly_full(), ["vxnet_name=vxnet-b", "subnet_name=4100-192-168-1-0-27", "ns_name=test"]);
    let unmapped = calm.max_by("hostnic_ipam_namespace_total", "ns_name", &["ns_name", "node_name"]);
    assert_eq!(unmapped["Dummy-ns-for-unmapped-subnets"], 32.0);

    // A NIC that the kernel does not take: its pod fails on the node.
    world.kernel.inject(
        KernelOperation::SetupSharedNic,
        When::Always,
        KernelFault::Before(ErrorKind::Transient),
    );
    client.add(&world.pod("web-0")).await.unwrap_err();
    let stuck = Scrape::of(&node).await;
    assert_eq!(stuck.attach_failed(), [("vxnet-a", "SetRouteTable")]);
    assert_eq!(stuck.failing_since(&calm), ["hostnic_ipam_alloc_from_host_failed"]);
    book.failed.fetch_add(1, Ordering::Relaxed);
    assert_eq!(Scrape::of(&node).await.failing_since(&stuck), FAILS[..3]);

    // It recovers, and nothing fires any more.
    world.kernel.clear_faults();
    client.add(&world.pod("web-1")).await.unwrap();
    let served = Scrape::of(&node).await;
    assert_eq!(served.attach_failed(), []);
    let vxnets = get(node.manage_address().unwrap(), "/v1/vxnets").await.json();
    let [told] = &*client.status().await.unwrap().state.shared_nics else { panic!("{vxnets:#}") };
    assert_eq!((&vxnets[0]["vxnet"], &vxnets[0]["state"]), (&"vxnet-a".into(), &"ready".into()));
    assert_eq!((&vxnets[0]["pods"], &vxnets[0]["free_s"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!((vxnets[0]["nic"].as_str(), vxnets[0]["table"].as_u64()), (Some(&*told.nic), Some(260)));
    let pods: Vec<_> = served.of_metric("hostnic_vxnet_pod_count").collect();
    let names: Vec<&str> = pods[0].labels.keys().map(String::as_str).collect();
    let expected = ["ip", "node_name", "pod_containerid", "pod_name", "pod_namespace", "vxnet_name"];
    assert_eq!((pods.len(), &names[..]), (1, &expected[..]));

    // A DEL that the node cannot carry out.
    world.kernel.inject(KernelOperation::SilencePod, When::Always, KernelFault::Before(ErrorKind::Transient));
    world.kernel.inject(
        KernelOperation::TeardownPod,
        When::Always,
        KernelFault::Before(ErrorKind::Transient),
    );
    let del = Del { key: key("web-1"), netns: None, call: call() };
    client.del(&del).await.unwrap_err();
    assert!(Scrape::of(&node).await.failing_since(&served).contains(&"hostnic_ipam_free_from_host_failed"));
    world.kernel.clear_faults();
    client.del(&Del { call: call(), ..del }).await.unwrap();

    // What is gone is exposed no more.
    node.agent().addresses_released().await;
    until(node.agent(), |agent| agent.leases().is_empty()).await;
    let left = Scrape::of(&node).await;
    assert_eq!(left.of_metric("hostnic_vxnet_pod_count").count(), 0);
    assert_eq!(left.of_metric("hostnic_vxnet_count").count(), 1, "its NIC waits for the next pod");
    let vxnets = get(node.manage_address().unwrap(), "/v1/vxnets").await.json();
    assert!(vxnets[0]["free_s"].is_u64(), "{vxnets:#}");
    let cleaned = client.clean(PATIENCE).await.unwrap();
    assert_eq!((cleaned.given_back, cleaned.left), (1, 0));
    assert_eq!(Scrape::of(&node).await.of_metric("hostnic_vxnet_count").count(), 0);
    drop(client);
    node.stop(PATIENCE).await;
}
