//! The pool of a real daemon by the cloud's list, the machine's links and the metrics: its size, what rests, what is used
//! again, and what is given back when nobody needs it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use futures::future::join_all;
use libtest_mimic::Trial;

use crate::machine::Running;
use crate::pod::Pod;
use crate::site::Site;
use crate::trial;
use crate::witness;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_pool_of_a_size_rests_and_reuses_addresses_and_gives_back_what_is_unused", || {
            sized(&["--PoolSize", "3"], 3, 5)
        }),
        trial("a_pool_between_two_marks_rests_and_reuses_addresses_and_gives_back_what_is_unused", || {
            sized(&["--pool-low", "1", "--pool-high", "2"], 1, 2)
        }),
    ]
}

/// Pods of the trial.
const PODS: usize = 6;

/// Long enough for all that is to happen while addresses rest, also on a busy machine.
const COOLING: &str = "15";

struct Trialled {
    site: Site,
    daemon: Running,
}

impl Trialled {
    /// How many addresses of the daemon's are in this state, by its metrics.
    async fn addresses(&self, state: &str) -> u64 {
        let name = format!(r#"hostnic_pool_addresses{{subnet="vxnet-a",state="{state}"}}"#);
        self.site.machines[0].metric(&name).await
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        self.site.machines[0].until(&self.daemon, what, holds).await;
    }

    async fn add(&self, pod: &Pod) -> Ipv4Addr {
        pod.agrees_with(&self.site.machines[0].call("ADD", pod).succeeds().await).address
    }

    async fn pods(&self, name: &str, count: usize) -> Vec<Pod> {
        let machine = &self.site.machines[0];
        join_all((0..count).map(|n| async move { machine.pod(&format!("{name}{n}")).await })).await
    }

    async fn del(&self, pods: &[Pod]) {
        let machine = &self.site.machines[0];
        join_all(pods.iter().map(|pod| async move { machine.call("DEL", pod).succeeds().await })).await;
        machine.until_released().await;
    }
}

/// A pool that is told `marks` keeps at least `low` free NICs, and at most `high` when all is quiet.
async fn sized(marks: &[&str], low: usize, high: usize) {
    let site = Site::new(&["vxnet-a=192.168.50.0/24"]).await;
    let flags =
        [&["--vxnet", "vxnet-a", "--cooling", COOLING, "--cleanup-cache-on-exit"][..], marks].concat();
    let daemon = site.start(0, "log", &flags).await;
    let trialled = Trialled { site, daemon };
    let (free, cooling) =
        (async || trialled.addresses("free").await, async || trialled.addresses("cooling").await);
    trialled.until("the pool is filled", async || free().await == low as u64).await;
    assert_eq!(trialled.site.nics(0).await.len(), low);

    let first = trialled.pods("first", PODS).await;
    let held: BTreeSet<Ipv4Addr> =
        join_all(first.iter().map(|pod| trialled.add(pod))).await.into_iter().collect();
    assert_eq!(held.len(), PODS);
    trialled.until("the pool is filled again", async || free().await >= low as u64).await;
    trialled.del(&first).await;
    assert_eq!(cooling().await, PODS as u64);

    // While they rest nobody gets them, and none is given back.
    let second = trialled.pods("second", PODS).await;
    for pod in &second {
        let address = trialled.add(pod).await;
        assert!(!held.contains(&address), "{address} had another pod a moment ago");
    }
    assert_eq!(cooling().await, PODS as u64, "it took longer than addresses rest: the machine is too busy");
    let most = trialled.site.nics(0).await.len();
    assert!(most >= 2 * PODS, "{most} NICs");

    // Afterwards as many are kept as are to be free, and the others are given back by and by.
    let rested = async || free().await == high as u64 && cooling().await == 0;
    trialled
        .until("what is unused is given back", async || {
            rested().await && trialled.site.nics(0).await.len() == PODS + high
        })
        .await;
    let machine = &trialled.site.machines[0];
    let listed: BTreeSet<String> =
        trialled.site.nics(0).await.iter().map(|nic| nic["mac"].as_str().unwrap().to_owned()).collect();
    let in_pods: Vec<String> =
        second.iter().map(|pod| pod.link("eth0").unwrap()["address"].as_str().unwrap().to_owned()).collect();
    let links = witness::macs(machine.netns());
    let in_node = listed.iter().filter(|mac| links.contains(*mac)).count();
    assert_eq!((in_node, in_pods.iter().filter(|mac| listed.contains(*mac)).count()), (high, PODS));

    // The next pods get what is there, without a call to the cloud.
    let creates = trialled.site.api.calls_of("CreateNics").await;
    let third = trialled.pods("third", high - low).await;
    for pod in &third {
        let address = trialled.add(pod).await;
        let mac = pod.link("eth0").unwrap()["address"].as_str().unwrap().to_owned();
        assert!(listed.contains(&mac), "{address} is on a new NIC");
    }
    assert_eq!(trialled.site.api.calls_of("CreateNics").await, creates);
    println!(
        "    {marks:?}: {low} free at first, {most} NICs while {PODS} rested, {} afterwards, {} pods on NICs that had rested",
        PODS + high,
        third.len()
    );
    trialled.del(&[second, third].into_iter().flatten().collect::<Vec<_>>()).await;
    trialled.site.end([trialled.daemon]).await;
}
