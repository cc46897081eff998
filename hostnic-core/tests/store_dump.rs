//! A store as text: beside whoever uses it, and with damage in it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod store_support;

use std::fs;

use hostnic_core::ErrorKind;
use hostnic_core::ledger::AddressState;
use hostnic_core::store::{RedbStore, StateStore};

use store_support::*;

#[tokio::test]
async fn a_store_in_use_is_told_record_by_record_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let (store, _) = open(&path).await;
    let state = populated(20);
    store.commit(&state.to_writes()).await.unwrap();
    let before = fs::read(&path).unwrap();

    let dump = RedbStore::dump(&path).unwrap();
    assert!(dump.is_sound());
    let of = |table: &str| dump.records.iter().filter(|r| r.table == table).count();
    assert_eq!(of("nics"), state.nics.len());
    assert_eq!(of("leases"), state.leases.len());
    assert_eq!(of("intents"), state.intents.len());
    assert_eq!(of("tombstones"), state.tombstones.len());
    let text = dump.to_string();
    assert!(text.contains("store header {"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("nics nic-1 {\"id\":\"nic-1\"")), "{text}");

    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(store.load().await.unwrap(), state);
}

#[tokio::test]
async fn a_damaged_record_is_named_and_the_others_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let (store, _) = open(&path).await;
    let records = [1, 2].map(|n| nic(n, AddressState::Free { since: at(1) }));
    store.commit(&records.map(hostnic_core::ledger::Write::PutNic)).await.unwrap();
    drop(store);
    // redb does not check the pages that it reads, so only the record's own checksum finds this.
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<_> = bytes
        .windows(14)
        .enumerate()
        .filter(|(_, w)| w == b"\"id\":\"nic-2\",\"")
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 1] = b'x';
    }
    fs::write(&path, bytes).unwrap();

    let dump = RedbStore::dump(&path).unwrap();
    assert!(!dump.is_sound());
    let text = dump.to_string();
    assert!(text.contains("nics nic-1 {"), "{text}");
    assert!(text.contains("nics nic-2 DAMAGED: the checksum of nic-2 in nics is wrong"), "{text}");
}

#[tokio::test]
async fn what_is_no_store_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    assert_eq!(RedbStore::dump(&path).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(&path, "").unwrap();
    assert_eq!(RedbStore::dump(&path).unwrap_err().kind(), ErrorKind::Damaged);
    fs::write(&path, "no redb at all".repeat(1000)).unwrap();
    assert_eq!(RedbStore::dump(&path).unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was written beside it");
}
