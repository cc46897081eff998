//! Damaged files and full disks: never a panic, never a wrong record.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod store_support;

use std::fs;
use std::path::{Path, PathBuf};

use hostnic_core::ledger::{State, Write};
use hostnic_core::store::{Opened, StateStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use store_support::*;

/// One way to spoil a file.
#[derive(Debug, Clone)]
enum Spoil {
    Flip { at: prop::sample::Index, bits: u8 },
    FlipInHeader { at: usize, bits: u8 },
    Zero { at: prop::sample::Index, length: usize },
    ZeroPage(prop::sample::Index),
    Truncate(prop::sample::Index),
    Append(usize),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let any_index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (any_index(), 1..=u8::MAX).prop_map(|(at, bits)| Spoil::Flip { at, bits }),
        4 => (0..320usize, 1..=u8::MAX).prop_map(|(at, bits)| Spoil::FlipInHeader { at, bits }),
        2 => (any_index(), 1..9000usize).prop_map(|(at, length)| Spoil::Zero { at, length }),
        2 => any_index().prop_map(Spoil::ZeroPage),
        1 => any_index().prop_map(Spoil::Truncate),
        1 => (1..100_000usize).prop_map(Spoil::Append),
    ]
}

/// Where something is written: the rest of the file is empty space, where nothing can be spoilt.
fn used(file: &[u8]) -> Vec<usize> {
    (0..file.len() / 4096)
        .filter(|page| file[page * 4096..(page + 1) * 4096].iter().any(|b| *b != 0))
        .collect()
}

impl Spoil {
    fn apply(&self, file: &mut Vec<u8>) {
        let pages = used(file);
        if pages.is_empty() {
            // Truncated to nothing already.
            return;
        }
        let place = |at: &prop::sample::Index| {
            let at = at.index(pages.len() * 4096);
            pages[at / 4096] * 4096 + at % 4096
        };
        match self {
            Self::Flip { at, bits } => {
                let at = place(at);
                file[at] ^= bits;
            }
            Self::FlipInHeader { at, bits } => file[*at] ^= bits,
            Self::Zero { at, length } => {
                let at = place(at);
                let end = (at + length).min(file.len());
                file[at..end].fill(0);
            }
            Self::ZeroPage(at) => {
                let page = place(at) / 4096 * 4096;
                file[page..page + 4096].fill(0);
            }
            Self::Truncate(at) => file.truncate(at.index(file.len())),
            Self::Append(length) => file.resize(file.len() + length, 0xa5),
        }
    }
}

/// A populated store's files, as a `kill -9` leaves them and as an orderly end leaves them.
async fn images(directory: &Path) -> (State, [(Vec<u8>, Vec<u8>); 2]) {
    let path = directory.join("node.redb");
    let lock = directory.join("node.redb.lock");
    let read = || (fs::read(&path).unwrap(), fs::read(&lock).unwrap());
    let (store, _) = open(&path).await;
    let mut state = State::default();
    // Several commits, so that there are older roots to fall back to.
    for n in 1..=60 {
        let mut writes = populated(n).to_writes();
        writes.push(Write::DropIntent(intent(n / 2).token));
        store.commit(&writes).await.unwrap();
        state.apply(&writes);
    }
    let killed = read();
    drop(store);
    (state, [killed, read()])
}

#[test]
fn a_spoilt_file_is_read_exactly_or_kept_aside() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (state, images) = runtime.block_on(images(directory.path()));
    let mut runner = TestRunner::new(Config {
        cases: scaled(1000),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    });
    let found = std::cell::RefCell::new([0; 2]);
    let strategy = (prop::bool::ANY, prop::collection::vec(spoil(), 1..3));
    runner
        .run(&strategy, |(orderly, spoils)| {
            let (mut file, lock) = images[usize::from(orderly)].clone();
            spoils.iter().for_each(|spoil| spoil.apply(&mut file));
            let case = tempfile::tempdir_in(&directory).unwrap();
            let path = case.path().join("node.redb");
            fs::write(&path, file).unwrap();
            fs::write(case.path().join("node.redb.lock"), lock).unwrap();
            runtime.block_on(async {
                let (store, opened) = open(&path).await;
                let loaded = store.load().await.unwrap();
                match opened {
                    Opened::Existing => {
                        found.borrow_mut()[0] += 1;
                        prop_assert!(loaded == state, "other records were read");
                    }
                    Opened::Damaged { kept_aside } => {
                        found.borrow_mut()[1] += 1;
                        prop_assert!(kept_aside.exists());
                        prop_assert_eq!(&loaded, &State::default());
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                // Whatever it was, it can be used.
                store.commit(&[Write::PutIntent(intent(7777))]).await.unwrap();
                prop_assert_eq!(store.load().await.unwrap().intents.len(), loaded.intents.len() + 1);
                Ok(())
            })
        })
        .unwrap();
    let [exact, damaged] = found.into_inner();
    println!("spoilt files: {exact} read exactly, {damaged} kept aside");
    assert!(exact > 0 && damaged > 0);
}

#[tokio::test]
async fn an_older_copy_put_back_in_its_place_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    open(&path).await.0.commit(&populated(1).to_writes()).await.unwrap();
    let older = fs::read(&path).unwrap();
    open(&path).await.0.commit(&populated(2).to_writes()).await.unwrap();
    fs::write(&path, older).unwrap();
    let kept_aside = PathBuf::from(format!("{}.damaged-1", path.display()));
    assert_eq!(open(&path).await.1, Opened::Damaged { kept_aside });
}

#[tokio::test]
async fn without_its_count_a_sound_store_is_believed() {
    for count in [None, Some("nonsense"), Some("")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.redb");
        let lock = directory.path().join("node.redb.lock");
        open(&path).await.0.commit(&populated(2).to_writes()).await.unwrap();
        fs::remove_file(&lock).unwrap();
        if let Some(count) = count {
            fs::write(&lock, count).unwrap();
        }
        let (store, opened) = open(&path).await;
        assert_eq!(opened, Opened::Existing);
        assert_eq!(store.load().await.unwrap(), populated(2));
    }
}

#[tokio::test]
async fn a_file_that_was_only_begun_and_an_empty_one_are_no_stores() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    fs::write(directory.path().join("node.redb.new"), "begun").unwrap();
    assert_eq!(open(&path).await.1, Opened::New);
    fs::write(&path, "").unwrap();
    assert!(matches!(open(&path).await.1, Opened::Damaged { .. }));
}

#[tokio::test]
async fn a_file_that_goes_bad_while_it_is_used_is_an_error_and_never_an_empty_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.redb");
    let (store, _) = open(&path).await;
    store.commit(&populated(2).to_writes()).await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(0).unwrap();
    file.set_len(length).unwrap();
    // redb may still know all of it from its cache; what must not be is wrong data.
    let mut refused = false;
    for n in 0..20 {
        let result = store.commit(&[Write::PutIntent(intent(n))]).await;
        refused |= result.is_err_and(|e| e.kind() == hostnic_core::ErrorKind::Damaged);
        match store.load().await {
            Ok(state) => assert_eq!(state.nics, populated(2).nics),
            Err(error) => {
                assert_eq!(error.kind(), hostnic_core::ErrorKind::Damaged, "{}", error.chain());
                refused = true;
            }
        }
    }
    drop(store);
    let (store, opened) = open(&path).await;
    match opened {
        Opened::Damaged { .. } => assert_eq!(store.load().await.unwrap(), State::default()),
        other => assert!(!refused, "{other:?} after it was refused"),
    }
}
