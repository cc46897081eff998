//! NICs that are there already: lent to a pod that names them, given back when it goes, and never deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::ErrorKind;
use hostnic_core::capability::Tagging;
use hostnic_core::cloud::NicAttachment;
use hostnic_core::id::NicId;
use hostnic_core::ledger::NicRole;
use hostnic_core::pods::NicWish;
use hostnic_core::pool::PoolConfig;
use hostnic_core::provider::NicAddresses;
use hostnic_core::refusal::Refusal;
use hostnic_core::sim::{Fate, Fault, Operation, When};
use hostnic_core::store::MemoryStore;
use tokio::time::{Instant, sleep};

use support::{World, millis, secs, usual_pool};

const TAG: &str = "tag-lend";

fn pool() -> PoolConfig {
    let subnets = vec!["vxnet-1".parse().unwrap()];
    PoolConfig {
        low: 0,
        high: 0,
        subnets,
        lent_tags: vec!["tag-no".to_owned(), TAG.to_owned()],
        ..usual_pool()
    }
}

/// A NIC of somebody else's in a subnet that is not the pool's.
fn theirs(world: &World, name: &str, address: &str) -> NicId {
    let fixed = NicAddresses::Fixed(vec![address.parse().unwrap()]);
    let made = world.cloud.control().create_nics(&"vxnet-3".parse().unwrap(), name, 1, &fixed);
    made.unwrap().remove(0).id
}

async fn tagged(world: &World, name: &str, address: &str) -> NicId {
    let nic = theirs(world, name, address);
    world.cloud.node(&World::instance()).tag_nics(TAG, std::slice::from_ref(&nic)).await.unwrap();
    nic
}

/// It is there, unchanged, and attached to nothing.
fn is_given_back(world: &World, nic: &NicId) -> bool {
    world.cloud.snapshot()[nic].attachment == NicAttachment::Available
}

