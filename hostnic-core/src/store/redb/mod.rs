//! A store that survives `kill -9` at any moment, on redb.
//!
//! Where it stands: on a tmpfs it lives as long as leases do, which is until the node's next boot; on a disk it also
//! tells the next boot which NICs there are.
//!
//! How it is checked: redb's integrity check at open, a checksum in each record ([`record`]), and a count of commits
//! in a second file ([`lock`]), because redb answers some damage by going back to an older commit.

mod aside;
mod dump;
mod failure;
mod file;
mod header;
mod history;
mod identity;
mod lock;
mod open;
mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tokio::sync::Mutex;

use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{State, Write};

use super::StateStore;
use failure::Failure;
use file::StoreFile;
use lock::Lock;
use record::Change;

pub use dump::{DumpedRecord, StoreDump};
pub use failure::catches_panics;
pub use identity::{BootId, HostId, Identity};

/// What [`RedbStore::open`] found.
///
/// After anything but [`Existing`](Self::Existing) there may be NICs and pods that no record knows: the agent
/// compares with the cloud and the kernel before it gives anything away.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Opened {
    /// Records of this boot: all of them are there.
    Existing,
    /// There was none; it begins empty.
    New,
    /// Records of this host from before its last boot. Leases and tombstones are dropped, their addresses cool; NICs
    /// and create intents are kept, and all their times begin again now.
    AnotherBoot,
    /// Records of another host (a copied disk, say); it begins empty.
    AnotherHost {
        /// Where the other host's file is now.
        kept_aside: PathBuf,
    },
    /// Records that cannot be trusted; it begins empty.
    Damaged {
        /// Where the damaged file is now.
        kept_aside: PathBuf,
    },
}

/// A [`StateStore`] in one redb file.
///
/// It is the file's only user: a second one is refused. Beside `<path>` stand `<path>.lock`, with the daemon's pid,
/// and the last few of `<path>.damaged-<n>` and `<path>.other-host-<n>`. All may be removed while no daemon runs.
///
/// redb blocks, so its work runs on tokio's blocking threads; a paused clock does not advance meanwhile. On a tmpfs, where
/// nothing waits for a disk, a commit takes no longer than to hand it to a thread and back, so it is made at once. A commit
/// whose future is dropped before it began is not made, and one that has begun is; the next one waits for it.
///
/// The program must be built with unwinding panics: redb can panic on a damaged file.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> hostnic_core::Result<()> {
/// use std::sync::Arc;
/// use hostnic_core::clock::{Clock, SystemClock};
/// use hostnic_core::ledger::Ledger;
/// use hostnic_core::store::{BootId, Identity, Opened, RedbStore};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let identity = Identity { boot: BootId::of_this_boot()?, host: "i-abcd1234".parse()? };
/// let path = directory.path().join("node.redb");
/// let (store, opened) = RedbStore::open(path, identity, SystemClock.now()).await?;
/// assert_eq!(opened, Opened::New);
/// let ledger = Ledger::open(Arc::new(store)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedbStore {
    /// Handed to the blocking thread for each piece of work, so that works keep their order even when their futures
    /// are dropped.
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Nothing waits for a disk.
    in_memory: bool,
    /// `None` after a failure: redb has to read its file again then.
    file: Option<StoreFile>,
    // Dropped after the file: nobody else may open it before it is closed.
    lock: Lock,
}

