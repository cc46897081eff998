//! The retry layer: what it repeats, when, and that it never makes anything twice.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use hostnic_core::cloud::{Instance, Nic, NicAttachment, NicFilter, NicName, Submitted};
use hostnic_core::id::{InstanceId, JobId, NicId, SubnetId};
use hostnic_core::layer::{Backoff, Retry, RetryConfig};
use hostnic_core::mock::MockNicProvider;
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::{Effect, Error, ErrorKind, NicProvider, QuotaScope};
use mockall::Sequence;
use mockall::predicate::eq;
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

/// Delays of 1 s, 2 s and 4 s without jitter; lists lag 2 s behind, and are looked at three times.
fn config() -> RetryConfig {
    let count = |n| NonZeroU32::new(n).unwrap();
    RetryConfig::new(Backoff::new(S, 4 * S, 0.0).unwrap(), count(4), 100 * S)
        .with_longest_hint(30 * S)
        .unwrap()
        .with_looks(count(3), 2 * S)
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "test", "subject")
}

fn lost_answer() -> Error {
    error(ErrorKind::Transient).effect_unknown()
}

fn request(count: u32) -> CreateNics {
    CreateNics {
        subnet: SubnetId::new("vxnet-a").unwrap(),
        count,
        name: NicName::parse("hostnic_i-1.abcdefgh").unwrap(),
        addresses: NicAddresses::Assigned(1),
    }
}

fn nic(number: u8, instance: Option<&str>) -> Nic {
    Nic {
        id: id(number),
        mac: format!("52:54:00:00:00:{number:02x}").parse().unwrap(),
        name: "hostnic_i-1.abcdefgh".into(),
        subnet: SubnetId::new("vxnet-a").unwrap(),
        addresses: vec![IpAddr::from([10, 0, 0, number])],
        attachment: instance.map_or(NicAttachment::Available, |i| NicAttachment::Attached {
            instance: InstanceId::new(i).unwrap(),
            primary: false,
        }),
    }
}

fn id(number: u8) -> NicId {
    NicId::new(format!("nic-{number}")).unwrap()
}

fn by_name() -> NicFilter {
    NicFilter { name: Some(request(1).name), ..NicFilter::default() }
}

