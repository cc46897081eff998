//! What can go wrong with a store, sorted by what is to be done about it.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, ErrorKind};

/// Why a store could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What the file holds cannot be trusted.
    #[error("{0}")]
    Damage(String),
    /// The disk or the file system said no; the file may be as good as ever.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// Another process, or another part of this one, has it open.
    #[error("another daemon has it open")]
    Locked {
        /// That process, as far as it is known.
        pid: Option<u32>,
    },
    /// Only later versions may read it.
    #[error("it was written by version {written_by}, in a format that this version cannot read")]
    TooNew { written_by: String, readable_from: u32 },
    /// A record that cannot be written as text; nothing was changed.
    #[error("a record cannot be written: {0}")]
    Unwritable(#[source] serde_json::Error),
}

impl Failure {
    /// For errors of serde: `what` has the right checksum and is none of ours all the same.
    pub(super) fn unreadable(what: &str) -> impl FnOnce(serde_json::Error) -> Self {
        move |error| Self::Damage(format!("{what} cannot be read: {error}"))
    }

    /// What a person reads, about the store at `path`.
    pub(super) fn report(self, operation: &'static str, path: &Path) -> Error {
        let error = |kind| Error::new(kind, operation, format_args!("the state store {}", path.display()));
        match self {
            Self::Damage(what) => error(ErrorKind::Damaged).detail(format!(
                "{what}; restart the daemon: it keeps the damaged file aside and rebuilds its records from the cloud and the \
                 kernel"
            )),
            Self::Disk(cause) => error(disk_kind(&cause)).detail(disk_remedy(&cause)).source(cause),
            Self::Locked { pid } => {
                let who = pid.map_or_else(|| "another daemon".into(), holder);
                error(ErrorKind::Conflict)
                    .detail(format!("{who} has it open; stop that one first, or give this one another directory"))
            }
            Self::TooNew { written_by, readable_from } => error(ErrorKind::Unsupported).detail(format!(
                "it was written by hostnic {written_by} and needs a version that reads format {readable_from}; this is \
                 {}, which reads {}; install hostnic {written_by} or later, or, with no pod left on this node, remove the file",
                env!("CARGO_PKG_VERSION"),
                super::header::FORMAT,
            )),
            Self::Unwritable(cause) => error(ErrorKind::Invalid)
                .detail("a record holds what cannot be written; nothing was changed")
                .source(cause),
        }
    }
}

/// The process that has the store open, by the name under which it runs, and its pid.
fn holder(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let name = name.map_or_else(|_| "another daemon".into(), |name| name.trim().to_owned());
    format!("{name} (pid {pid})")
}

fn disk_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput => ErrorKind::Invalid,
        // Our own refusal to follow a symbolic link in place of the file.
        _ if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => ErrorKind::Invalid,
        _ => ErrorKind::Transient,
    }
}

fn disk_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "the file system is full; nothing is lost; free some space, then it is tried again"
        }
        _ if disk_kind(error) == ErrorKind::Invalid => {
            "it cannot be written there; run as root, or choose another directory for the state"
        }
        _ => "the disk did not do it; nothing is lost; look at the kernel's log for the disk's errors",
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        match error {
            // A file that ends too early, or whose first bytes are not redb's.
            redb::Error::Io(e)
                if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Self::Damage(e.to_string())
            }
            redb::Error::Io(e) => Self::Disk(e),
            redb::Error::PreviousIo => Self::Disk(io::Error::other(error.to_string())),
            redb::Error::DatabaseAlreadyOpen => Self::Locked { pid: None },
            other => Self::Damage(other.to_string()),
        }
    }
}

/// The error types of redb's steps all say the same as its common one.
macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
from_redb!(DatabaseError TransactionError TableError StorageError CommitError SetDurabilityError);

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of the calling thread would be caught, because the thread reads or writes a store's file and redb gives
/// up on damaged ones by panicking. It is then told as damage; a program's panic hook need not print it as well.
pub fn catches_panics() -> bool {
    CATCHES.get()
}

/// Runs redb. On a file with flipped bytes it may panic, which is damage like any other.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let outer = CATCHES.replace(true);
    // Whatever `work` borrowed is thrown away and read anew from the file, so nothing half-changed is seen.
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(outer);
    done.unwrap_or_else(|panic| Err(Failure::Damage(format!("redb gave up on it: {}", message(&*panic)))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}
