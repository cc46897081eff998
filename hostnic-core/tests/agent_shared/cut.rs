//! The agent is killed between any two steps, while cloud, kernel, store and the cluster's addresses live on: no address is two
//! pods', none is lost, no NIC is left, and nothing that was promised is taken back.
//!
//! Each seed cuts at another moment; `HOSTNIC_CUT=<seed>` runs just one.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hostnic_core::agent::{AddAnswer, Agent};
use hostnic_core::sim::{KernelOperation, SimEnforcer};
use hostnic_core::store::MemoryStore;
use tokio::time::sleep;

use crate::support::fuse::Fuse;
use crate::support::{Pod, World, millis, scaled, secs};
use crate::{HOUR, add_in, address, cluster, view, world};

/// What the runtime knew when the agent died.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) adds: BTreeMap<Pod, Option<AddAnswer>>,
    /// Pods whose DEL was sent, and whether it was answered.
    pub(super) dels: BTreeMap<Pod, bool>,
}

/// A number that depends on the seed, below `limit`.
fn draw(seed: u64, salt: u64, limit: u64) -> u64 {
    let mut z =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % limit
}

pub(super) fn namespace(pod: &Pod) -> &'static str {
    // By its name, so that a repeated ADD asks for the same.
    ["default", "other", "third"][pod.key.container.as_str().bytes().map(usize::from).sum::<usize>() % 3]
}

enum Event {
    Added(Pod, AddAnswer),
    Deleted(Pod),
}

/// Pods come on a cold node; some go while others come, and what was the sender's goes, too.
async fn burst(world: &World, agent: &Agent, seed: u64, known: &mut Known) {
    let pods = world.pods("p", 15);
    known.adds.extend(pods.iter().map(|pod| (pod.clone(), None)));
    let gone: Vec<Pod> = pods.iter().step_by(2).cloned().collect();
    let events = FuturesUnordered::new();
    for (number, pod) in (0..).zip(pods) {
        events.push(life(world, agent, pod, seed, number, &gone));
    }
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let lives = async {
        let mut events = events;
        while let Some(events) = events.next().await {
            for event in events {
                drop(sender.send(event));
            }
        }
        drop(sender);
    };
    tokio::join!(lives, async {
        while let Some(event) = told.recv().await {
            match event {
                Event::Added(pod, answer) => drop(known.adds.insert(pod, Some(answer))),
                Event::Deleted(pod) => drop(known.dels.insert(pod, true)),
            }
        }
    });
}

async fn life(world: &World, agent: &Agent, pod: Pod, seed: u64, number: u64, gone: &[Pod]) -> Vec<Event> {
    let mut events = Vec::new();
    sleep(millis(draw(seed, number, 1500))).await;
    if let Ok(answer) = add_in(world, agent, namespace(&pod), &pod).await {
        events.push(Event::Added(pod.clone(), answer));
    }
    if gone.contains(&pod) {
        sleep(millis(draw(seed, 50 + number, 1500))).await;
        if world.del_answered(agent, &pod).await.is_ok() {
            events.push(Event::Deleted(pod));
        }
    }
    events
}

fn world_of(seed: u64) -> World {
    let mut world = world();
    let enforcer = SimEnforcer::new();
    enforcer.set_latency(millis(draw(seed, 11, 50)));
    world.enforcer = Some(enforcer);
    cluster(&world).set_latency(millis(draw(seed, 7, 40)));
    cluster(&world).set_answer_latency(millis(draw(seed, 10, 20)));
    world.kernel.set_latency(KernelOperation::SetupSharedNic, millis(draw(seed, 8, 30)));
    world.kernel.set_latency(KernelOperation::SetupPod, millis(draw(seed, 9, 30)));
    world
}

async fn live(world: &World, fuse: &Fuse, seed: u64, known: &mut Known) {
    let agent = world.agent_behind(fuse).await.unwrap();
    agent.ready().await;
    burst(world, &agent, seed, known).await;
    agent.dels_ended().await;
    agent.addresses_released().await;
}

/// A world in which the agent was killed, and what the runtime knew then.
async fn cut(seed: u64) -> (World, Known) {
    let most = {
        let (world, fuse) = (world_of(seed), Fuse::whole());
        live(&world, &fuse, seed, &mut Known::default()).await;
        fuse.polls()
    };
    let world = world_of(seed);
    let at = 1 + draw(seed, 2, most.unsigned_abs()) as i64;
    let fuse = Fuse::after(at);
    let mut known = Known::default();
    // What was answered is in `known` when the last of a pod's events is; a DEL that was sent is one that may have begun.
    tokio::select! {
        () = fuse.blown() => {}
        () = live(&world, &fuse, seed, &mut known) => {}
    }
    println!("seed {seed}: cut at poll {at} of {most}, {:.3} s", world.cloud.now().as_secs_f64());
    sleep(millis(draw(seed, 3, 8000))).await;
    (world, known)
}

