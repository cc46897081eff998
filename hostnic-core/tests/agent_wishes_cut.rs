//! An agent that is killed, at whatever moment, while it makes or borrows NICs for single pods: what was promised is kept,
//! no NIC is made twice or left behind, and what is somebody else's is never deleted. HOSTNIC_SCALE says for how many
//! of all moments.

#![allow(clippy::print_stdout, reason = "what was done is a part of the result")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::agent::{AddAnswer, Agent};
use hostnic_core::capability::Tagging;
use hostnic_core::cloud::NicAttachment;
use hostnic_core::id::NicId;
use hostnic_core::pods::NicWish;
use hostnic_core::pool::PoolConfig;
use hostnic_core::provider::NicAddresses;
use hostnic_core::sim::Operation;
use hostnic_core::store::MemoryStore;
use tokio::time::sleep;

use support::fuse::Fuse;
use support::{Pod, World, made, millis, scaled, secs, usual_pool};

/// A world with a NIC to be lent, and the pods that want one each.
struct Trial {
    world: World,
    theirs: NicId,
    pods: Vec<(Pod, NicWish)>,
}

/// What the runtime knows.
#[derive(Default)]
struct Known {
    added: Vec<Option<AddAnswer>>,
    deleted: Vec<bool>,
}

async fn trial() -> Trial {
    let subnets = vec!["vxnet-1".parse().unwrap()];
    let lent_tags = vec!["tag-lend".to_owned()];
    let world = World::new(PoolConfig { low: 0, high: 0, subnets, lent_tags, ..usual_pool() });
    let fixed = NicAddresses::Fixed(vec!["192.168.3.33".parse().unwrap()]);
    let theirs = world.cloud.control().create_nics(&"vxnet-3".parse().unwrap(), "web", 1, &fixed);
    let theirs = theirs.unwrap().remove(0).id;
    let cloud = world.cloud.node(&World::instance());
    cloud.tag_nics("tag-lend", std::slice::from_ref(&theirs)).await.unwrap();
    let wishes = [
        made(Some("vxnet-3"), Some("192.168.3.77")),
        made(Some("vxnet-2"), None),
        NicWish::Existing(theirs.clone()),
        NicWish::Any,
    ];
    let pods = wishes.into_iter().enumerate().map(|(n, wish)| (world.pod(&format!("p{n}")), wish)).collect();
    Trial { world, theirs, pods }
}

impl Trial {
    /// All pods come, and the first three go.
    async fn life(&self, agent: &Agent, known: &mut Known) {
        known.added = vec![None; self.pods.len()];
        known.deleted = vec![false; self.pods.len()];
        let adds = self.pods.iter().zip(&mut known.added).map(|((pod, wish), added)| async {
            *added = self.world.add_wished(agent, pod, wish.clone()).await.ok();
        });
        futures::future::join_all(adds).await;
        let leave = self.pods.iter().zip(&mut known.deleted).take(3).map(|((pod, _), deleted)| async {
            *deleted = self.world.del_answered(agent, pod).await.is_ok();
        });
        futures::future::join_all(leave).await;
        agent.dels_ended().await;
        sleep(secs(10)).await;
    }

    /// Pods that run have what they were told; the runtime asks for the others again, or takes them away.
    async fn go_on(&self, agent: &Agent, known: &Known, again: bool) {
        let began = known.added.iter().all(Option::is_some);
        for (n, (pod, wish)) in self.pods.iter().enumerate() {
            let answer = known.added.get(n).and_then(Option::as_ref);
            let leaves = known.deleted.get(n) == Some(&true) || began && n < 3;
            match answer {
                Some(answer) if !leaves => {
                    self.world.check_kernel(pod, answer).await;
                    self.world.check(agent, pod).await.unwrap();
                }
                Some(_) => self.world.del(agent, pod).await.unwrap(),
                None if again => {
                    let answer = self.world.add_wished(agent, pod, wish.clone()).await.unwrap();
                    self.world.check_kernel(pod, &answer).await;
                }
                None => self.world.del(agent, pod).await.unwrap(),
            }
        }
    }

