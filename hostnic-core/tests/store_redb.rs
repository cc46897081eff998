//! The redb store through its public face: what is kept, for whom, and who is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod store_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hostnic_core::ErrorKind;
use hostnic_core::clock::BootTime;
use hostnic_core::ledger::{AddressState, NicState, State, Write};
use hostnic_core::store::{Opened, RedbStore, StateStore};
use redb::{Database, ReadableDatabase, TableDefinition};

use store_support::*;

const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");

/// Changes the header as another version would have written it.
fn rewrite_header(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let database = Database::open(path).unwrap();
    let old = database
        .begin_read()
        .unwrap()
        .open_table(STORE)
        .unwrap()
        .get("header")
        .unwrap()
        .unwrap()
        .value()
        .to_vec();
    let mut header: serde_json::Value = serde_json::from_slice(&old[4..]).unwrap();
    change(&mut header);
    let json = serde_json::to_vec(&header).unwrap();
    let mut covered = b"store\0header\0".to_vec();
    covered.extend(&json);
    let mut bytes = crc32fast::hash(&covered).to_le_bytes().to_vec();
    bytes.extend(json);
    let transaction = database.begin_write().unwrap();
    transaction.open_table(STORE).unwrap().insert("header", bytes.as_slice()).unwrap();
    transaction.commit().unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_store_tells_whose_it_is_and_only_in_its_own_boot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let (boot, other) = (ours().boot, identity("boot-2", "i-1").boot);
    assert_eq!(RedbStore::host(&path, boot.clone()).await.unwrap(), None);
    assert!(names(directory.path()).is_empty(), "a question makes nothing");
    let (store, _) = open(&path).await;
    let error = RedbStore::host(&path, boot.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "whose store is in use is asked for: {error}");
    drop(store);
    assert_eq!(RedbStore::host(&path, boot.clone()).await.unwrap(), Some(ours().host));
    assert_eq!(RedbStore::host(&path, other).await.unwrap(), None);
    let (_, opened) = open(&path).await;
    assert_eq!(opened, Opened::Existing, "asking changes nothing");
    fs::write(&path, b"no store").unwrap();
    assert_eq!(RedbStore::host(&path, boot).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_store_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let mut expected = populated(20);
    {
        let (store, opened) = open(&path).await;
        assert_eq!(opened, Opened::New);
        assert_eq!(store.load().await.unwrap(), State::default());
        store.commit(&expected.to_writes()).await.unwrap();
        let drops = [
            Write::DropIntent(intent(1).token),
            Write::DropNic(nic(2, AddressState::Claimed).id),
            Write::DropLease(key(3).mark()),
            Write::DropTombstone(key(1004).mark()),
            Write::DropLease(key(999).mark()),
        ];
        store.commit(&drops).await.unwrap();
        expected.apply(&drops);
        assert_eq!(store.load().await.unwrap(), expected);
    }
    let (store, opened) = open(&path).await;
    assert_eq!(opened, Opened::Existing);
    assert_eq!(store.load().await.unwrap(), expected);
}

#[tokio::test]
async fn the_last_of_several_writes_of_one_record_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(&directory.path().join("node.redb")).await;
    let writes = [
        Write::PutIntent(intent(1)),
        Write::DropIntent(intent(1).token),
        Write::PutTombstone(key(1).mark(), at(1)),
        Write::PutTombstone(key(1).mark(), at(2)),
    ];
    store.commit(&writes).await.unwrap();
    let state = store.load().await.unwrap();
    assert!(state.intents.is_empty());
    assert_eq!(state.tombstones[&key(1).mark()], at(2));
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_told_who_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let (store, _) = open(&path).await;
    let error = RedbStore::open(&path, ours(), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let us = format!("{} (pid {})", name.trim(), std::process::id());
    assert!(error.to_string().contains(&us), "{error}");
    // Nor does one get by that finds no lock file: redb's own lock is there still.
    fs::remove_file(directory.path().join("node.redb.lock")).unwrap();
    let error = RedbStore::open(&path, ours(), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // The first one goes on undisturbed.
    store.commit(&populated(1).to_writes()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), populated(1));
}

#[tokio::test]
async fn a_store_that_only_later_versions_may_read_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    open(&path).await.0.commit(&populated(3).to_writes()).await.unwrap();
    rewrite_header(&path, |header| {
        header["format"] = 3.into();
        header["readable_from"] = 2.into();
        header["written_by"] = "9.8.7".into();
        // A later version may have another notion of whose a store is.
        header.as_object_mut().unwrap().remove("host");
    });
    let before = names(directory.path());
    let error = RedbStore::open(&path, ours(), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("install hostnic 9.8.7 or later"), "{error}");
    assert_eq!(names(directory.path()), before);

    rewrite_header(&path, |header| {
        header["readable_from"] = 1.into();
        header["host"] = "i-1".into();
    });
    let (store, opened) = open(&path).await;
    assert_eq!(opened, Opened::Existing);
    assert_eq!(store.load().await.unwrap(), populated(3));
}

