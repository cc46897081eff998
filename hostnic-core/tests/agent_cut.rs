//! The agent is killed between any two steps, while cloud, kernel and store live on: nothing that was promised is lost,
//! and nothing that was begun is left.
//!
//! Each seed cuts at another moment; `HOSTNIC_CUT=<seed>` runs just one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]
#![allow(clippy::print_stdout, reason = "a failed test tells its seed")]

mod support;

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hostnic_core::agent::{AddAnswer, Agent};
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;
use hostnic_core::store::MemoryStore;
use hostnic_core::{Result, RouteProgrammer};
use tokio::time::sleep;

use support::fuse::Fuse;
use support::{POLICIES, Pod, World, millis, scaled, secs, usual_pool};

/// What the runtime knew when the agent died.
#[derive(Debug, Default)]
struct Known {
    /// Every pod, and what its ADD was answered, if it was.
    adds: BTreeMap<Pod, Option<AddAnswer>>,
    /// Pods whose DEL was sent, and whether it was answered.
    dels: BTreeMap<Pod, bool>,
}

enum Event {
    Added(Pod, AddAnswer),
    Deleted(Pod),
}

/// A number that depends on the seed, below `limit`.
fn draw(seed: u64, salt: u64, limit: u64) -> u64 {
    let mut z =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % limit
}

/// Five pods run; then 20 ADDs come, the DELs of three of the five, and those of three of the 20, all within two
/// seconds. Ends when all is answered.
async fn burst(world: &World, agent: &Agent, seed: u64, known: &mut Known) {
    let old = world.pods("old", 5);
    let mut events = FuturesUnordered::new();
    known.adds.extend(old.iter().map(|pod| (pod.clone(), None)));
    events.extend(old.iter().map(|pod| add(world, agent, pod.clone(), millis(0))));
    note(&mut events, known).await;
    let new = world.pods("new", 20);
    known.adds.extend(new.iter().map(|pod| (pod.clone(), None)));
    let gone: Vec<Pod> = old[..3].iter().chain(&new[..3]).cloned().collect();
    known.dels.extend(gone.iter().map(|pod| (pod.clone(), false)));
    for (number, pod) in new.into_iter().enumerate() {
        events.push(add(world, agent, pod, millis(draw(seed, number as u64, 1000))));
    }
    let mut dels = FuturesUnordered::new();
    for (number, pod) in gone.into_iter().enumerate() {
        dels.push(del(world, agent, pod, millis(1000 + draw(seed, 100 + number as u64, 1000))));
    }
    tokio::join!(
        async {
            while let Some(event) = events.next().await {
                if let Some(Event::Added(pod, answer)) = event {
                    known.adds.insert(pod, Some(answer));
                }
            }
        },
        async {
            while let Some(event) = dels.next().await {
                if let Some(Event::Deleted(pod)) = event {
                    known.dels.insert(pod, true);
                }
            }
        }
    );
}

async fn note(events: &mut FuturesUnordered<impl Future<Output = Option<Event>>>, known: &mut Known) {
    while let Some(event) = events.next().await {
        if let Some(Event::Added(pod, answer)) = event {
            known.adds.insert(pod, Some(answer));
        }
    }
}

async fn add(world: &World, agent: &Agent, pod: Pod, after: std::time::Duration) -> Option<Event> {
    sleep(after).await;
    // An error is fine: its DEL may have overtaken it.
    world.add(agent, &pod).await.ok().map(|answer| Event::Added(pod, answer))
}

async fn del(world: &World, agent: &Agent, pod: Pod, after: std::time::Duration) -> Option<Event> {
    sleep(after).await;
    world.del_answered(agent, &pod).await.ok().map(|()| Event::Deleted(pod))
}

fn world_of(seed: u64, datapath: Datapath) -> World {
    let policy = POLICIES[draw(seed, 1, 3) as usize];
    // Warm for a part of the burst only, so that cuts meet all of it: leasing, creating, attaching and giving back.
    World::of(datapath, PoolConfig { policy, low: 6, high: 8, ..usual_pool() })
}

/// How many polls of calls to the world an uncut run of this seed takes.
async fn polls(seed: u64, datapath: Datapath) -> i64 {
    let world = world_of(seed, datapath);
    let fuse = Fuse::whole();
    let agent = world.agent_behind(&fuse).await.unwrap();
    burst(&world, &agent, seed, &mut Known::default()).await;
    agent.dels_ended().await;
    fuse.polls()
}

/// A world in which the agent was killed, and what the runtime knew then.
async fn cut(seed: u64, datapath: Datapath) -> (World, Known) {
    let most = polls(seed, datapath).await;
    let world = world_of(seed, datapath);
    let at = 1 + draw(seed, 2, most.unsigned_abs()) as i64;
    let fuse = Fuse::after(at);
    let mut known = Known::default();
    {
        let life = async {
            let agent: Result<Agent> = world.agent_behind(&fuse).await;
            let agent = agent.unwrap();
            burst(&world, &agent, seed, &mut known).await;
            agent.dels_ended().await;
        };
        tokio::select! {
            () = fuse.blown() => {}
            () = life => {}
        }
    }
    println!(
        "seed {seed}, {datapath:?}: cut at poll {at} of {most}, {:.3} s",
        world.cloud.now().as_secs_f64()
    );
    // Long enough for what the cloud had begun to go on, or not.
    sleep(millis(draw(seed, 3, 8000))).await;
    (world, known)
}

