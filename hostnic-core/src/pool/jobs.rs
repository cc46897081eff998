//! One look for all pending jobs: soon at first, then less and less often.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::BootTime;
use crate::cloud::{Job, JobState};
use crate::error::ErrorKind;
use crate::id::{JobId, NicId};
use crate::ledger::NicState;
use crate::point::Point;

use super::driver::Done;
use super::{Shared, examine, out};

/// When to look next. A new job makes the looks frequent again.
pub(super) struct JobPoll {
    first: Duration,
    longest: Duration,
    pause: Duration,
    known: BTreeSet<JobId>,
    next: BootTime,
    looking: bool,
}

impl JobPoll {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            pause: first,
            known: BTreeSet::new(),
            next: BootTime::default(),
            looking: false,
        }
    }

    /// Whether to look now, and otherwise when.
    pub(super) fn due(&mut self, jobs: &[JobId], now: BootTime) -> (bool, Option<BootTime>) {
        if jobs.iter().any(|job| !self.known.contains(job)) {
            self.pause = self.first;
            let soon = now.after(self.pause);
            self.next = if self.known.is_empty() { soon } else { self.next.min(soon) };
        }
        self.known = jobs.iter().cloned().collect();
        if self.known.is_empty() || self.looking {
            return (false, None);
        }
        if self.next > now {
            return (false, Some(self.next));
        }
        self.looking = true;
        (true, None)
    }

    pub(super) fn ended(&mut self, now: BootTime, moved: bool) {
        self.looking = false;
        self.pause = if moved { self.first } else { (self.pause * 5 / 4).min(self.longest) };
        self.next = now.after(self.pause);
    }
}

/// The jobs that records wait for. A NIC whose link is there, or that the cloud says is plugged in, waits for none.
pub(super) fn pending(shared: &Shared) -> Vec<JobId> {
    let inflight = shared.inflight();
    shared.parts.ledger.read(|state| {
        let waits = state.nics.values().filter(|nic| !inflight.plugged.contains_key(&nic.id));
        let jobs: BTreeSet<JobId> = waits.filter_map(|nic| nic.state.job().cloned()).collect();
        jobs.into_iter().collect()
    })
}

/// Asks about the jobs and draws the consequences.
pub(super) async fn look(shared: &Shared, jobs: Vec<JobId>) -> Done {
    let mut moved = false;
    match shared.parts.provider.at(Point::PollJobs, |cloud| cloud.jobs(&jobs)).await {
        Ok(answers) => {
            for job in answers {
                moved |= job.state != JobState::Running;
                if let Err(error) = job_moved(shared, job).await {
                    tracing::warn!(error = %error.chain(), "what became of a job could not be recorded; it is looked at again");
                }
            }
        }
        Err(error) => {
            tracing::warn!(error = %error.chain(), "jobs could not be looked at; they are looked at again")
        }
    }
    Done::Poll { moved }
}

async fn job_moved(shared: &Shared, job: Job) -> crate::error::Result<()> {
    let (now, deadline) = (shared.now(), shared.config.job_deadline);
    let concerned: Vec<(NicId, bool)> = shared.parts.ledger.read(|state| {
        let waits = state.nics.values().filter(|nic| nic.state.job() == Some(&job.id));
        waits.map(|nic| (nic.id.clone(), now.since(nic.since) > deadline)).collect()
    });
    let all: Vec<NicId> = concerned.iter().map(|(nic, _)| nic.clone()).collect();
    match job.state {
        JobState::Succeeded => succeeded(shared, &all).await,
        JobState::Failed { nics, reason } => {
            tracing::warn!(job = %job.id, ?nics, reason, "a job of the cloud failed; its NICs are looked at");
            let failed = |nic: &NicId| nics.is_empty() || nics.contains(nic);
            let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(failed);
            note(shared, &bad, ErrorKind::Transient, &format!("{} of the cloud failed: {reason}", job.id));
            succeeded(shared, &good).await?;
            examine::examine(shared, &bad).await
        }
        JobState::Unknown => examine::examine(shared, &all).await,
        JobState::Running => {
            let late: Vec<NicId> =
                concerned.into_iter().filter(|(_, late)| *late).map(|(nic, _)| nic).collect();
            if !late.is_empty() {
                tracing::warn!(job = %job.id, ?late, "a job of the cloud is stuck; its NICs are looked at");
                let why = format!("{} of the cloud has not ended within {deadline:?}", job.id);
                note(shared, &late, ErrorKind::Exhausted, &why);
            }
            examine::examine(shared, &late).await
        }
    }
}

/// Keeps for those who wait why NICs do not come in.
fn note(shared: &Shared, nics: &[NicId], kind: ErrorKind, why: &str) {
    let mut inflight = shared.inflight();
    let comes_in = |nic: &NicId| {
        shared.parts.ledger.read(|state| {
            state.nics.get(nic).is_some_and(|nic| matches!(nic.state, NicState::Attaching { .. }))
        })
    };
    if nics.iter().any(comes_in) {
        inflight.attach_trouble = Some((kind, why.to_owned()));
    }
}

/// The cloud says that these are in, or out.
async fn succeeded(shared: &Shared, nics: &[NicId]) -> crate::error::Result<()> {
    let now = shared.now();
    let mut plugged = Vec::new();
    let changed = shared.change(Point::RecordDetached, nics, |nic| match nic.state {
        NicState::Attaching { .. } => {
            plugged.push(nic.id.clone());
            None
        }
        NicState::Detaching { .. } => Some(out(nic, now)),
        _ => None,
    });
    changed.await?;
    shared.inflight().plugged.extend(plugged.into_iter().map(|nic| (nic, now)));
    Ok(())
}
