//! How long the kernel's part of ADD and DEL takes. Run it alone for numbers that mean something:
//! `cargo test --release -p hostnic-netlink --test programmer -- --ignored --nocapture time_of`.

use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use hostnic_core::RouteProgrammer;
use hostnic_core::route::{Hairpin, PodPlan, SilencedPod};
use hostnic_netlink::NetlinkProgrammer;
use libtest_mimic::Trial;
use tokio::time::Instant;

use crate::trial;
use crate::veth::world::Vpc;
use crate::world::World;

const ROUNDS: usize = 30;
/// How many other pods a node has.
const OTHERS: u8 = 50;

pub(crate) fn trials() -> Vec<Trial> {
    [
        trial("time_of_setup_and_teardown", moved),
        trial("time_of_veth_pods", veths),
        trial("time_of_pods_that_share_a_nic", sharing),
    ]
    .map(|trial| trial.with_ignored_flag(true))
    .into()
}

async fn moved() {
    let (_world, _pod, plan, programmer) = World::with_a_pod().await;
    measure(&programmer, &plan).await;
}

/// On a node that is full of pods, and then all of those at once.
async fn veths() {
    let vpc = Vpc::new("b").await;
    vpc.programmer.setup_node(&vpc.node_plan(Hairpin::Off)).await.unwrap();
    let pod = vpc.pod("a", 11, Hairpin::Off).await;
    let mut others = Vec::new();
    for number in 12..12 + OTHERS {
        others.push(vpc.pod("a", number, Hairpin::Off).await);
    }
    let others: Vec<_> = others.iter().map(|pod| &pod.plan).collect();
    full(&vpc.programmer, &pod.plan, &others).await;
}

/// The same where they share a NIC.
async fn sharing() {
    let (_vpc, node) = crate::shared::world::Vpc::with_a_node().await;
    let pod = node.pod("a", 101).await;
    let mut others = Vec::new();
    for number in 102..102 + OTHERS {
        others.push(node.pod("a", number).await);
    }
    let others: Vec<_> = others.iter().map(|pod| &pod.plan).collect();
    full(&node.programmer, &pod.plan, &others).await;
}

async fn full(programmer: &NetlinkProgrammer, pod: &PodPlan, others: &[&PodPlan]) {
    let all = async |what: &str, each: &mut (dyn Iterator<Item = BoxFuture<'_, ()>> + Send)| {
        let start = Instant::now();
        join_all(each).await;
        eprintln!("{OTHERS} {what}: {:?}", start.elapsed());
    };
    let set_up = |pod| -> BoxFuture<'_, ()> {
        Box::pin(async move { programmer.setup_pod(pod).await.map(drop).unwrap() })
    };
    all("set up at once", &mut others.iter().map(|pod| set_up(pod))).await;
    measure(programmer, pod).await;
    let silence = others.iter().map(|pod| programmer.silence_pod(pod));
    let start = Instant::now();
    let silenced = join_all(silence).await;
    eprintln!("{OTHERS} silenced at once: {:?}", start.elapsed());
    let mut silenced: Vec<_> = silenced.into_iter().map(|silenced| silenced.unwrap().unwrap()).collect();
    let give_back = |silenced| -> BoxFuture<'_, ()> {
        let silenced: &mut Box<dyn SilencedPod> = silenced;
        Box::pin(async move {
            silenced.give_back().await.unwrap();
            silenced.forget().await.unwrap();
        })
    };
    all("given back at once", &mut silenced.iter_mut().map(give_back)).await;
}

async fn measure(programmer: &NetlinkProgrammer, plan: &PodPlan) {
    let (mut setups, mut teardowns) = (Vec::new(), Vec::new());
    let (mut silences, mut ways_back) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        programmer.setup_pod(plan).await.unwrap();
        setups.push(start.elapsed());
        let start = Instant::now();
        programmer.teardown_pod(plan).await.unwrap();
        teardowns.push(start.elapsed());
        programmer.setup_pod(plan).await.unwrap();
        let start = Instant::now();
        let mut silenced = programmer.silence_pod(plan).await.unwrap().unwrap();
        silences.push(start.elapsed());
        let start = Instant::now();
        silenced.give_back().await.unwrap();
        silenced.forget().await.unwrap();
        ways_back.push(start.elapsed());
    }
    eprintln!("set up:    {}", spread(setups));
    eprintln!("take down: {}", spread(teardowns));
    eprintln!("silence:   {}", spread(silences));
    eprintln!("way back:  {}", spread(ways_back));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("median {:?}, fastest {:?}, slowest {:?}", times[ROUNDS / 2], times[0], times[ROUNDS - 1])
}
