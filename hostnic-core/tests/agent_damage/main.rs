//! A node with twenty running pods whose store is lost, damaged, another boot's, or on a full disk: never a panic, never a
//! wrong answer, every pod is found again, and the DEL of each works.
//!
//! Cloud and kernel are simulated, the store is a real file. HOSTNIC_SCALE says how much of it is done, HOSTNIC_SEED
//! repeats a run; a trial that fails says the seed that repeats it alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]
#![allow(clippy::print_stdout, reason = "what was done is a part of the result")]

mod damage;
mod full;
mod node;
#[path = "../support/mod.rs"]
mod support;
mod trial;

use std::ops::Range;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

use damage::Damage;
use support::scaled;
use trial::{Tally, trial};

/// The first of the seeds of this run.
fn seed() -> u64 {
    std::env::var("HOSTNIC_SEED").map_or(0x5eed, |seed| seed.parse().unwrap())
}

/// How often redb gave up on a file, which is caught and no more than damage.
static GIVEN_UP: AtomicU32 = AtomicU32::new(0);

/// What else panicked, each with the name of its thread: that of a test, or of a worker of nobody knows whose.
static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Notes panics: one in a task of the agent's fails no test by itself.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let say = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if hostnic_core::store::catches_panics() {
                GIVEN_UP.fetch_add(1, Ordering::SeqCst);
            } else {
                PANICS.lock().unwrap().push((thread_name(), info.to_string()));
                say(info);
            }
        }));
    });
}

fn thread_name() -> String {
    thread::current().name().unwrap_or("a thread without a name").to_owned()
}

/// What panicked so far and is not another test's, which fails by itself. The test's tasks are on its own thread.
fn panics() -> Vec<(String, String)> {
    let own = thread_name();
    let worker = |name: &str| name.contains("tokio") || name.contains("without a name");
    let all = PANICS.lock().unwrap();
    all.iter().filter(|(name, _)| *name == own || worker(name)).cloned().collect()
}

/// Trials of one kind of damage, each with a seed of its own; prints what they came to.
async fn trials(name: &str, count: u32, damage: impl Fn(u64) -> Damage) -> Tally {
    let seeds: Range<u64> = seed()..seed() + u64::from(count);
    let mut tally = Tally::default();
    note_panics();
    for seed in seeds {
        let damage = damage(seed);
        print!("  HOSTNIC_SEED={seed} {damage:?}: ");
        let opened = trial(&damage, seed).await;
        println!("{opened:?}");
        tally.note(opened);
        assert_eq!(panics(), [], "something panicked");
    }
    println!("{name:<34} {tally}");
    tally
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone() {
    let tally = trials("deleted", scaled(30), |_| Damage::Deleted { count: false }).await;
    assert_eq!(tally.rebuilt(), tally.trials);
    let tally = trials("deleted with all beside it", scaled(30), |_| Damage::Deleted { count: true }).await;
    assert_eq!(tally.rebuilt(), tally.trials);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_truncated() {
    for length in [0, 1, 319, 4095, 4096, 4097, 65_536] {
        let tally = trials(&format!("truncated to {length} bytes"), 1, |_| Damage::TruncatedTo(length)).await;
        assert_eq!(tally.rebuilt(), tally.trials);
    }
    trials("truncated anywhere", scaled(60), |_| Damage::Truncated).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_with_flipped_bytes() {
    let tally = trials("1 to 8 bytes flipped", scaled(1000), |_| Damage::Flipped).await;
    println!("redb gave up on {} files of all kinds so far", GIVEN_UP.load(Ordering::SeqCst));
    assert!(tally.exact > 0 && tally.rebuilt() > 0, "both were to be met");
}

#[tokio::test(start_paused = true)]
async fn a_store_with_a_wrong_record_that_redb_takes_for_right() {
    let tally = trials("a digit of a record changed", scaled(100), |_| Damage::Digit).await;
    assert_eq!(tally.rebuilt(), tally.trials);
}

#[tokio::test(start_paused = true)]
async fn a_store_of_zeros() {
    let tally = trials("all zeros", scaled(10), |_| Damage::Zeros).await;
    assert_eq!(tally.rebuilt(), tally.trials);
    trials("one page zeros", scaled(100), |_| Damage::ZeroPage).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_of_somebody_else() {
    let tally = trials("of another boot", scaled(30), |_| Damage::AnotherBoot).await;
    assert_eq!(tally.another_boot, tally.trials);
    let tally = trials("of another host", scaled(30), |_| Damage::AnotherHost).await;
    assert_eq!(tally.rebuilt(), tally.trials);
    let tally = trials("an older copy", scaled(30), |_| Damage::Older).await;
    assert_eq!(tally.rebuilt(), tally.trials);
}
