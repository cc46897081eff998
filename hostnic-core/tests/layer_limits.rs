//! The layers that hold calls back or cut them off: rate limit, concurrency and deadline.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::poll;
use hostnic_core::layer::{Answer, Around, Call, Concurrency, Deadline, Operation, Rate, RateLimit};
use hostnic_core::{Effect, Error, ErrorKind, Result};
use tokio::time::{Instant, advance, sleep};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// Ten calls in a second, three of which may come at once.
fn limit() -> RateLimit {
    RateLimit::new(Rate::new(count(10), S, count(3)).unwrap().pauses(5 * S, 20 * S).unwrap())
}

/// The moments, in milliseconds after `start`, at which calls through `layer` go out.
async fn moments(layer: &impl Around, start: Instant, calls: usize) -> Vec<u128> {
    let call = || layer.around(Call::Instance, async { Ok(vec![start.elapsed().as_millis()]) });
    let answers = join_all((0..calls).map(|_| call())).await;
    answers.into_iter().flat_map(Result::unwrap).collect()
}

async fn fail<T: Answer>(layer: &impl Around, kind: ErrorKind) -> Result<T> {
    layer.around(Call::Instance, async move { Err(Error::new(kind, "test", "subject")) }).await
}

#[tokio::test(start_paused = true)]
async fn after_a_burst_calls_go_out_evenly_and_in_order() {
    let limit = limit();
    assert_eq!(moments(&limit, Instant::now(), 6).await, [0, 0, 0, 100, 200, 300]);
}

#[tokio::test(start_paused = true)]
async fn quiet_time_saves_up_no_more_than_a_burst() {
    let limit = limit();
    moments(&limit, Instant::now(), 3).await;
    advance(100 * MS).await;
    assert_eq!(moments(&limit, Instant::now(), 2).await, [0, 100], "one interval gives one call");
    advance(1000 * S).await;
    assert_eq!(moments(&limit, Instant::now(), 5).await, [0, 0, 0, 100, 200]);
}

#[tokio::test(start_paused = true)]
async fn one_throttled_call_makes_everybody_pause_and_no_burst_follows() {
    let limit = limit();
    let start = Instant::now();
    fail::<()>(&limit, ErrorKind::Throttled { retry_after: Some(2 * S) }).await.unwrap_err();
    assert_eq!(moments(&limit, start, 3).await, [2000, 2100, 2200]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_without_a_time_pauses_as_configured_and_an_absurd_time_is_cut() {
    for (retry_after, pause) in [(None, 5000), (Some(3600 * S), 20_000)] {
        let limit = limit();
        let start = Instant::now();
        fail::<()>(&limit, ErrorKind::Throttled { retry_after }).await.unwrap_err();
        assert_eq!(moments(&limit, start, 1).await, [pause]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_when_a_pause_begins_waits_for_its_end() {
    let limit = limit();
    let start = Instant::now();
    moments(&limit, start, 3).await;
    let mut waiting = pin!(moments(&limit, start, 1));
    assert!(poll!(&mut waiting).is_pending());
    limit.throttled(Some(S));
    assert_eq!(waiting.await, [1000]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_takes_nobodys_turn() {
    let limit = limit();
    let start = Instant::now();
    moments(&limit, start, 3).await;
    for _ in 0..10 {
        let mut dropped = pin!(limit.admit());
        assert!(poll!(&mut dropped).is_pending());
    }
    assert_eq!(moments(&limit, start, 1).await, [100]);
}

#[test]
fn a_rate_without_time_between_calls_is_refused() {
    assert!(Rate::new(count(u32::MAX), S, count(1)).is_err());
    assert!(Rate::new(count(1), S, count(1)).unwrap().pauses(2 * S, S).is_err());
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_than_allowed_run_at_a_time_and_a_dropped_one_makes_room() {
    let layer = Concurrency::new(count(3));
    let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let call = || {
        layer.around(Call::Instance, async {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(S).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    };
    let start = Instant::now();
    join_all((0..7).map(|_| call())).await;
    assert_eq!((most.load(Ordering::SeqCst), start.elapsed().as_secs()), (3, 3));

    let stuck = || layer.around::<(), _>(Call::Instance, std::future::pending());
    assert!(tokio::time::timeout(S, join_all((0..3).map(|_| stuck()))).await.is_err());
    assert!(tokio::time::timeout(2 * S, call()).await.is_ok(), "the dropped ones gave their places back");
}

#[tokio::test(start_paused = true)]
async fn a_late_write_may_have_been_carried_out_and_a_late_read_has_no_effect() {
    let layer = Deadline::new(2 * S, 3 * S).except(Operation::DeleteNics, 9 * S);
    for (call, time, effect) in [
        (Call::Instance, 2, Effect::None),
        (Call::Attach(&[]), 3, Effect::Unknown),
        (Call::Delete(&[]), 9, Effect::Unknown),
    ] {
        let start = Instant::now();
        let error = layer.around::<(), _>(call, std::future::pending()).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Transient, effect), "{call:?}");
        assert_eq!(start.elapsed().as_secs(), time, "{call:?}");
    }
    assert!(layer.around(Call::Instance, async { Ok(()) }).await.is_ok());
}