#[tokio::test]
async fn after_a_reboot_nics_are_kept_leases_are_dead_and_their_addresses_cool_from_now_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let mut before = populated(1);
    before.apply(&[
        Write::PutNic(nic(2, AddressState::Cooling { since: at(9000) })),
        Write::PutNic(nic(3, AddressState::Free { since: at(9000) })),
        Write::PutNic(nic(4, AddressState::Claimed).in_state(NicState::Deleting, at(9000))),
    ]);
    open(&path).await.0.commit(&before.to_writes()).await.unwrap();

    let now = at(7);
    {
        let (_, opened) = RedbStore::open(&path, identity("boot-2", "i-1"), now).await.unwrap();
        assert_eq!(opened, Opened::AnotherBoot);
    }
    // What was made of it is durable, and is not made again.
    let (store, opened) = RedbStore::open(&path, identity("boot-2", "i-1"), at(50)).await.unwrap();
    assert_eq!(opened, Opened::Existing);
    let after = store.load().await.unwrap();
    assert!(after.leases.is_empty());
    assert!(after.tombstones.is_empty());
    assert_eq!(after.intents[&intent(1).token].since, now);
    let states: Vec<(&NicState, BootTime, &AddressState)> =
        after.nics.values().map(|nic| (&nic.state, nic.since, &nic.addresses[0].state)).collect();
    assert_eq!(
        states,
        [
            (&NicState::Ready, now, &AddressState::Cooling { since: now }),
            (&NicState::Ready, now, &AddressState::Cooling { since: now }),
            (&NicState::Ready, now, &AddressState::Free { since: now }),
            (&NicState::Deleting, now, &AddressState::Claimed),
        ]
    );
}

#[tokio::test]
async fn another_hosts_store_is_kept_aside_and_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    open(&path).await.0.commit(&populated(2).to_writes()).await.unwrap();
    let kept_aside = directory.path().join("node.redb.other-host-1");
    {
        let (store, opened) = RedbStore::open(&path, identity("boot-1", "i-2"), at(1)).await.unwrap();
        assert_eq!(opened, Opened::AnotherHost { kept_aside: kept_aside.clone() });
        assert_eq!(store.load().await.unwrap(), State::default());
    }
    let (store, opened) = RedbStore::open(kept_aside, ours(), at(1)).await.unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(store.load().await.unwrap(), populated(2));
}

#[tokio::test]
async fn files_are_for_their_owner_only_and_missing_directories_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/hostnic/node.redb");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(open(&path).await);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("redb.lock")), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&path).await);
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_path_where_no_store_can_be_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "somebody's").unwrap();
    let link = directory.path().join("link.redb");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let folder = directory.path().join("folder.redb");
    fs::create_dir(&folder).unwrap();
    for path in [link, folder, target.join("node.redb")] {
        let error = RedbStore::open(&path, ours(), at(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
        assert!(error.to_string().contains("choose another directory"), "{error}");
    }
    assert_eq!(fs::read_to_string(target).unwrap(), "somebody's");
}

#[tokio::test]
async fn removing_the_files_is_as_good_as_a_new_node() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    open(&path).await.0.commit(&populated(2).to_writes()).await.unwrap();
    for name in names(directory.path()) {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    let (store, opened) = open(&path).await;
    assert_eq!(opened, Opened::New);
    assert_eq!(store.load().await.unwrap(), State::default());
}

#[test]
fn a_commit_whose_future_is_dropped_is_made_before_the_next_one() {
    // One thread for the store's work, so that a test can be in its way.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = open(&directory.path().join("node.redb")).await;
        for n in 0..50 {
            let written = |tombstone, value| Write::PutTombstone(key(tombstone).mark(), at(value));
            let (old, new) = ([written(1, 2 * n), written(2, 2 * n)], [written(1, 2 * n + 1)]);
            // The work has not begun when its future is dropped, or is under way, or done: that is the thread's affair.
            let (go, gone) = std::sync::mpsc::channel::<()>();
            let held = n % 2 == 0;
            let in_the_way = held.then(|| tokio::task::spawn_blocking(move || gone.recv()));
            {
                let mut dropped = Box::pin(store.commit(&old));
                let polled = futures::poll!(&mut dropped);
                assert!(!held || polled.is_pending(), "nobody can have done it");
            }
            drop(go);
            store.commit(&new).await.unwrap();
            if let Some(in_the_way) = in_the_way {
                assert!(in_the_way.await.unwrap().is_err(), "it waited until the sender was dropped");
            }
            let state = store.load().await.unwrap();
            assert_eq!(state.tombstones[&key(1).mark()], at(2 * n + 1));
            assert_eq!(
                state.tombstones[&key(2).mark()],
                at(2 * n),
                "what was handed over goes on to its end"
            );
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_the_store_works() {
    let directory = tempfile::tempdir().unwrap();
    let before = tokio::time::Instant::now();
    let (store, _) = open(&directory.path().join("node.redb")).await;
    let tick = tokio::spawn(tokio::time::sleep(std::time::Duration::from_secs(60)));
    for _ in 0..20 {
        store.commit(&populated(1).to_writes()).await.unwrap();
    }
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
    tick.abort();
}
