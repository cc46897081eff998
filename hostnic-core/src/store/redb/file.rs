//! One redb file, checked when it is opened and trusted from then on.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use serde::Serialize;

use crate::ledger::State;

use super::failure::{Failure, guarded};
use super::header::Header;
use super::record::{self, Change, Kind, STORE};

/// The keys of [`STORE`].
const HEADER: &str = "header";
const COMMITS: &str = "commits";

/// What a node usually records fits in; redb's own default is 1 GiB. Records are read from memory, and from the file only
/// when it is opened.
const CACHE_BYTES: usize = 1 << 20;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) header: Header,
    /// How many commits led to it, those of the stores that it replaced included.
    pub(super) commits: u64,
    pub(super) state: State,
}

/// An open redb file.
#[derive(Debug)]
pub(super) struct StoreFile {
    /// `None` only while it is dropped.
    database: Option<Database>,
}

impl StoreFile {
    /// Opens the file at `path` and checks all of it; `None` where there is none.
    ///
    /// `commits` is how many commits are known to be in it.
    pub(super) fn open(path: &Path, commits: u64) -> Result<Option<(Self, Contents)>, Failure> {
        let file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        make_private(&file)?;
        guarded(|| {
            let mut database = builder().create_file(file)?;
            let clean = database.check_integrity()?;
            // From here on a panic inside redb's own drop is caught too.
            let opened = Self { database: Some(database) };
            let contents = opened.read()?;
            if contents.commits < commits {
                return Err(Failure::Damage(format!(
                    "it holds {} commits of the {commits} that were made",
                    contents.commits
                )));
            }
            // What redb repaired is what was there only if nothing newer can have been taken back.
            if !clean && (commits == 0 || contents.commits != commits) {
                return Err(Failure::Damage("redb's integrity check had to repair it".into()));
            }
            Ok(Some((opened, contents)))
        })
    }

    /// Begins a file at `path` with these contents; replaces what is there.
    ///
    /// It is made under another name first, so that nobody ever finds one that was only begun.
    pub(super) fn create(path: &Path, contents: &Contents) -> Result<Self, Failure> {
        let begun = super::aside::with_suffix(path, ".new");
        match std::fs::remove_file(&begun) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = options().create_new(true).open(&begun)?;
        let created = guarded(|| {
            let created = Self { database: Some(builder().create_file(file)?) };
            created.replace(contents)?;
            Ok(created)
        })?;
        std::fs::rename(&begun, path)?;
        File::open(super::aside::parent(path))?.sync_all()?;
        Ok(created)
    }

    /// Everything in it.
    pub(super) fn contents(&self) -> Result<Contents, Failure> {
        guarded(|| self.read())
    }

    /// Makes changes durable, all or none, and counts them as commit number `commits`.
    pub(super) fn commit(&self, changes: &[Change], commits: u64) -> Result<(), Failure> {
        guarded(|| {
            let transaction = self.begin()?;
            for kind in Kind::ALL {
                let changes = changes.iter().filter(|change| change.kind == kind);
                // A table that is opened is written, too.
                if changes.clone().next().is_none() {
                    continue;
                }
                let mut table = transaction.open_table(kind.table())?;
                for Change { key, value, .. } in changes {
                    match value {
                        Some(value) => drop(table.insert(key.as_str(), value.as_slice())?),
                        None => drop(table.remove(key.as_str())?),
                    }
                }
            }
            put(&transaction, COMMITS, &commits)?;
            Ok(transaction.commit()?)
        })
    }

    /// Makes `contents` all that the file holds, in one step.
    pub(super) fn replace(&self, contents: &Contents) -> Result<(), Failure> {
        guarded(|| {
            let transaction = self.begin()?;
            put(&transaction, HEADER, &contents.header)?;
            put(&transaction, COMMITS, &contents.commits)?;
            for kind in Kind::ALL {
                transaction.delete_table(kind.table())?;
                transaction.open_table(kind.table())?;
            }
            for write in contents.state.to_writes() {
                let Change { kind, key, value } = Change::of(&write)?;
                if let Some(value) = value {
                    transaction.open_table(kind.table())?.insert(key.as_str(), value.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        })
    }

    fn begin(&self) -> Result<WriteTransaction, Failure> {
        let mut transaction = self.database()?.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }

    fn read(&self) -> Result<Contents, Failure> {
        let transaction = self.database()?.begin_read()?;
        let header = get(&transaction, HEADER, |bytes| Header::read(record::check("store", HEADER, bytes)?))?;
        let commits = get(&transaction, COMMITS, |bytes| record::unseal("store", COMMITS, bytes))?;
        let mut state = State::default();
        for kind in Kind::ALL {
            for entry in transaction.open_table(kind.table())?.iter()? {
                let (key, value) = entry?;
                state.apply(&[record::read(kind, key.value(), value.value())?]);
            }
        }
        Ok(Contents { header, commits, state })
    }

    fn database(&self) -> Result<&Database, Failure> {
        self.database.as_ref().ok_or_else(|| Failure::Damage("it is closed".into()))
    }
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        let database = self.database.take();
        // redb writes when it is closed. What was committed is safe already.
        if let Err(failure) = guarded(|| {
            drop(database);
            Ok(())
        }) {
            tracing::warn!(%failure, "the state store could not be closed cleanly; it is checked when it is opened");
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    options
}

pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Takes a file for our own use only.
fn make_private(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn put(transaction: &WriteTransaction, key: &str, value: &impl Serialize) -> Result<(), Failure> {
    let value = record::seal("store", key, value)?;
    transaction.open_table(STORE)?.insert(key, value.as_slice())?;
    Ok(())
}

fn get<T>(
    transaction: &ReadTransaction,
    key: &str,
    read: impl FnOnce(&[u8]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match transaction.open_table(STORE)?.get(key)? {
        Some(value) => read(value.value()),
        None => Err(Failure::Damage(format!("{key} is missing"))),
    }
}
