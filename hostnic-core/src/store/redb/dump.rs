//! A store as text, for a person who wants to see what a node remembers.
//!
//! The file is read into memory and looked at there: nothing is locked or changed, so it works beside a daemon that runs,
//! and on a file that was kept aside.

use std::fmt::{self, Display};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use redb::backends::InMemoryBackend;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableHandle};

use crate::error::{Error, ErrorKind};

use super::failure::{Failure, guarded};
use super::file::builder;
use super::record::{self, Kind, STORE, Table};

/// A file that a daemon is writing to can be read half-way through a commit; the next look finds it whole.
const LOOKS: usize = 5;

/// A node's records are a few hundred kilobytes; whatever is larger than this is no store of ours.
const LARGEST: u64 = 256 << 20;

/// What a store's file holds, record by record. Made by [`RedbStore::dump`](super::RedbStore::dump).
///
/// Its `Display` is one line a record: table, key and text, parted by blanks. A record that is damaged says so in place of
/// its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDump {
    /// The records, by table and key.
    pub records: Vec<DumpedRecord>,
}

/// One record as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedRecord {
    /// The table: `store`, `intents`, `nics`, `leases` or `tombstones`.
    pub table: String,
    /// The key in that table.
    pub key: String,
    /// Its text, which is JSON; or what is wrong with it.
    pub text: Result<String, String>,
}

impl StoreDump {
    /// Whether every record is as it was written.
    pub fn is_sound(&self) -> bool {
        self.records.iter().all(|record| record.text.is_ok())
    }
}

impl Display for StoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for DumpedRecord { table, key, text } in &self.records {
            match text {
                Ok(text) => writeln!(f, "{table} {key} {text}")?,
                Err(damage) => writeln!(f, "{table} {key} DAMAGED: {damage}")?,
            }
        }
        Ok(())
    }
}

pub(super) fn dump(path: &Path) -> Result<StoreDump, Error> {
    let mut found = look(path);
    for _ in 1..LOOKS {
        match &found {
            Ok(dump) if dump.is_sound() => break,
            // The disk's answer does not change by asking again.
            Err(Failure::Disk(_)) => break,
            _ => found = look(path),
        }
    }
    found.map_err(|failure| told(failure, path))
}

fn told(failure: Failure, path: &Path) -> Error {
    let error = |kind| Error::new(kind, "dump", format_args!("the state store {}", path.display()));
    match failure {
        Failure::Disk(cause) if cause.kind() == io::ErrorKind::NotFound => error(ErrorKind::NotFound)
            .detail("there is no such file; a daemon that runs says in its log which one it uses")
            .source(cause),
        Failure::Damage(what) => error(ErrorKind::Damaged)
            .detail(format!("no record of it can be read: {what}; it was left as it is")),
        failure => failure.report("dump", path),
    }
}

fn look(path: &Path) -> Result<StoreDump, Failure> {
    let bytes = read(path)?;
    guarded(|| {
        let backend = InMemoryBackend::new();
        backend.set_len(bytes.len() as u64)?;
        backend.write(0, &bytes)?;
        let database = builder().create_with_backend(backend)?;
        let transaction = database.begin_read()?;
        let mut records = table(&transaction, STORE, |key, value| record::check("store", key, value))?;
        for kind in Kind::ALL {
            records.extend(table(&transaction, kind.table(), |key, value| {
                record::read(kind, key, value)?;
                record::check(kind.name(), key, value)
            })?);
        }
        Ok(StoreDump { records })
    })
}

fn table(
    transaction: &ReadTransaction,
    definition: Table,
    check: impl for<'a> Fn(&str, &'a [u8]) -> Result<&'a [u8], Failure>,
) -> Result<Vec<DumpedRecord>, Failure> {
    let mut records = Vec::new();
    for entry in transaction.open_table(definition)?.iter()? {
        let (key, value) = entry?;
        let text = match check(key.value(), value.value()) {
            Ok(json) => Ok(String::from_utf8_lossy(json).into_owned()),
            Err(failure) => Err(failure.to_string()),
        };
        let key = key.value().to_owned();
        records.push(DumpedRecord { table: definition.name().to_owned(), key, text });
    }
    Ok(records)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(Failure::Damage("it is empty".into()));
    }
    Ok(bytes)
}
