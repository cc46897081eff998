//! The last errors that a person should know of: few, each told once with how often it came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hostnic_core::agent::FailureListener;
use hostnic_core::layer::{Answer, Around, Call, Outcome};
use hostnic_core::{Error, ErrorKind, Result};

/// How many different errors are kept.
const KEPT: usize = 32;

/// An error, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its kind, in one word.
    pub(crate) kind: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) subject: String,
    /// What was said about it when it came last, its causes included.
    pub(crate) message: String,
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
    pub(crate) times: u64,
}

/// The last errors, the latest at the end.
#[derive(Debug, Default)]
pub(crate) struct LastErrors(Mutex<VecDeque<Seen>>);

impl LastErrors {
    fn ring(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        // Entries are put in and taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an error, unless it only says that somebody changed their mind.
    pub(crate) fn note(&self, error: &Error) {
        if error.kind() != ErrorKind::Cancelled {
            self.note_at(error, SystemTime::now());
        }
    }

    fn note_at(&self, error: &Error, now: SystemTime) {
        let (kind, operation) = (Outcome::Failed(error.kind()).label(), error.operation());
        let same =
            |seen: &Seen| (seen.kind, seen.operation, &*seen.subject) == (kind, operation, error.subject());
        let message = error.chain().to_string();
        let mut ring = self.ring();
        let known = ring.iter().position(same).and_then(|position| ring.remove(position));
        let seen = match known {
            Some(seen) => Seen { message, last: now, times: seen.times + 1, ..seen },
            None => Seen {
                kind,
                operation,
                subject: error.subject().to_owned(),
                message,
                first: now,
                last: now,
                times: 1,
            },
        };
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(seen);
    }

    /// All of them, the latest first.
    pub(crate) fn latest(&self) -> Vec<Seen> {
        self.ring().iter().rev().cloned().collect()
    }
}

impl FailureListener for LastErrors {
    fn failed(&self, error: &Error) {
        self.note(error);
    }
}

/// Notes the errors of a provider.
#[derive(Debug)]
pub(super) struct NoteErrors(Arc<LastErrors>);

impl NoteErrors {
    pub(super) fn new(errors: Arc<LastErrors>) -> Self {
        Self(errors)
    }
}

impl Around for NoteErrors {
    async fn around<T, F>(&self, _: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let result = work.await;
        if let Err(error) = &result {
            self.0.note(error);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn error(subject: impl std::fmt::Display, detail: &str) -> Error {
        Error::new(ErrorKind::Transient, "attach NICs", subject).detail(detail)
    }

    #[test]
    fn an_error_that_comes_again_is_told_once_with_what_was_said_last() {
        let errors = LastErrors::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        errors.note_at(&error("nic-1", "slow"), at(1));
        errors.note_at(&error("nic-2", "slow"), at(2));
        errors.note_at(&error("nic-1", "slower"), at(3));
        let latest = errors.latest();
        assert_eq!(latest.len(), 2);
        assert_eq!((latest[0].times, latest[0].first, latest[0].last), (2, at(1), at(3)));
        assert_eq!(latest[0].message, "attach NICs nic-1: slower");
        assert_eq!(latest[1].subject, "nic-2");
    }

    #[test]
    fn only_the_latest_are_kept_and_what_was_called_off_is_none() {
        let errors = LastErrors::default();
        errors.note(&Error::new(ErrorKind::Cancelled, "add", "pod"));
        assert_eq!(errors.latest(), []);
        for number in 0..1000 {
            errors.note(&error(number, ""));
        }
        let latest = errors.latest();
        assert_eq!(latest.len(), KEPT);
        assert_eq!((&*latest[0].subject, &*latest[KEPT - 1].subject), ("999", "968"));
    }
}
