//! The tag of what we made: put on in calls of its own, and again where that failed. Nothing waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, Result};
use crate::id::NicId;
use crate::ledger::{NicRecord, NicState};
use crate::point::Point;

use super::Shared;
use super::driver::Done;

/// How long NICs are gathered, and attached first.
const GATHER: Duration = Duration::from_secs(5);

/// The pause after a call that failed; doubled from then on.
const PAUSE: Duration = Duration::from_secs(10);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// When to put the tag on what.
#[derive(Debug, Default)]
pub(super) struct Tags {
    done: BTreeSet<NicId>,
    since: Option<BootTime>,
    failures: u32,
    next: BootTime,
    calling: bool,
}

impl Tags {
    /// The NICs to be tagged now, and otherwise when to look again. After a start that is all of them: which carry the tag is
    /// not remembered.
    pub(super) fn due(&mut self, shared: &Shared, batch: u32) -> (Vec<NicId>, Option<BootTime>) {
        if self.calling || shared.config.tag.is_none() || shared.parts.tagging.is_none() {
            return (Vec::new(), None);
        }
        let made = |nic: &&NicRecord| nic.state == NicState::Ready && !nic.role.is_lent();
        let (bare, done) = shared.parts.ledger.read(|state| {
            let bare =
                state.nics.values().filter(made).map(|nic| &nic.id).filter(|id| !self.done.contains(*id));
            let done = self.done.iter().filter(|id| state.nics.contains_key(*id));
            (bare.cloned().collect::<Vec<_>>(), done.cloned().collect())
        });
        self.done = done;
        let now = shared.now();
        if bare.is_empty() {
            self.since = None;
            return (bare, None);
        }
        let at = self.since.get_or_insert(now).after(GATHER).max(self.next);
        if at > now {
            return (Vec::new(), Some(at));
        }
        self.calling = true;
        let most = usize::try_from(batch.max(1)).unwrap_or(usize::MAX);
        (bare.into_iter().take(most).collect(), None)
    }

    pub(super) fn ended(&mut self, nics: Vec<NicId>, success: bool, now: BootTime) {
        self.calling = false;
        if success {
            self.failures = 0;
            self.done.extend(nics);
            return;
        }
        self.next = now.after(PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE));
        self.failures += 1;
    }
}

/// Puts the tag on those that do not carry it.
pub(super) async fn put(shared: &Shared, nics: Vec<NicId>) -> Done {
    let put = tokio::time::timeout(DEADLINE, tag(shared, &nics)).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Transient, "tag", format_args!("{} NICs", nics.len()))
            .detail(format!("the cloud did not answer within {DEADLINE:?}")))
    });
    if let Err(error) = &put {
        tracing::warn!(error = %error.chain(), count = nics.len(), "NICs could not be tagged; it is tried again");
    }
    Done::Tagged { nics, success: put.is_ok() }
}

async fn tag(shared: &Shared, nics: &[NicId]) -> Result<()> {
    let (Some(tag), Some(cloud)) = (&shared.config.tag, &shared.parts.tagging) else { return Ok(()) };
    cloud.at(Point::PutTags, |cloud| cloud.tag_nics(tag, nics)).await
}
