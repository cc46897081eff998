//! NICs of instances that are gone are found and deleted, and no others.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::capability::InstanceDirectory;
use hostnic_core::cloud::{NicFilter, NicName};
use hostnic_core::id::{CreateToken, InstanceId, NicId};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::{Cloud, Durations, SimProvider};
use hostnic_core::sweep::{self, BATCH, PAUSE, SUSPECTED};
use hostnic_core::{Error, ErrorKind, NicProvider, Result};
use tokio::time::Instant;

fn instance(id: &str) -> InstanceId {
    id.parse().unwrap()
}

fn cloud() -> Cloud {
    let builder = Cloud::builder().subnet("net-1", "10.0.0.0/24").instance("i-old").instance("i-new");
    builder.durations(Durations { attach: Duration::ZERO, ..Durations::default() }).build().unwrap()
}

async fn nics(cloud: &Cloud, of: &str, token: u8, count: u32) -> Vec<NicId> {
    let token = Some(CreateToken::from_bits([token; 10]));
    let request = CreateNics {
        subnet: "net-1".parse().unwrap(),
        count,
        name: NicName { instance: instance(of), token },
        addresses: NicAddresses::Assigned(1),
    };
    let made = cloud.node(&instance(of)).create_nics(&request).await.unwrap();
    made.into_iter().map(|nic| nic.id).collect()
}

async fn all(node: &SimProvider) -> BTreeSet<NicId> {
    node.list_nics(&NicFilter::default()).await.unwrap().into_iter().map(|nic| nic.id).collect()
}

#[tokio::test(start_paused = true)]
async fn only_free_nics_of_instances_that_are_gone_are_orphans() {
    let cloud = cloud();
    let left = nics(&cloud, "i-old", 1, 3).await;
    nics(&cloud, "i-new", 2, 2).await;
    let node = cloud.node(&instance("i-new"));
    assert_eq!(sweep::orphans(&node, &node).await.unwrap(), []);

    cloud.terminate(&instance("i-old"));
    // One of the old instance's that the new one uses by now is nobody's orphan.
    let _job = node.attach_nics(&left[..1]).await.unwrap();
    let orphans = sweep::orphans(&node, &node).await.unwrap();
    let found: BTreeSet<_> = orphans.iter().map(|orphan| orphan.nic.id.clone()).collect();
    assert_eq!(found, left[1..].iter().cloned().collect());
    assert!(orphans.iter().all(|orphan| orphan.instance == instance("i-old")));
}

#[tokio::test(start_paused = true)]
async fn orphans_go_in_batches_with_pauses_and_those_taken_meanwhile_stay() {
    let cloud = cloud();
    let left = nics(&cloud, "i-old", 1, 50).await;
    let others = nics(&cloud, "i-new", 2, 2).await;
    cloud.terminate(&instance("i-old"));
    let node = cloud.node(&instance("i-new"));
    let orphans = sweep::orphans(&node, &node).await.unwrap();
    assert_eq!(orphans.len(), left.len());
    let taken = orphans[49].nic.id.clone();
    let _job = node.attach_nics(std::slice::from_ref(&taken)).await.unwrap();

    let began = Instant::now();
    let mut told = Vec::new();
    sweep::delete(&node, &node, &orphans, |ids| told.push((began.elapsed(), ids.len()))).await.unwrap();
    let times: Vec<_> = told.iter().map(|(at, count)| (at.as_secs() / PAUSE.as_secs(), *count)).collect();
    assert_eq!(times, [(0, BATCH), (1, BATCH), (2, 50 - 2 * BATCH - 1)]);
    assert_eq!(all(&node).await, others.into_iter().chain([taken]).collect());
}

/// A directory of an account that may not list instances.
#[derive(Debug)]
struct Blind(Result<()>);

#[async_trait]
impl InstanceDirectory for Blind {
    async fn existing(&self, _: &BTreeSet<InstanceId>) -> Result<BTreeSet<InstanceId>> {
        match &self.0 {
            Ok(()) => Ok(BTreeSet::new()),
            Err(error) => Err(Error::new(error.kind(), "look for instances", "i-old")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_carries_a_nic_exists_whatever_the_directory_says() {
    let cloud = cloud();
    let left = nics(&cloud, "i-old", 1, 2).await;
    let node = cloud.node(&instance("i-old"));
    let _job = node.attach_nics(&left[..1]).await.unwrap();
    assert_eq!(sweep::orphans(&node, &Blind(Ok(()))).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_fails_makes_no_orphan() {
    let cloud = cloud();
    nics(&cloud, "i-old", 1, 2).await;
    let failing = Blind(Err(Error::new(ErrorKind::Unauthorised, "look", "i")));
    let node = cloud.node(&instance("i-new"));
    assert_eq!(sweep::orphans(&node, &failing).await.unwrap_err().kind(), ErrorKind::Unauthorised);
}

#[tokio::test(start_paused = true)]
async fn a_nic_goes_when_its_instance_was_seen_gone_twice_an_hour_apart() {
    let cloud = cloud();
    let left = nics(&cloud, "i-old", 1, 2).await;
    let living = nics(&cloud, "i-new", 2, 2).await;
    let node = cloud.node(&instance("i-new"));
    let told = std::sync::Mutex::new(Vec::new());
    let began = Instant::now();
    let keep = sweep::keep(&node, &node, |ids| told.lock().unwrap().push((began.elapsed(), ids.to_vec())));
    tokio::pin!(keep);
    // It is alive at the first look, and gone at the second.
    let _ = tokio::time::timeout(SUSPECTED / 2, &mut keep).await;
    cloud.terminate(&instance("i-old"));
    let _ = tokio::time::timeout(SUSPECTED * 5 / 4, &mut keep).await;
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(all(&node).await.len(), 4);
    let _ = tokio::time::timeout(SUSPECTED, &mut keep).await;
    assert_eq!(all(&node).await, living.iter().cloned().collect());
    let _ = tokio::time::timeout(SUSPECTED * 30, &mut keep).await;
    assert_eq!(all(&node).await, living.into_iter().collect());
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0 >= SUSPECTED * 2, &told[0].1), (true, &left));
}
