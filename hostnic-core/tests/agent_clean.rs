//! Cleaning the pool: what is free goes, and new NICs come.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use hostnic_core::ErrorKind;
use hostnic_core::id::NicId;
use hostnic_core::pool::Cleaned;
use hostnic_core::sim::{Fault, Operation, When};

use support::{World, free, secs, usual_pool};

fn ids(world: &World) -> BTreeSet<NicId> {
    world.nics().into_keys().collect()
}

#[tokio::test(start_paused = true)]
async fn cleaning_gives_back_what_is_free_and_fills_up_with_new_nics() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let held = world.add(&agent, &world.pod("p")).await.unwrap().lease.nic;
    world.until(&agent, |state| free(state) == 3).await;
    let before = ids(&world);
    assert_eq!(agent.clean(secs(60)).await, Cleaned { given_back: 3, left: 0, held: 1 });
    world.until(&agent, |state| free(state) == 3).await;
    let kept: Vec<NicId> = ids(&world).intersection(&before).cloned().collect();
    assert_eq!(kept, [held], "only the pod's own stays");
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_comes_while_the_pool_is_cleaned_is_served_by_a_new_nic() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let before = ids(&world);
    let pod = world.pod("p");
    let add = async {
        // The first change of a record is that the free ones leave.
        agent.changes().changed().await.unwrap();
        world.add(&agent, &pod).await
    };
    let (cleaned, added) = tokio::join!(agent.clean(secs(60)), add);
    assert_eq!((cleaned.given_back, cleaned.left), (3, 0));
    assert!(!before.contains(&added.unwrap().lease.nic));
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn cleaning_that_the_cloud_refuses_says_what_is_left_and_hinders_nobody_afterwards() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    world.cloud.inject(Operation::DetachNics, When::Always, Fault::Refuse(ErrorKind::Transient));
    // Who asks and goes away leaves nothing behind.
    assert!(tokio::time::timeout(Duration::ZERO, agent.clean(secs(60))).await.is_err());
    assert_eq!(agent.clean(secs(5)).await, Cleaned { given_back: 0, left: 3, held: 0 });
    world.add(&agent, &world.pod("p")).await.unwrap();
    world.cloud.clear_faults();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_of_cleaning_is_no_end_of_draining() {
    let world = World::new(usual_pool());
    let agent = world.warm_agent().await;
    let (left, _) = tokio::join!(agent.drain(secs(60)), agent.clean(secs(60)));
    assert_eq!(left, 0);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(world.nics().len(), 0);
}