/// Every pod whose ADD was answered, and for which no DEL was sent, has what it was told, though nobody asks again.
async fn promises_are_kept(world: &World, agent: &Agent, known: &Known) {
    for (pod, answer) in &known.adds {
        let Some(answer) = answer.as_ref().filter(|_| !known.dels.contains_key(pod)) else { continue };
        world.check_kernel(pod, answer).await;
        let leases = agent.leases();
        let lease = leases.iter().find(|l| l.mark == pod.key.mark()).expect("the lease is remembered");
        assert_eq!(lease.lease, answer.lease);
        world.check(agent, pod).await.unwrap();
        assert_eq!(world.add(agent, pod).await.unwrap(), *answer, "the same answer again");
    }
}

/// What was not answered is sent again: some ADDs, the DELs of the other ADDs, and every DEL.
async fn the_runtime_goes_on(world: &World, agent: &Agent, seed: u64, known: &Known) {
    for (number, (pod, answer)) in known.adds.iter().enumerate() {
        let deleted = known.dels.get(pod);
        if deleted == Some(&true) {
            nothing_is_left(world, agent, pod).await;
        } else if deleted == Some(&false) || (answer.is_none() && draw(seed, 200 + number as u64, 2) == 0) {
            world.del(agent, pod).await.unwrap();
            nothing_is_left(world, agent, pod).await;
        } else if answer.is_none() {
            world.add(agent, pod).await.unwrap();
            world.check(agent, pod).await.unwrap();
        }
    }
}

async fn nothing_is_left(world: &World, agent: &Agent, pod: &Pod) {
    assert!(agent.leases().iter().all(|lease| lease.mark != pod.key.mark()), "{} has no lease", pod.key);
    let kernel = world.kernel.observe().await.unwrap();
    assert!(kernel.pods.iter().all(|link| link.mark != pod.key.mark()), "{} has no link", pod.key);
    assert!(kernel.veths.iter().all(|veth| veth.mark != pod.key.mark()), "{} has no veth", pod.key);
}

/// Everything goes, and only what the pool wants is left.
async fn all_is_given_back(world: &World, agent: &Agent, known: &Known) {
    for pod in known.adds.keys() {
        world.del(agent, pod).await.unwrap();
    }
    sleep(secs(400)).await;
    world.quiet(agent).await;
    world.agree().await;
    let left = world.nics().len();
    assert!((6..=8).contains(&left), "{left} NICs are left of a pool of 6 to 8");
}

fn seeds() -> Vec<u64> {
    match std::env::var("HOSTNIC_CUT") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..u64::from(scaled(200))).collect(),
    }
}

async fn over_the_same_store(datapath: Datapath) {
    for seed in seeds() {
        let (world, known) = cut(seed, datapath).await;
        let agent = world.agent().await;
        agent.ready().await;
        promises_are_kept(&world, &agent, &known).await;
        the_runtime_goes_on(&world, &agent, seed, &known).await;
        sleep(secs(30)).await;
        world.quiet(&agent).await;
        world.agree().await;
        all_is_given_back(&world, &agent, &known).await;
    }
}

async fn without_the_store(datapath: Datapath) {
    for seed in seeds() {
        let (mut world, known) = cut(seed, datapath).await;
        world.store = MemoryStore::default();
        // Where the NIC of a pod that ended is back already, nothing tells any more whose flows they were.
        world.kernel.time_out_flows();
        let agent = world.agent().await;
        agent.ready().await;
        promises_are_kept(&world, &agent, &known).await;
        the_runtime_goes_on(&world, &agent, seed, &known).await;
        // Strays are deleted once they have been seen for a while.
        sleep(secs(600)).await;
        world.quiet(&agent).await;
        world.agree().await;
        all_is_given_back(&world, &agent, &known).await;
    }
}

async fn killed_again_and_again(datapath: Datapath) {
    for seed in seeds() {
        let (world, known) = cut(seed, datapath).await;
        for again in 0..5 {
            let fuse = Fuse::after(1 + draw(seed, 300 + again, 60) as i64);
            let life = async {
                let _agent = world.agent_behind(&fuse).await;
                sleep(secs(60)).await;
            };
            tokio::select! {
                () = fuse.blown() => {}
                () = life => {}
            }
            sleep(millis(1)).await;
        }
        let agent = world.agent().await;
        agent.ready().await;
        promises_are_kept(&world, &agent, &known).await;
        the_runtime_goes_on(&world, &agent, seed, &known).await;
        sleep(secs(30)).await;
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_over_the_same_store_keeps_every_promise_and_leaves_nothing() {
    over_the_same_store(Datapath::Passthrough).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_over_the_same_store_keeps_every_promise_to_pods_behind_veths() {
    over_the_same_store(Datapath::Veth).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_without_the_store_finds_running_pods_and_strands_no_nic() {
    without_the_store(Datapath::Passthrough).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_without_the_store_finds_running_pods_behind_veths_and_strands_no_nic() {
    without_the_store(Datapath::Veth).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_killed_again_and_again_while_it_recovers_comes_right() {
    killed_again_and_again(Datapath::Passthrough).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_pods_behind_veths_that_is_killed_again_and_again_comes_right() {
    killed_again_and_again(Datapath::Veth).await;
}
