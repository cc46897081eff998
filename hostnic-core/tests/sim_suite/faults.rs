//! What goes wrong when it is told to.

use hostnic_core::cloud::{JobState, NicFilter, Submitted};
use hostnic_core::sim::{Fault, Operation, Outcome, When};
use hostnic_core::{Effect, ErrorKind, NicProvider};
use tokio::time::{advance, sleep, timeout};

use crate::{attached, builder, carrier, create, job, kind, node, request, secs, state};

#[tokio::test]
async fn a_refused_call_changes_nothing_and_only_the_chosen_one_is_refused() {
    let cloud = builder()
        .fault(Operation::CreateNics, When::Nth(2), Fault::Refuse(ErrorKind::Transient))
        .build()
        .unwrap();
    let node = node(&cloud);
    create(&node, 1).await;
    let error = node.create_nics(&request(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Transient, Effect::None));
    create(&node, 1).await;
    assert_eq!(cloud.snapshot().len(), 2);
}

#[tokio::test]
async fn after_a_lost_answer_the_nics_are_found_by_name_and_after_a_lost_request_there_are_none() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let named = NicFilter { name: Some(request(1).name), ..NicFilter::default() };
    for (fault, made) in [(Fault::LoseRequest, 0), (Fault::LoseAnswer, 2)] {
        cloud.inject(Operation::CreateNics, When::Next(1), fault);
        let error = node.create_nics(&request(2)).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Transient, Effect::Unknown));
        assert_eq!(node.list_nics(&named).await.unwrap().len(), made);
        let create =
            cloud.history().into_iter().rfind(|call| call.operation == Operation::CreateNics).unwrap();
        assert_eq!(create.outcome, Outcome::Lost { carried_out: made > 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_carried_out() {
    let cloud = builder().fault(Operation::CreateNics, When::Always, Fault::NeverAnswer).build().unwrap();
    assert!(timeout(secs(3600), node(&cloud).create_nics(&request(1))).await.is_err());
    assert_eq!(cloud.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_leaves_its_nics_where_they_were_and_free_to_try_again() {
    let cloud = builder().fault(Operation::AttachNics, When::Next(1), Fault::FailJob).build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 2).await;
    let attach = job(node.attach_nics(&nics).await);
    sleep(secs(10)).await;
    assert!(matches!(state(&node, &attach).await, JobState::Failed { nics, .. } if nics.is_empty()));
    assert_eq!(carrier(&cloud, &nics[0]), None);
    job(node.attach_nics(&nics).await);
    sleep(secs(10)).await;
    assert_eq!(carrier(&cloud, &nics[0]).as_deref(), Some("i-1"));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_for_some_names_them_and_does_the_rest() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let nics = attached(&node, 3).await;
    cloud.inject(Operation::DetachNics, When::Next(1), Fault::FailJobFor(2));
    let detach = job(node.detach_nics(&nics).await);
    sleep(secs(5)).await;
    assert!(
        matches!(state(&node, &detach).await, JobState::Failed { nics: named, .. } if named == nics[..2])
    );
    assert_eq!(carrier(&cloud, &nics[1]).as_deref(), Some("i-1"));
    assert_eq!(carrier(&cloud, &nics[2]), None);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_job_runs_until_it_is_set_free() {
    let cloud = builder().fault(Operation::AttachNics, When::Always, Fault::StickJob).build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 1).await;
    let attach = job(node.attach_nics(&nics).await);
    sleep(secs(86_400)).await;
    assert_eq!(state(&node, &attach).await, JobState::Running);
    assert_eq!(kind(node.delete_nics(&nics).await), ErrorKind::Conflict);
    cloud.unstick_jobs();
    assert_eq!(state(&node, &attach).await, JobState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_job_is_unknown_whether_its_work_was_done_or_not() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    for carried_out in [true, false] {
        cloud.inject(Operation::AttachNics, When::Next(1), Fault::ForgetJob { carried_out });
        let nics = create(&node, 1).await;
        let attach = job(node.attach_nics(&nics).await);
        sleep(secs(10)).await;
        assert_eq!(state(&node, &attach).await, JobState::Unknown);
        assert_eq!(carrier(&cloud, &nics[0]).is_some(), carried_out);
    }
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_vanishes_while_it_is_attached_makes_its_job_fail() {
    let cloud = builder().primary_nic("i-1", "vxnet-1").build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 1).await;
    cloud.inject(Operation::AttachNics, When::Next(1), Fault::VanishNic);
    let attach = job(node.attach_nics(&nics).await);
    assert_eq!(cloud.snapshot().len(), 1, "only the primary NIC is left");
    sleep(secs(10)).await;
    assert!(matches!(state(&node, &attach).await, JobState::Failed { nics: named, .. } if named == nics));
    assert_eq!(node.detach_nics(&nics).await.unwrap(), Submitted::Complete);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_rate_are_throttled_until_the_moment_they_are_told() {
    let cloud = builder().rate_limit(2, secs(60)).build().unwrap();
    let other = cloud.node(&"i-2".parse().unwrap());
    create(&node(&cloud), 1).await;
    advance(secs(20)).await;
    other.instance().await.unwrap();
    let wait = ErrorKind::Throttled { retry_after: Some(secs(40)) };
    assert_eq!(kind(node(&cloud).create_nics(&request(1)).await), wait);
    assert_eq!(cloud.snapshot().len(), 1);
    advance(secs(40)).await;
    create(&node(&cloud), 1).await;
}

#[tokio::test]
async fn without_credentials_every_call_is_refused() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    cloud.revoke_credentials();
    assert_eq!(kind(node.create_nics(&request(1)).await), ErrorKind::Unauthorised);
    assert_eq!(kind(node.list_nics(&NicFilter::default()).await), ErrorKind::Unauthorised);
    cloud.restore_credentials();
    create(&node, 1).await;
}

#[tokio::test]
async fn faults_by_chance_fall_where_the_seed_says() {
    async fn outcomes(seed: u64) -> Vec<bool> {
        let fault = Fault::Refuse(ErrorKind::Transient);
        let cloud =
            builder().seed(seed).fault(Operation::Instance, When::Chance(0.5), fault).build().unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..64 {
            outcomes.push(node(&cloud).instance().await.is_ok());
        }
        outcomes
    }
    let first = outcomes(1).await;
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
}