impl RedbStore {
    /// Opens the store at `path`, or begins one there. Its directory is made where it is missing, for its owner only.
    ///
    /// `now` is the time that records of an earlier boot begin again with. Where the future is dropped, opening goes
    /// on and what was opened is closed again.
    ///
    /// # Errors
    /// - `Conflict`: another daemon has it open; the error says its pid where that is known.
    /// - `Unsupported`: only a later version may read it; the error says which.
    /// - `Transient`: the disk is full or fails; nothing is lost.
    /// - `Invalid`: it cannot be written there at all.
    ///
    /// Damage is no error: see [`Opened::Damaged`].
    pub async fn open(path: impl Into<PathBuf>, identity: Identity, now: BootTime) -> Result<(Self, Opened)> {
        let path = path.into();
        let work = tokio::task::spawn_blocking(move || match open::open(&path, &identity, now) {
            Ok((file, lock, opened)) => {
                let in_memory = is_in_memory(&path);
                Ok((Inner { path, in_memory, file: Some(file), lock }, opened))
            }
            Err(failure) => Err(failure.report("open", &path)),
        });
        let (inner, opened) = work.await.map_err(interrupted)??;
        Ok((Self { inner: Arc::new(Mutex::new(inner)) }, opened))
    }

    /// What the store at `path` holds, as text, for a person to read.
    ///
    /// Nothing is locked or changed: it works beside a daemon that runs, and on a file that was kept aside. A damaged record
    /// is told as such, and the others are told all the same. Reads the disk, and blocks meanwhile.
    ///
    /// # Errors
    /// - `Damaged`: redb cannot read the file at all.
    /// - `NotFound`: there is no such file.
    /// - `Invalid`, `Transient`: it is not for this user, or the disk fails.
    pub fn dump(path: &Path) -> Result<StoreDump> {
        dump::dump(path)
    }

    /// Whose the store at `path` is, for a program that cannot find out in another way which host this is. `None` where
    /// there is no store, where it is from before this boot, and where it is damaged. Changes nothing.
    ///
    /// # Errors
    /// Those of [`RedbStore::open`].
    pub async fn host(path: impl Into<PathBuf>, boot: BootId) -> Result<Option<HostId>> {
        let path = path.into();
        let work = tokio::task::spawn_blocking(move || {
            open::host(&path, &boot).map_err(|failure| failure.report("open", &path))
        });
        work.await.map_err(interrupted)?
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let mut inner = self.inner.clone().lock_owned().await;
        if inner.in_memory {
            return inner.run(operation, work);
        }
        let work = tokio::task::spawn_blocking(move || inner.run(operation, work));
        work.await.map_err(interrupted)?
    }
}

/// Whether a file is kept in memory alone. To be sure, one of which that cannot be told is not.
fn is_in_memory(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

impl Inner {
    fn run<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T> {
        work(self).map_err(|failure| {
            // A record that cannot be written never reached redb.
            if !matches!(failure, Failure::Unwritable(_)) {
                self.file = None;
            }
            failure.report(operation, &self.path)
        })
    }

    /// The file, opened and checked again where it failed before.
    fn file(&mut self) -> Result<&StoreFile, Failure> {
        let file = match self.file.take() {
            Some(file) => file,
            None => match StoreFile::open(&self.path, self.lock.commits())? {
                Some((file, contents)) => {
                    self.lock.note(contents.commits)?;
                    file
                }
                None => return Err(Failure::Damage("somebody removed it".into())),
            },
        };
        Ok(self.file.insert(file))
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Failure> {
        // Opening the file again may raise the count, so the file comes first.
        self.file()?;
        let commits = self.lock.commits().saturating_add(1);
        self.file()?.commit(changes, commits)?;
        // The commit itself is durable; only the guard against going back behind it is missing.
        if let Err(failure) = self.lock.note(commits) {
            tracing::warn!(%failure, path = %self.path.display(), "the count beside the state store cannot be written");
        }
        Ok(())
    }
}

#[async_trait]
impl StateStore for RedbStore {
    async fn load(&self) -> Result<State> {
        self.run("read", |inner| Ok(inner.file()?.contents()?.state)).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let changes: Result<Vec<_>, _> = writes.iter().map(Change::of).collect();
        self.run("write", move |inner| inner.commit(&changes?)).await
    }
}

fn interrupted(error: tokio::task::JoinError) -> Error {
    let kind = if error.is_panic() { ErrorKind::Internal } else { ErrorKind::Cancelled };
    Error::new(kind, "use", "the state store")
        .detail("the work on it was ended before it was done")
        .effect_unknown()
        .source(error)
}
