//! `kill -9` at any moment: what was told durable is there, and no commit is there by half.

mod store_support;

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use hostnic_core::ledger::{AddressState, CreateIntent, LeaseState, State, Write};
use hostnic_core::store::{Opened, StateStore};

use store_support::*;

/// Tells the child where its store is.
const PATH: &str = "HOSTNIC_TEST_STORE";

/// How many records one commit writes, spread over all tables.
const TOGETHER: u32 = 20;

/// The number of the last commit; all records must agree on it.
fn number(state: &State) -> u32 {
    let Some(last) = state.intents.values().next().map(|intent| intent.count) else {
        assert_eq!(*state, State::default());
        return 0;
    };
    assert_eq!(state.intents.len(), TOGETHER as usize);
    assert_eq!(state.nics.len(), TOGETHER as usize);
    assert_eq!(state.leases.len(), TOGETHER as usize);
    let time = at(last.into());
    assert!(state.intents.values().all(|intent| intent.count == last));
    assert!(state.nics.values().all(|nic| nic.addresses[0].state == AddressState::Free { since: time }));
    assert!(state.leases.values().all(|lease| lease.since == time));
    last
}

#[tokio::test]
#[ignore = "the child of the test below"]
async fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let (store, opened) = open(path.as_ref()).await;
    assert!(matches!(opened, Opened::New | Opened::Existing), "{opened:?}");
    let mut n = number(&store.load().await.unwrap());
    loop {
        n += 1;
        let time = at(n.into());
        let writes: Vec<Write> = (1..=TOGETHER)
            .flat_map(|i| {
                let mut lease = lease(i, LeaseState::Active);
                lease.since = time;
                [
                    Write::PutIntent(CreateIntent { count: n, ..intent(i) }),
                    Write::PutNic(nic(i, AddressState::Free { since: time })),
                    Write::PutLease(Box::new(lease)),
                ]
            })
            .collect();
        store.commit(&writes).await.unwrap();
        // Past libtest's capture.
        writeln!(std::io::stdout(), "durable {n}").unwrap();
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_loses_no_answered_commit_and_leaves_none_by_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let mut told = 0;
    for round in 0..scaled(30) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "child_that_commits_until_it_is_killed"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut durable = |line: std::io::Result<String>| {
            if let Some(n) = line.unwrap().strip_prefix("durable ") {
                told = n.parse().unwrap();
            }
        };
        // The first rounds kill while the store is begun or opened, the others within some commit.
        let enough = if round % 4 == 0 { 0 } else { 3 + rand(round) % 60 };
        for line in lines.by_ref().take(enough as usize) {
            durable(line);
        }
        for _ in 0..rand(round + 1000) % 400_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts as well.
        lines.for_each(durable);
        if path.exists() {
            let (store, opened) = open(&path).await;
            assert_eq!(opened, Opened::Existing);
            let there = number(&store.load().await.unwrap());
            assert!(there == told || there == told + 1, "{there} is there, {told} was told");
            told = there;
        }
    }
    assert!(told > 0);
}

/// Numbers that look random and differ in every run.
fn rand(round: u32) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(round) as u32
}
