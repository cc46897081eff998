//! The agent is killed on both sides of each point that pods have for themselves which share NICs, as `end_to_end` kills nodes at
//! all others: the first time that it comes by, and the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostnic_core::ErrorKind;
use hostnic_core::agent::Agent;
use hostnic_core::point::{Point, Points, Probe, Side};
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::store::MemoryStore;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::cut::{Known, all_is_given_back, is_kept, namespace, the_runtime_goes_on};
use crate::support::fuse::Fuse;
use crate::support::{Pod, World, secs};
use crate::{add_in, address, cluster, lease, world};

/// Where it is killed. A pod's address is announced, by a frame that leaves nothing behind, when the pod is set up, and again.
const PLACES: [Point; 15] = [
    Point::UndoShared,
    Point::EndShared,
    Point::MoveShared,
    Point::RebuildShared,
    Point::ResumeSharedNic,
    Point::SetUpSharedNic,
    Point::CompareSharedNic,
    Point::TearDownSharedNic,
    Point::RestoreAddresses,
    Point::RestoreFound,
    Point::SettleAddresses,
    Point::ClaimAddress,
    Point::ReleaseAddress,
    Point::SetUpPod,
    Point::AnnouncePodAgain,
];

/// How long NICs are kept that no pod has.
const KEPT: Duration = secs(300);

type Place = (Point, Side);

/// How often each place was passed.
type Passed = BTreeMap<Place, u32>;

/// Cuts the agent off where it is to die.
#[derive(Debug)]
struct Killer {
    at: Option<(Place, u32)>,
    fuse: Fuse,
    passed: Mutex<Passed>,
    killed: Notify,
}

impl Killer {
    fn new(at: Option<(Place, u32)>) -> Arc<Self> {
        Arc::new(Self { at, fuse: Fuse::whole(), passed: Mutex::default(), killed: Notify::new() })
    }

    async fn agent(self: &Arc<Self>, world: &World) -> Agent {
        let agent = world.agent_probed(&self.fuse, Points::probed(self.clone())).await.unwrap();
        agent.ready().await;
        agent
    }
}

impl Probe for Killer {
    fn reached(&self, point: Point, side: Side) {
        let mut passed = self.passed.lock().unwrap();
        let count = passed.entry((point, side)).or_default();
        *count += 1;
        if self.at == Some(((point, side), *count)) {
            self.fuse.burn(0);
            self.killed.notify_one();
        }
    }
}

/// All that pods which share NICs, their node and their cloud go through.
async fn life(world: &mut World, killer: &Arc<Killer>, known: &mut Known) {
    let agent = killer.agent(world).await;
    let pods = world.pods("p", 6);
    for pod in &pods {
        add(world, &agent, pod, known).await;
    }
    in_vain(world, &agent, known).await;
    for pod in &pods[4..] {
        del(world, &agent, pod, known).await;
    }
    world.cloud.vanish(&lease(&agent, &pods[0]).lease.nic).unwrap();
    replaced(&agent).await;
    agent.stop().await;
    drop(agent);
    // Over its records, and without.
    let agent = killer.agent(world).await;
    sleep(secs(10)).await;
    agent.stop().await;
    drop(agent);
    world.store = MemoryStore::default();
    let agent = killer.agent(world).await;
    sleep(secs(10)).await;
    for pod in &pods[..4] {
        del(world, &agent, pod, known).await;
    }
    sleep(2 * KEPT).await;
}

async fn add(world: &World, agent: &Agent, pod: &Pod, known: &mut Known) {
    known.adds.insert(pod.clone(), None);
    let answer = add_in(world, agent, namespace(pod), pod).await.unwrap();
    known.adds.insert(pod.clone(), Some(answer));
}

async fn in_vain(world: &World, agent: &Agent, known: &mut Known) {
    let refused = KernelFault::Before(ErrorKind::Transient);
    world.kernel.inject(KernelOperation::SetupPod, When::Always, refused);
    let pod = world.pod("vain");
    known.adds.insert(pod.clone(), None);
    add_in(world, agent, namespace(&pod), &pod).await.unwrap_err();
    world.kernel.clear_faults();
    agent.addresses_released().await;
}

async fn del(world: &World, agent: &Agent, pod: &Pod, known: &mut Known) {
    known.dels.insert(pod.clone(), false);
    world.del(agent, pod).await.unwrap();
    known.dels.insert(pod.clone(), true);
    agent.addresses_released().await;
}

/// Whatever is gone from the cloud is missed twice, and made anew.
async fn replaced(agent: &Agent) {
    for _ in 0..3 {
        agent.compare_now().await.unwrap();
        sleep(secs(6)).await;
    }
    sleep(secs(20)).await;
}

/// Lives until the end, or until it is killed; whether it was, and what was passed.
async fn lived(at: Option<(Place, u32)>) -> (World, Known, bool, Passed) {
    let (mut world, mut known) = (world(), Known::default());
    world.config.pool.free_period = KEPT;
    let killer = Killer::new(at);
    let killed = tokio::select! {
        biased;
        () = killer.killed.notified() => true,
        () = life(&mut world, &killer, &mut known) => false,
    };
    let passed = killer.passed.lock().unwrap().clone();
    (world, known, killed, passed)
}

/// A new agent keeps every promise, though the NIC may be another, and nothing is left in the end.
async fn comes_right(world: &World, known: &Known) {
    world.kernel.clear_faults();
    let agent = world.agent().await;
    agent.ready().await;
    replaced(&agent).await;
    for (pod, answer) in &known.adds {
        let Some(answer) = answer.as_ref().filter(|_| is_kept(known, pod)) else { continue };
        world.check_kernel(pod, answer).await;
        world.check(&agent, pod).await.unwrap();
        assert_eq!(lease(&agent, pod).lease.address, answer.lease.address);
        assert_eq!(cluster(world).held().get(&address(answer)), Some(&pod.key.mark()));
        let again = add_in(world, &agent, namespace(pod), pod).await.unwrap();
        assert_eq!(again.lease.address, answer.lease.address, "the same answer again");
    }
    the_runtime_goes_on(world, &agent, 0, known).await;
    // What was found at a start without records is looked at for long before it is given back.
    sleep(secs(600)).await;
    world.quiet(&agent).await;
    world.agree().await;
    all_is_given_back(world, &agent, known, 2 * KEPT).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_killed_at_a_point_of_shared_nics_loses_nothing_and_leaves_nothing() {
    let (world, known, killed, passed) = lived(None).await;
    assert!(!killed);
    comes_right(&world, &known).await;
    let places = PLACES.iter().flat_map(|point| [(*point, Side::Before), (*point, Side::After)]);
    let mut kills = 0;
    for place in places {
        let all = passed.get(&place).copied().unwrap_or_else(|| panic!("{place:?} is never passed"));
        for nth in BTreeSet::from([1, all]) {
            println!("{} {}, time {nth} of {all}", place.0, place.1);
            let (world, known, killed, _) = lived(Some((place, nth))).await;
            assert!(killed, "it did not come by");
            comes_right(&world, &known).await;
            kills += 1;
        }
    }
    println!("killed {kills} times on both sides of {} points", PLACES.len());
}