    async fn nothing_is_left(&self, agent: &Agent) {
        for (pod, _) in &self.pods {
            self.world.del(agent, pod).await.unwrap();
        }
        for _ in 0..5 {
            sleep(secs(65)).await;
            agent.compare_now().await.unwrap();
        }
        self.world.quiet(agent).await;
        self.world.agree().await;
        assert_eq!(self.world.nics().len(), 0);
        assert_eq!(self.world.cloud.snapshot()[&self.theirs].attachment, NicAttachment::Available);
    }

    /// No address was asked for twice, and nothing was made twice for one pod that had it.
    fn nothing_is_doubled(&self) {
        let fixed = "192.168.3.77".parse().unwrap();
        let all = self.world.cloud.snapshot();
        assert!(all.values().filter(|nic| nic.addresses.contains(&fixed)).count() <= 1);
        let own = all.values().filter(|nic| nic.subnet.as_str() == "vxnet-2").count();
        assert!(own <= 1, "{own} NICs for the one pod in vxnet-2");
    }
}

async fn polls() -> i64 {
    let trial = trial().await;
    let fuse = Fuse::whole();
    let agent = trial.world.agent_behind(&fuse).await.unwrap();
    trial.life(&agent, &mut Known::default()).await;
    fuse.polls()
}

async fn cut(at: i64) -> (Trial, Known) {
    let trial = trial().await;
    let fuse = Fuse::after(at);
    let mut known = Known::default();
    let life = async {
        let agent = trial.world.agent_behind(&fuse).await.unwrap();
        trial.life(&agent, &mut known).await;
    };
    tokio::select! {
        () = fuse.blown() => {}
        () = life => {}
    }
    sleep(millis(at.unsigned_abs() * 37 % 7000)).await;
    (trial, known)
}

/// Every so many of all moments, each time from another one on.
async fn moments() -> Vec<i64> {
    if let Ok(at) = std::env::var("HOSTNIC_CUT") {
        return vec![at.parse().unwrap()];
    }
    let all = polls().await;
    let count = i64::from(scaled(u32::try_from(all).unwrap()));
    println!("{count} of {all} moments");
    (0..count).map(|n| 1 + n * all / count).collect()
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_keeps_its_promises_and_its_next_life_goes_on_with_what_was_made() {
    for at in moments().await {
        let (trial, known) = cut(at).await;
        println!("cut at poll {at}");
        let agent = trial.world.agent().await;
        agent.ready().await;
        trial.go_on(&agent, &known, at % 3 != 0).await;
        sleep(secs(40)).await;
        trial.nothing_is_doubled();
        trial.world.quiet(&agent).await;
        trial.world.agree().await;
        trial.nothing_is_left(&agent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_records_it_finds_what_pods_have_and_strands_nothing_of_its_own() {
    for at in moments().await {
        let (mut trial, known) = cut(at).await;
        println!("cut at poll {at}");
        trial.world.store = MemoryStore::default();
        let deletes = trial.world.count(Operation::DeleteNics);
        let agent = trial.world.agent().await;
        agent.ready().await;
        let began = known.added.iter().all(Option::is_some);
        for (n, (pod, _)) in trial.pods.iter().enumerate() {
            let leaves = known.deleted.get(n) == Some(&true) || began && n < 3;
            if let Some(answer) = known.added.get(n).and_then(Option::as_ref).filter(|_| !leaves) {
                trial.world.check_kernel(pod, answer).await;
                trial.world.check(&agent, pod).await.unwrap();
            }
        }
        for (pod, _) in &trial.pods {
            trial.world.del(&agent, pod).await.unwrap();
        }
        for _ in 0..6 {
            sleep(secs(65)).await;
            agent.compare_now().await.unwrap();
        }
        trial.world.quiet(&agent).await;
        trial.world.agree().await;
        assert_eq!(trial.world.nics().len(), 0);
        // It may still be attached, where nothing told that it had been lent; it is there in any case.
        assert!(trial.world.cloud.snapshot().contains_key(&trial.theirs), "{deletes} deletes before");
    }
}
