//! The file beside a store that says which process has it, and how many commits that process was told were durable.
//!
//! redb keeps two roots and falls back to the older one when the newer does not check. After a kill in the middle of
//! a commit that is right; after damage it silently takes back a commit that was answered. Only something outside the
//! file can tell the two apart. This count is written after the commit and before its answer, so it is never ahead of
//! a sound store: not after a kill, because the page cache keeps the order, and not after a power cut, because redb
//! has synced by then.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use super::failure::Failure;

/// A locked lock file. The lock ends with the process at the latest.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// How many commits are known to be durable; 0 where nothing is known.
    commits: u64,
}

impl Lock {
    /// Takes the lock, without waiting.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        let locked = file.try_lock();
        let mut text = Vec::new();
        (&mut file).take(256).read_to_end(&mut text)?;
        let before = Line::parse(&text);
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Locked { pid: before.map(|line| line.pid) });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut lock = Self { file, commits: 0 };
        lock.note(before.map_or(0, |line| line.commits))?;
        Ok(lock)
    }

    /// How many commits are known to be durable; 0 where nothing is known.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Remembers that so many commits are durable.
    pub(super) fn note(&mut self, commits: u64) -> Result<(), Failure> {
        // One short write at one place: whoever is killed leaves the old line or the new one.
        self.file.write_all_at(Line { pid: std::process::id(), commits }.to_text().as_bytes(), 0)?;
        self.commits = commits;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that another thread is just starting has the descriptor too, until it executes its own program:
        // closing ours would not unlock. What fails here is unlocked a moment later.
        let _ = self.file.unlock();
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    pid: u32,
    commits: u64,
}

impl Line {
    fn to_text(&self) -> String {
        // Of fixed width, so that a new line covers the old one.
        let text = format!("pid {:010} commits {:020}", self.pid, self.commits);
        format!("{text} crc {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    /// Reads a line; `None` where it is not exactly what was written.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        let line = Self { pid: words.nth(1)?.parse().ok()?, commits: words.nth(1)?.parse().ok()? };
        (line.to_text() == text).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_or_not_at_all() {
        let line = Line { pid: 7, commits: u64::MAX };
        let text = line.to_text();
        assert_eq!(Line::parse(text.as_bytes()), Some(line));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(Line::parse(&changed), None, "{at}");
            assert_eq!(Line::parse(&text.as_bytes()[..at]), None, "{at}");
        }
    }
}
