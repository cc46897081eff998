//! What can happen to a store between two starts of its daemon.

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::node::Files;

/// One kind of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The file is removed, with or without the count beside it.
    Deleted { count: bool },
    /// The file ends so early.
    TruncatedTo(u64),
    /// The file ends early, somewhere.
    Truncated,
    /// One to eight bytes are others.
    Flipped,
    /// All of the file is zeros.
    Zeros,
    /// A page that was written is zeros.
    ZeroPage,
    /// A digit of a record is another, and redb knows of nothing wrong: it was so when it was written.
    Digit,
    /// The records say that they are of another boot; see [`Files`] for who opens it.
    AnotherBoot,
    /// The records are another host's: a copied disk.
    AnotherHost,
    /// An older copy is put back, without the count that went with it.
    Older,
}

/// Chance that can be repeated: splitmix64.
#[derive(Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

const PAGE: usize = 4096;

/// The pages where something is written: the rest is empty space, where nothing can be damaged.
fn written(file: &[u8]) -> Vec<usize> {
    let pages = file.chunks(PAGE).enumerate();
    pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(number, _)| number).collect()
}

impl Damage {
    pub(crate) fn apply(&self, files: &Files, draw: &mut Draw) {
        let path = files.store();
        let mut file = fs::read(&path).unwrap();
        match self {
            Self::Deleted { count } => {
                fs::remove_file(&path).unwrap();
                if *count {
                    fs::remove_file(files.count()).unwrap();
                }
                return;
            }
            Self::Digit => return change_digit(&path, draw),
            Self::AnotherBoot | Self::AnotherHost => return,
            Self::Older => file = files.older().to_vec(),
            Self::TruncatedTo(length) => file.truncate(usize::try_from(*length).unwrap()),
            Self::Truncated => file.truncate(draw.below(file.len())),
            Self::Flipped => flip(&mut file, draw),
            Self::Zeros => file.fill(0),
            Self::ZeroPage => {
                let pages = written(&file);
                let page = pages[draw.below(pages.len())] * PAGE;
                let end = (page + PAGE).min(file.len());
                file[page..end].fill(0);
            }
        }
        fs::write(&path, file).unwrap();
    }
}

/// A quarter of the flips meets the file's header, which is small and decides much.
fn flip(file: &mut [u8], draw: &mut Draw) {
    let pages = written(file);
    for _ in 0..1 + draw.below(8) {
        let at = match draw.below(4) {
            0 => draw.below(320),
            _ => (pages[draw.below(pages.len())] * PAGE + draw.below(PAGE)).min(file.len() - 1),
        };
        file[at] ^= u8::try_from(1 + draw.below(255)).unwrap();
    }
}

/// Writes a NIC or a lease anew, by redb itself, with another digit somewhere: in an address, a MAC, a time.
fn change_digit(path: &Path, draw: &mut Draw) {
    let name = ["nics", "leases"][draw.below(2)];
    let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(name);
    let database = Database::open(path).unwrap();
    let records: Vec<(String, Vec<u8>)> = {
        let read = database.begin_read().unwrap();
        let entries = read.open_table(table).unwrap();
        let owned = |(key, value): (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, &[u8]>)| {
            (key.value().to_owned(), value.value().to_owned())
        };
        entries.iter().unwrap().map(|entry| owned(entry.unwrap())).collect()
    };
    let (key, mut value) = records[draw.below(records.len())].clone();
    // After the checksum.
    let digits: Vec<usize> = (4..value.len()).filter(|at| value[*at].is_ascii_digit()).collect();
    let digit = &mut value[digits[draw.below(digits.len())]];
    *digit = b'0' + (*digit - b'0' + 1 + u8::try_from(draw.below(9)).unwrap()) % 10;
    let write = database.begin_write().unwrap();
    write.open_table(table).unwrap().insert(key.as_str(), value.as_slice()).unwrap();
    write.commit().unwrap();
}