/// Every pod whose ADD was answered, and for which no DEL was sent, has what it was told, though nobody asks again.
async fn promises_are_kept(world: &World, agent: &Agent, known: &Known) {
    for (number, (pod, answer)) in known.adds.iter().enumerate() {
        let Some(answer) = answer.as_ref().filter(|_| is_kept(known, pod)) else { continue };
        world.check_kernel(pod, answer).await;
        let leases = agent.leases();
        let lease = leases.iter().find(|l| l.mark == pod.key.mark()).expect("the lease is remembered");
        assert_eq!(lease.lease.address, answer.lease.address, "{number}");
        world.check(agent, pod).await.unwrap();
        let again = add_in(world, agent, namespace(pod), pod).await.unwrap();
        assert_eq!(again, *answer, "the same answer again");
        assert_eq!(cluster(world).held().get(&address(answer)), Some(&pod.key.mark()));
    }
}

/// Whether no DEL of the pod can have been begun. Its last event tells both, so that one which was told of its ADD alone has
/// none.
pub(super) fn is_kept(known: &Known, pod: &Pod) -> bool {
    !known.dels.contains_key(pod)
}

/// What was not answered is sent again: some ADDs, the DELs of the other ADDs, and every DEL.
pub(super) async fn the_runtime_goes_on(world: &World, agent: &Agent, seed: u64, known: &Known) {
    for (number, (pod, answer)) in known.adds.iter().enumerate() {
        if known.dels.contains_key(pod) {
            nothing_is_left(world, agent, pod).await;
        } else if answer.is_none() && draw(seed, 200 + number as u64, 2) == 0 {
            world.del(agent, pod).await.unwrap();
            agent.addresses_released().await;
            nothing_is_left(world, agent, pod).await;
        } else if answer.is_none() {
            add_in(world, agent, namespace(pod), pod).await.unwrap();
            world.check(agent, pod).await.unwrap();
        }
    }
}

async fn nothing_is_left(world: &World, agent: &Agent, pod: &Pod) {
    agent.addresses_released().await;
    let mark = pod.key.mark();
    assert!(agent.leases().iter().all(|lease| lease.mark != mark), "{} has no lease", pod.key);
    assert!(view(world).await.shared_pods.iter().all(|there| there.mark != mark), "{} has no veth", pod.key);
    assert!(cluster(world).held().values().all(|holder| *holder != mark), "{} has no address", pod.key);
}

pub(super) async fn all_is_given_back(world: &World, agent: &Agent, known: &Known, kept: Duration) {
    for pod in known.adds.keys() {
        world.del(agent, pod).await.unwrap();
    }
    agent.addresses_released().await;
    assert!(cluster(world).held().is_empty());
    sleep(kept).await;
    world.quiet(agent).await;
    world.agree().await;
    assert_eq!(world.nics().len(), 0, "no NIC is left");
}

fn seeds() -> Vec<u64> {
    match std::env::var("HOSTNIC_CUT") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..u64::from(scaled(400))).collect(),
    }
}

async fn comes_right(world: &World, seed: u64, known: &Known, strays: u64) {
    let agent = world.agent().await;
    agent.ready().await;
    promises_are_kept(world, &agent, known).await;
    // What nobody knows of any more is given back when all is known that is held.
    sleep(secs(10)).await;
    the_runtime_goes_on(world, &agent, seed, known).await;
    sleep(secs(strays)).await;
    world.quiet(&agent).await;
    world.agree().await;
    all_is_given_back(world, &agent, known, 13 * HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_over_the_same_store_keeps_every_promise_and_leaves_nothing() {
    for seed in seeds() {
        let (world, known) = cut(seed).await;
        comes_right(&world, seed, &known, 30).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_without_the_store_finds_running_pods_and_strands_no_nic() {
    for seed in seeds() {
        let (mut world, known) = cut(seed).await;
        world.store = MemoryStore::default();
        // Of a pod that ended whose veth is gone already nothing tells any more whose flows they were.
        world.kernel.time_out_flows();
        comes_right(&world, seed, &known, 600).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_killed_again_and_again_while_it_recovers_comes_right() {
    for seed in seeds() {
        let (world, known) = cut(seed).await;
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
        comes_right(&world, seed, &known, 30).await;
    }
}
