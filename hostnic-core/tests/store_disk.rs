//! A full disk is an error with a remedy, not damage, and loses nothing. How long a commit takes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/disk.rs"]
mod disk;
mod store_support;

use std::fs;
use std::path::Path;

use hostnic_core::ErrorKind;
use hostnic_core::ledger::{State, Write};
use hostnic_core::store::{Opened, RedbStore, StateStore};

use disk::{fill, with_small_disk};
use store_support::*;

#[test]
fn a_commit_on_a_full_disk_is_refused_and_works_again_when_there_is_space() {
    with_small_disk(8 << 20, async |directory| {
        let path = directory.join("node.redb");
        let filler = directory.join("filler");
        let mut state = populated(5);
        let (store, _) = open(&path).await;
        store.commit(&state.to_writes()).await.unwrap();
        fill(&filler);
        let mut n = 1000;
        let error = loop {
            let writes = [
                Write::PutIntent(intent(n)),
                Write::PutLease(Box::new(lease(n, hostnic_core::ledger::LeaseState::Active))),
            ];
            match store.commit(&writes).await {
                Ok(()) => state.apply(&writes),
                Err(error) => break error,
            }
            n += 1;
            assert!(n < 100_000, "the disk is never full");
        };
        assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain());
        assert!(error.to_string().contains("free some space"), "{error}");
        // As long as it is full, it says so, or tells what is durable.
        match store.load().await {
            Ok(loaded) => assert!(loaded == state),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain()),
        }
        fs::remove_file(&filler).unwrap();
        assert!(store.load().await.unwrap() == state);
        store.commit(&[Write::PutIntent(intent(1))]).await.unwrap();
        drop(store);
        let (store, opened) = open(&path).await;
        assert_eq!(opened, Opened::Existing);
        state.apply(&[Write::PutIntent(intent(1))]);
        assert!(store.load().await.unwrap() == state);
    });
}

#[test]
fn opening_on_a_full_disk_is_refused_or_works_and_keeps_every_record() {
    with_small_disk(8 << 20, async |directory| {
        let path = directory.join("node.redb");
        let (store, _) = open(&path).await;
        store.commit(&populated(5).to_writes()).await.unwrap();
        // As a kill leaves it: redb has to write when it opens such a file.
        let killed = fs::read(&path).unwrap();
        drop(store);
        fs::write(&path, killed).unwrap();
        fill(&directory.join("filler"));
        let error = RedbStore::open(directory.join("another.redb"), ours(), at(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain());
        match RedbStore::open(&path, ours(), at(1)).await {
            Ok((store, opened)) => {
                assert_eq!(opened, Opened::Existing);
                assert!(store.load().await.unwrap() == populated(5));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain()),
        }
        fs::remove_file(directory.join("filler")).unwrap();
        let (store, opened) = open(&path).await;
        assert_eq!(opened, Opened::Existing);
        assert!(store.load().await.unwrap() == populated(5));
        assert_eq!(open(&directory.join("another.redb")).await.1, Opened::New);
    });
}

#[tokio::test]
#[ignore = "measures; run it by hand, in release mode"]
async fn how_long_a_commit_takes() {
    for parent in [Path::new("/dev/shm"), &std::env::temp_dir()] {
        let directory = tempfile::tempdir_in(parent).unwrap();
        let path = directory.path().join("node.redb");
        let (store, _) = open(&path).await;
        let writes = populated(60).to_writes();
        store.commit(&writes).await.unwrap();
        let mut times = Vec::new();
        for n in 0..2000 {
            let one = [
                Write::PutNic(nic(
                    n % 60 + 1,
                    hostnic_core::ledger::AddressState::Free { since: at(n.into()) },
                )),
                Write::PutLease(Box::new(lease(n % 60 + 1, hostnic_core::ledger::LeaseState::Active))),
            ];
            let start = tokio::time::Instant::now();
            store.commit(&one).await.unwrap();
            times.push(start.elapsed());
        }
        times.sort();
        let bytes = fs::metadata(&path).unwrap().len();
        drop(store);
        let start = tokio::time::Instant::now();
        let (store, _) = open(&path).await;
        let opened = start.elapsed();
        assert_ne!(store.load().await.unwrap(), State::default());
        println!(
            "{}: commit median {:?}, 99 % {:?}, slowest {:?}; file {bytes} bytes; open {opened:?}",
            parent.display(),
            times[1000],
            times[1980],
            times[1999],
        );
    }
}