/// Runs `call` against a cloud and tells what came of it, and how much (virtual) time it took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (call.await, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn reads_are_tried_again_with_growing_delays_and_final_errors_are_not() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_jobs().times(2).returning(|_| Err(error(ErrorKind::Transient)));
    cloud.expect_jobs().times(1).returning(|_| Ok(Vec::new()));
    cloud.expect_subnets().times(1).returning(|_| Err(error(ErrorKind::Unauthorised)));
    let retry = Retry::new(cloud, config());

    let (result, took) = timed(retry.jobs(&[])).await;
    assert_eq!((result.unwrap(), took), (Vec::new(), 3 * S));
    let (result, took) = timed(retry.subnets(&[])).await;
    assert_eq!((result.unwrap_err().kind(), took), (ErrorKind::Unauthorised, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn attempts_end_by_their_number() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_delete_nics().times(4).returning(|_| Err(lost_answer()));
    let (result, took) = timed(Retry::new(cloud, config()).delete_nics(&[id(1)])).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.effect(), took), (ErrorKind::Transient, Effect::Unknown, 7 * S));
    assert!(error.to_string().contains("4 attempts"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_time_is_up() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_list_nics().times(2).returning(|_| Err(error(ErrorKind::Transient)));
    let config = RetryConfig::new(*config().backoff(), config().attempts(), 2 * S);
    let (result, took) = timed(Retry::new(cloud, config).list_nics(&NicFilter::default())).await;
    assert_eq!(
        (result.unwrap_err().kind(), took),
        (ErrorKind::Transient, S),
        "the next one would begin at 3 s"
    );
}

#[tokio::test(start_paused = true)]
async fn the_clouds_own_delay_is_waited_for_and_an_absurd_one_is_cut() {
    let throttled = |after| move |_: &[JobId]| Err(error(ErrorKind::Throttled { retry_after: Some(after) }));
    let mut cloud = MockNicProvider::new();
    cloud.expect_jobs().times(1).returning(throttled(10 * S));
    cloud.expect_jobs().times(1).returning(throttled(1000 * S));
    cloud.expect_jobs().times(1).returning(|_| Ok(Vec::new()));
    let (result, took) = timed(Retry::new(cloud, config()).jobs(&[])).await;
    assert!(result.is_ok());
    assert_eq!(took, (10 + 1) * S + 30 * S, "the hint with our own delay upon it, then the longest hint");
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_together_do_not_come_back_together() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_jobs().times(2).returning(|_| Err(error(ErrorKind::Transient)));
    cloud.expect_jobs().times(2).returning(|_| Ok(Vec::new()));
    let config =
        RetryConfig::new(Backoff::new(S, S, 1.0).unwrap(), config().attempts(), 100 * S).with_seed(1);
    let retry = Retry::new(cloud, config);
    let ((_, one), (_, other)) = tokio::join!(timed(retry.jobs(&[])), timed(retry.jobs(&[])));
    assert_ne!(one, other);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_surely_had_no_effect_is_repeated_without_a_look() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).returning(|_| Err(error(ErrorKind::Transient)));
    cloud.expect_create_nics().times(1).with(eq(request(1))).returning(|_| Ok(vec![nic(1, None)]));
    cloud.expect_list_nics().never();
    assert_eq!(Retry::new(cloud, config()).create_nics(&request(1)).await.unwrap(), [nic(1, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_found_and_not_repeated() {
    let mut order = Sequence::new();
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).in_sequence(&mut order).returning(|_| Err(lost_answer()));
    let list = |found: Vec<Nic>| move |_: &NicFilter| Ok(found.clone());
    // The lists lag: nothing, then a part, then all.
    for found in [vec![], vec![nic(2, None)], vec![nic(2, None), nic(1, None)]] {
        cloud.expect_list_nics().with(eq(by_name())).times(1).in_sequence(&mut order).returning(list(found));
    }
    let (result, took) = timed(Retry::new(cloud, config()).create_nics(&request(2))).await;
    assert_eq!((result.unwrap().len(), took), (2, 6 * S));
}

#[tokio::test(start_paused = true)]
async fn found_nics_with_fixed_addresses_come_in_the_order_of_the_request() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().returning(|_| Ok(vec![nic(3, None), nic(1, None), nic(2, None)]));
    let addresses = [2, 3, 1].map(|n| IpAddr::from([10, 0, 0, n]));
    let fixed = CreateNics { addresses: NicAddresses::Fixed(addresses.into()), ..request(3) };
    let nics = Retry::new(cloud, config()).create_nics(&fixed).await.unwrap();
    assert_eq!(nics.iter().map(|n| n.addresses[0]).collect::<Vec<_>>(), addresses);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_left_nothing_is_made_again_under_the_same_name() {
    let mut order = Sequence::new();
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).in_sequence(&mut order).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(3).in_sequence(&mut order).returning(|_| Ok(Vec::new()));
    cloud
        .expect_create_nics()
        .with(eq(request(1)))
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Ok(vec![nic(1, None)]));
    assert!(Retry::new(cloud, config()).create_nics(&request(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_carried_out_in_part_is_never_repeated_and_tells_how_many_there_are() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(3).returning(|_| Ok(vec![nic(1, None), nic(2, None)]));
    let error = Retry::new(cloud, config()).create_nics(&request(3)).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(error.to_string().contains("2 NICs of this name exist where 3 were asked for"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_met_by_our_own_lost_create_is_not_taken_for_an_answer() {
    let mut order = Sequence::new();
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).in_sequence(&mut order).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(3).in_sequence(&mut order).returning(|_| Ok(Vec::new()));
    cloud
        .expect_create_nics()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Err(error(ErrorKind::Quota(QuotaScope::Subnet))));
    cloud.expect_list_nics().times(1).in_sequence(&mut order).returning(|_| Ok(vec![nic(1, None)]));
    assert_eq!(Retry::new(cloud, config()).create_nics(&request(1)).await.unwrap(), [nic(1, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_once_in_doubt_stays_in_doubt_when_it_fails() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).returning(|_| Err(lost_answer()));
    cloud.expect_create_nics().times(1).returning(|_| Err(error(ErrorKind::Unauthorised)));
    cloud.expect_list_nics().returning(|_| Ok(Vec::new()));
    let error = Retry::new(cloud, config()).create_nics(&request(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unauthorised, Effect::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_create_that_cannot_be_looked_up_is_not_repeated() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_create_nics().times(1).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(1).returning(|_| Err(error(ErrorKind::Unauthorised)));
    let error = Retry::new(cloud, config()).create_nics(&request(1)).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(error.subject().contains("abcdefgh"), "{error}");
}

fn here() -> Instance {
    Instance { id: InstanceId::new("i-1").unwrap(), router: None, nic_limit: 63 }
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_attach_only_what_is_not_attached_is_asked_for_again() {
    let job = JobId::new("j-2").unwrap();
    let mut cloud = MockNicProvider::new();
    cloud.expect_instance().returning(|| Ok(here()));
    cloud.expect_attach_nics().with(eq([id(1), id(2)])).times(1).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(1).returning(|_| Ok(vec![nic(1, Some("i-1")), nic(2, None)]));
    let submitted = Submitted::Job(job.clone());
    cloud.expect_attach_nics().with(eq([id(2)])).times(1).return_once(move |_| Ok(submitted));
    let result = Retry::new(cloud, config()).attach_nics(&[id(1), id(2)]).await;
    assert_eq!(result.unwrap(), Submitted::Job(job));
}

#[tokio::test(start_paused = true)]
async fn a_lost_attach_that_was_carried_out_is_complete() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_instance().returning(|| Ok(here()));
    cloud.expect_attach_nics().times(1).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(3).returning(|_| Ok(vec![nic(1, Some("i-1"))]));
    assert_eq!(Retry::new(cloud, config()).attach_nics(&[id(1)]).await.unwrap(), Submitted::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_detach_is_not_done_because_one_list_lags_behind() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_instance().returning(|| Ok(here()));
    cloud.expect_detach_nics().times(1).returning(|_| Err(lost_answer()));
    // The first look still shows the time before the NIC was attached.
    cloud.expect_list_nics().times(1).returning(|_| Ok(vec![nic(1, None)]));
    cloud.expect_list_nics().times(1).returning(|_| Ok(vec![nic(1, Some("i-1"))]));
    let job = Submitted::Job(JobId::new("j-1").unwrap());
    let again = job.clone();
    cloud.expect_detach_nics().with(eq([id(1)])).times(1).return_once(move |_| Ok(again));
    assert_eq!(Retry::new(cloud, config()).detach_nics(&[id(1)]).await.unwrap(), job);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_our_own_lost_attach_is_waited_out() {
    let mut order = Sequence::new();
    let mut cloud = MockNicProvider::new();
    cloud.expect_instance().returning(|| Ok(here()));
    let conflict = || error(ErrorKind::Conflict);
    // The job of the lost call is still at work when the first conflict comes.
    for (failure, looks, place) in
        [(lost_answer as fn() -> Error, 1, None), (conflict, 1, None), (conflict, 3, Some("i-1"))]
    {
        cloud.expect_attach_nics().times(1).in_sequence(&mut order).returning(move |_| Err(failure()));
        let listed = move |_: &NicFilter| Ok(vec![nic(1, place)]);
        cloud.expect_list_nics().times(looks).in_sequence(&mut order).returning(listed);
    }
    assert_eq!(Retry::new(cloud, config()).attach_nics(&[id(1)]).await.unwrap(), Submitted::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_plain_conflict_is_told_at_once() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_attach_nics().times(1).returning(|_| Err(error(ErrorKind::Conflict)));
    let (result, took) = timed(Retry::new(cloud, config()).attach_nics(&[id(1)])).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.effect(), took), (ErrorKind::Conflict, Effect::None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_lost_detach_of_what_is_detached_or_gone_is_complete() {
    let mut cloud = MockNicProvider::new();
    cloud.expect_detach_nics().times(1).returning(|_| Err(lost_answer()));
    cloud.expect_list_nics().times(3).returning(|_| Ok(vec![nic(1, None)]));
    let result = Retry::new(cloud, config()).detach_nics(&[id(1), id(2)]).await;
    assert_eq!(result.unwrap(), Submitted::Complete);
}