#[tokio::test(start_paused = true)]
async fn a_tagged_nic_is_lent_to_the_pod_and_detached_and_not_deleted() {
    let world = World::new(pool());
    let agent = world.agent().await;
    let nic = tagged(&world, "web", "192.168.3.33").await;
    let pod = world.pod("p");
    let answer = world.add_wished(&agent, &pod, NicWish::Existing(nic.clone())).await.unwrap();
    assert_eq!((&answer.lease.nic, answer.lease.address.to_string()), (&nic, "192.168.3.33/24".to_owned()));
    assert_eq!(world.state().await.nics[&nic].role, NicRole::Lent(pod.key.mark()));
    world.check_kernel(&pod, &answer).await;
    world.agree().await;
    assert_eq!(world.add_wished(&agent, &pod, NicWish::Existing(nic.clone())).await.unwrap(), answer);
    world.del(&agent, &pod).await.unwrap();
    world.until(&agent, |state| state.nics.is_empty()).await;
    for _ in 0..5 {
        sleep(secs(120)).await;
        agent.compare_now().await.unwrap();
    }
    assert!(is_given_back(&world, &nic));
    assert_eq!(world.count(Operation::DeleteNics), 0);
    assert_eq!(world.count(Operation::CreateNics), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_lent_is_refused_with_the_reason() {
    let world = World::with_cloud(PoolConfig { low: 1, high: 1, ..pool() }, |cloud| {
        cloud.instance("i-9").primary_nic("i-9", "vxnet-2").primary_nic("i-1", "vxnet-2")
    });
    let agent = world.warm_agent().await;
    let ask = async |name: &str, nic: &NicId| {
        let error = world.add_wished(&agent, &world.pod(name), NicWish::Existing(nic.clone())).await;
        let error = error.unwrap_err();
        println!("{}: {error}", error.refusal().unwrap().word());
        error.refusal().unwrap().clone()
    };
    let unknown: NicId = "52:54:00:00:00:99".parse().unwrap();
    assert_eq!(ask("unknown", &unknown).await, Refusal::UnknownNic(unknown));
    let bare = theirs(&world, "web", "192.168.3.40");
    assert_eq!(ask("bare", &bare).await, Refusal::NicNotOffered(bare));
    // Another node's pool has just made it.
    let others = theirs(&world, "hostnic_i-9.abcdefghijklmnop", "192.168.3.41");
    assert_eq!(ask("others", &others).await, Refusal::NicNotOffered(others));
    let away = tagged(&world, "web", "192.168.3.42").await;
    let nine = "i-9".parse().unwrap();
    drop(world.cloud.control().attach_nics(&nine, std::slice::from_ref(&away), Fate::Succeed).unwrap());
    sleep(secs(6)).await;
    let in_use =
        |nic: &NicId, at: &str| Refusal::NicInUse { nic: nic.clone(), instance: Some(at.parse().unwrap()) };
    assert_eq!(ask("away", &away).await, in_use(&away, "i-9"));
    for at in ["i-9", "i-1"] {
        let carried = |nic: &&hostnic_core::cloud::Nic| matches!(&nic.attachment, NicAttachment::Attached { instance, primary: true } if instance.as_str() == at);
        let primary = world.cloud.snapshot().values().find(carried).unwrap().id.clone();
        assert_eq!(ask(&format!("primary-{at}"), &primary).await, in_use(&primary, at));
    }
    let warm = world.state().await.nics.keys().next().unwrap().clone();
    assert_eq!(ask("warm", &warm).await, Refusal::NicInUse { nic: warm, instance: None });
    // A name of ours without a token is nobody's just now.
    let named = theirs(&world, "hostnic_i-7", "192.168.3.43");
    world.add_wished(&agent, &world.pod("named"), NicWish::Existing(named)).await.unwrap();
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_pods_that_name_one_nic_the_second_has_it_after_the_first() {
    let world = World::new(pool());
    let agent = world.agent().await;
    let nic = tagged(&world, "web", "192.168.3.33").await;
    let wish = || NicWish::Existing(nic.clone());
    let (first, second) = (world.pod("first"), world.pod("second"));
    world.add_wished(&agent, &first, wish()).await.unwrap();
    let error = world.add_wished(&agent, &second, wish()).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::NicInUse { nic: nic.clone(), instance: None }));
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    // On its way out it is waited for.
    world.del(&agent, &first).await.unwrap();
    let answer = world.add_wished(&agent, &second, wish()).await.unwrap();
    world.check_kernel(&second, &answer).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_are_asked_for_one_nic_one_gets_it_and_the_other_does_no_harm() {
    for (one_first, two_first) in [(0, 0), (0, 150), (150, 0), (0, 250)] {
        let [one, two] = World::two(pool());
        let (first, second) = (one.agent().await, two.agent().await);
        tokio::join!(first.ready(), second.ready());
        let nic = tagged(&one, "web", "192.168.3.33").await;
        let (a, b) = (one.pod("a"), two.pod("b"));
        let ask = async |world: &World, agent, pod, after| {
            sleep(millis(after)).await;
            world.add_within(agent, pod, NicWish::Existing(nic.clone()), secs(30)).await
        };
        let (left, right) = tokio::join!(ask(&one, &first, &a, one_first), ask(&two, &second, &b, two_first));
        assert_eq!(u8::from(left.is_ok()) + u8::from(right.is_ok()), 1, "{left:?} {right:?}");
        let ((world, agent, pod, answer), error) = match (left, right) {
            (Ok(answer), Err(error)) => ((&one, &first, &a, answer), error),
            (Err(error), Ok(answer)) => ((&two, &second, &b, answer), error),
            _ => unreachable!(),
        };
        println!("{error}");
        assert!(matches!(error.refusal(), Some(Refusal::NicInUse { instance: Some(_), .. })), "{error}");
        sleep(secs(120)).await;
        world.check_kernel(pod, &answer).await;
        one.agree().await;
        two.agree().await;
        world.del(agent, pod).await.unwrap();
        sleep(secs(60)).await;
        assert!(is_given_back(&one, &nic));
        assert_eq!(one.count(Operation::DeleteNics), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_cannot_be_attached_is_left_to_its_owner() {
    let world = World::new(pool());
    let agent = world.agent().await;
    agent.ready().await;
    let nic = tagged(&world, "web", "192.168.3.33").await;
    world.cloud.inject(Operation::AttachNics, When::Always, Fault::FailJob);
    let wish = NicWish::Existing(nic.clone());
    let begun = Instant::now();
    world.add_within(&agent, &world.pod("p"), wish, secs(20)).await.unwrap_err();
    assert!(begun.elapsed() < secs(21));
    world.until(&agent, |state| state.nics.is_empty()).await;
    assert!(is_given_back(&world, &nic));
    assert_eq!(world.count(Operation::DeleteNics), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lent_nic_stays_its_pods_and_its_owners_when_the_records_are_lost() {
    let mut world = World::new(pool());
    let nic = tagged(&world, "web", "192.168.3.33").await;
    let pod = world.pod("p");
    let answer = {
        let agent = world.agent().await;
        world.add_wished(&agent, &pod, NicWish::Existing(nic.clone())).await.unwrap()
    };
    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    world.check(&agent, &pod).await.unwrap();
    world.check_kernel(&pod, &answer).await;
    assert_eq!(world.state().await.nics[&nic].role, NicRole::Lent(pod.key.mark()));
    world.agree().await;
    world.del(&agent, &pod).await.unwrap();
    world.until(&agent, |state| state.nics.is_empty()).await;
    sleep(secs(600)).await;
    agent.compare_now().await.unwrap();
    assert!(is_given_back(&world, &nic));
    assert_eq!(world.count(Operation::DeleteNics), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lent_nic_whose_pod_went_while_nobody_knew_of_it_is_left_where_it_is() {
    let mut world = World::new(pool());
    let nic = tagged(&world, "web", "192.168.3.33").await;
    let pod = world.pod("p");
    {
        let agent = world.agent().await;
        world.add_wished(&agent, &pod, NicWish::Existing(nic.clone())).await.unwrap();
    }
    world.store = MemoryStore::default();
    // Its namespace ends, and the link comes back: whose the NIC is, nothing tells.
    world.kernel.remove_sandbox(&pod.netns);
    let agent = world.agent().await;
    agent.ready().await;
    for _ in 0..5 {
        sleep(secs(120)).await;
        agent.compare_now().await.unwrap();
    }
    assert!(world.state().await.nics.is_empty());
    assert!(!is_given_back(&world, &nic));
    assert_eq!((world.count(Operation::DeleteNics), world.count(Operation::DetachNics)), (0, 0));
}
