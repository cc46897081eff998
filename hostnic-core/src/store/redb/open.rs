//! Opening: what is there, whose it is, and what becomes of it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::clock::BootTime;
use crate::ledger::State;

use super::Opened;
use super::aside::{keep_aside, parent, with_suffix};
use super::failure::Failure;
use super::file::{Contents, StoreFile};
use super::header::{Header, Kinship};
use super::history::after_reboot;
use super::identity::{BootId, HostId, Identity};
use super::lock::Lock;

pub(super) fn open(
    path: &Path,
    identity: &Identity,
    now: BootTime,
) -> Result<(StoreFile, Lock, Opened), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(parent(path))?;
    // Held from here to the end of the store's life, so that nobody opens what is being replaced.
    let mut lock = Lock::take(&with_suffix(path, ".lock"))?;
    let (file, commits, opened) = match StoreFile::open(path, lock.commits()) {
        Ok(None) => begin(path, identity, &lock, Opened::New)?,
        Ok(Some((file, contents))) => take_over(path, identity, now, &lock, file, contents)?,
        Err(Failure::Damage(what)) => replace_damaged(path, identity, &lock, &what)?,
        Err(failure) => return Err(failure),
    };
    lock.note(commits)?;
    Ok((file, lock, opened))
}

/// Whose the store at `path` is, where it is of this boot and sound.
pub(super) fn host(path: &Path, boot: &BootId) -> Result<Option<HostId>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let lock = Lock::take(&with_suffix(path, ".lock"))?;
    match StoreFile::open(path, lock.commits()) {
        Ok(Some((_, contents))) => {
            Ok(Some(contents.header).filter(|header| header.boot == *boot).map(|header| header.host))
        }
        Ok(None) | Err(Failure::Damage(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A sound store: ours, or somebody's before us.
fn take_over(
    path: &Path,
    identity: &Identity,
    now: BootTime,
    lock: &Lock,
    file: StoreFile,
    contents: Contents,
) -> Result<(StoreFile, u64, Opened), Failure> {
    match contents.header.kinship(identity) {
        Kinship::Ours => Ok((file, contents.commits, Opened::Existing)),
        Kinship::AnotherBoot => {
            let history = Contents {
                header: contents.header.in_boot(identity.boot.clone()),
                commits: contents.commits.saturating_add(1),
                state: after_reboot(contents.state, now),
            };
            file.replace(&history)?;
            Ok((file, history.commits, Opened::AnotherBoot))
        }
        Kinship::AnotherHost => {
            drop(file);
            let kept_aside = keep_aside(path, "other-host")?;
            tracing::warn!(
                path = %path.display(),
                kept_aside = %kept_aside.display(),
                theirs = %contents.header.host,
                ours = %identity.host,
                "the state store is another host's; it is kept aside and a new one begins"
            );
            begin(path, identity, lock, Opened::AnotherHost { kept_aside })
        }
    }
}

fn replace_damaged(
    path: &Path,
    identity: &Identity,
    lock: &Lock,
    what: &str,
) -> Result<(StoreFile, u64, Opened), Failure> {
    let kept_aside = keep_aside(path, "damaged")?;
    tracing::error!(
        path = %path.display(),
        kept_aside = %kept_aside.display(),
        damage = what,
        "the state store is damaged and a new one begins; NICs and leases are found again in the cloud and the kernel; look \
         for errors of the disk or the memory, and send the file that was kept aside with a report if there are none"
    );
    begin(path, identity, lock, Opened::Damaged { kept_aside })
}

fn begin(
    path: &Path,
    identity: &Identity,
    lock: &Lock,
    opened: Opened,
) -> Result<(StoreFile, u64, Opened), Failure> {
    // The count goes on from the store before, so that an old copy put back in its place is recognised.
    let contents = Contents {
        header: Header::new(identity),
        commits: lock.commits().saturating_add(1),
        state: State::default(),
    };
    let file = StoreFile::create(path, &contents)?;
    Ok((file, contents.commits, opened))
}
