//! Attaching, detaching and the jobs that do it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::Fate;
use super::history::Operation;
use super::state::State;
use crate::cloud::{Job, JobState, Nic, NicAttachment, Submitted};
use crate::error::{Error, ErrorKind, QuotaScope, Result};
use crate::id::{InstanceId, JobId, NicId};

/// What a job does when it is due.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Task {
    Attach {
        instance: InstanceId,
        nics: Vec<NicId>,
    },
    Detach {
        instance: InstanceId,
        nics: Vec<NicId>,
    },
    Reserve {
        reservations: Vec<String>,
    },
    Release {
        reservations: Vec<String>,
    },
    /// Only lasts; what it stands for is kept elsewhere.
    Last,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Progress {
    /// On the agenda, or stuck.
    Waiting,
    /// Due; somebody is plugging or unplugging its links.
    Plugging,
    Ended(JobState),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    task: Task,
    fate: Fate,
    progress: Progress,
    made: Duration,
    ended: Option<Duration>,
}

/// All jobs, and which is due next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Jobs {
    records: BTreeMap<JobId, Record>,
    /// By due time; the number keeps jobs of one moment in the order in which they came.
    #[serde(with = "super::save::pairs")]
    agenda: BTreeMap<(Duration, u64), JobId>,
    stuck: Vec<JobId>,
    submitted: u64,
}

/// What is to be done to the links of instances, by whoever drives the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Plug or unplug the links of a job, then tell [`State::end_job`].
    Job {
        id: JobId,
        instance: InstanceId,
        plug: bool,
        nics: Vec<(Nic, Vec<IpAddr>)>,
    },
    Plug {
        instance: InstanceId,
        nic: Nic,
        sources: Vec<IpAddr>,
    },
    Unplug {
        instance: InstanceId,
        nic: Nic,
    },
    Sources {
        nic: NicId,
        sources: Vec<IpAddr>,
    },
}

/// What became of the links of a job.
#[derive(Debug, Default)]
pub(super) struct Plugged {
    pub(super) done: Vec<Nic>,
    pub(super) failed: BTreeMap<NicId, String>,
}

impl State {
    pub(super) fn attach(
        &mut self,
        id: &InstanceId,
        nics: &[NicId],
        fate: Fate,
        now: Duration,
    ) -> Result<Submitted> {
        let refuse = |kind, nic: &dyn std::fmt::Display| Error::new(kind, Operation::AttachNics.verb(), nic);
        self.check_batch(Operation::AttachNics, nics.len())?;
        let instance = self.instances.get(id).ok_or_else(|| refuse(ErrorKind::NotFound, id))?;
        let nics = distinct(nics);
        for nic in &nics {
            let port = self.nics.get(nic).ok_or_else(|| refuse(ErrorKind::NotFound, nic))?;
            if port.job.is_some() {
                return Err(refuse(ErrorKind::Conflict, nic).detail("it is in transition"));
            }
            if let Some(carrier) = port.nic.attachment.instance() {
                return Err(
                    refuse(ErrorKind::Conflict, nic).detail(format_args!("it is attached to {carrier}"))
                );
            }
        }
        if nics.len() > self.room_in(instance) {
            return Err(refuse(ErrorKind::Quota(QuotaScope::Instance), id));
        }
        if nics.is_empty() {
            return Ok(Submitted::Complete);
        }
        if let Some(instance) = self.instances.get_mut(id) {
            instance.secondary.extend(nics.iter().cloned());
        }
        let task = Task::Attach { instance: id.clone(), nics };
        Ok(self.submit(task, fate, self.durations.attach, now))
    }

    pub(super) fn detach(
        &mut self,
        id: &InstanceId,
        nics: &[NicId],
        fate: Fate,
        now: Duration,
    ) -> Result<Submitted> {
        let refuse = |nic: &NicId| Error::new(ErrorKind::Conflict, Operation::DetachNics.verb(), nic);
        self.check_batch(Operation::DetachNics, nics.len())?;
        let mut attached = Vec::new();
        for nic in distinct(nics) {
            let Some(port) = self.nics.get(&nic) else { continue };
            if port.job.is_some() {
                return Err(refuse(&nic).detail("it is in transition"));
            }
            match &port.nic.attachment {
                NicAttachment::Available => {}
                NicAttachment::Attached { primary: true, .. } => {
                    return Err(refuse(&nic).detail("it is the primary NIC, which cannot be detached"));
                }
                NicAttachment::Attached { instance, .. } if instance != id => {
                    return Err(
                        refuse(&nic).detail(format_args!("it is attached to {instance}, not to {id}"))
                    );
                }
                NicAttachment::Attached { .. } => attached.push(nic),
            }
        }
        if attached.is_empty() {
            return Ok(Submitted::Complete);
        }
        let task = Task::Detach { instance: id.clone(), nics: attached };
        Ok(self.submit(task, fate, self.durations.detach, now))
    }

    pub(super) fn submit(&mut self, task: Task, fate: Fate, takes: Duration, now: Duration) -> Submitted {
        Submitted::Job(self.submit_job(task, fate, takes, now))
    }

    pub(super) fn submit_job(&mut self, task: Task, fate: Fate, takes: Duration, now: Duration) -> JobId {
        let id = self.names.job();
        for nic in task.nics() {
            if let Some(port) = self.nics.get_mut(nic) {
                port.job = Some(id.clone());
            }
        }
        if fate == Fate::Stick {
            self.jobs.stuck.push(id.clone());
        } else {
            self.jobs.schedule(id.clone(), now.saturating_add(takes));
        }
        let record = Record { task, fate, progress: Progress::Waiting, made: now, ended: None };
        self.jobs.records.insert(id.clone(), record);
        id
    }

    pub(super) fn job_states(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.check_batch(Operation::Jobs, ids.len())?;
        Ok(ids.iter().map(|id| Job { id: id.clone(), state: self.jobs.state(id) }).collect())
    }

    /// Lets every stuck job end, at once.
    pub(super) fn unstick(&mut self, now: Duration) {
        for id in std::mem::take(&mut self.jobs.stuck) {
            self.jobs.schedule(id, now);
        }
    }

    /// When the next job is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.jobs.agenda.keys().next().map(|(due, _)| *due)
    }

    /// Carries out all that is due by `now`, each at the time when it was due.
    pub(super) fn settle(&mut self, now: Duration) {
        while let Some(first) = self.jobs.agenda.first_entry().filter(|e| e.key().0 <= now) {
            let ((due, _), id) = first.remove_entry();
            self.start_job(id, due);
        }
    }

    fn start_job(&mut self, id: JobId, due: Duration) {
        let Some(record) = self.jobs.records.get_mut(&id) else { return };
        let (instance, plug) = match &record.task {
            Task::Attach { instance, .. } => (instance.clone(), true),
            Task::Detach { instance, .. } => (instance.clone(), false),
            Task::Reserve { .. } | Task::Release { .. } | Task::Last => {
                return self.end_job(&id, Plugged::default(), due);
            }
        };
        let failing = failing(record.fate, record.task.nics());
        let links: Vec<_> =
            record.task.nics().iter().filter(|nic| !failing.contains(*nic)).cloned().collect();
        record.progress = Progress::Plugging;
        let live = self.instances.contains_key(&instance);
        let nics =
            links.iter().filter(|_| live).filter_map(|nic| self.nics.get(nic)).map(|port| port.nic.clone());
        if self.has_plug {
            let nics: Vec<_> = nics.map(|nic| (nic.clone(), self.sources(&nic))).collect();
            self.work.push(Work::Job { id, instance, plug, nics });
        } else {
            let done = nics.collect();
            self.end_job(&id, Plugged { done, failed: BTreeMap::new() }, due);
        }
    }

    /// Ends a job whose links have been dealt with. NICs that are in neither list of `plugged` were not touched.
    pub(super) fn end_job(&mut self, id: &JobId, plugged: Plugged, now: Duration) {
        let Some(record) = self.jobs.records.get(id) else { return };
        let (task, fate) = (record.task.clone(), record.fate);
        let mut failed: Vec<NicId> = Vec::new();
        let done: BTreeSet<_> = plugged.done.iter().map(|nic| &nic.id).collect();
        match &task {
            Task::Attach { instance, nics } => {
                for nic in nics {
                    if !self.attached(instance, nic, done.contains(nic), now) {
                        failed.push(nic.clone());
                    }
                }
                for nic in &plugged.done {
                    if failed.contains(&nic.id) {
                        self.unplug_later(instance.clone(), nic.clone());
                    } else if nic.addresses.is_empty() && self.has_plug {
                        // A reservation may have come or gone while the link was plugged.
                        self.work.push(Work::Sources { nic: nic.id.clone(), sources: self.sources(nic) });
                    }
                }
            }
            Task::Detach { instance, nics } => {
                for nic in nics {
                    if !self.detached(instance, nic, done.contains(nic), now) {
                        failed.push(nic.clone());
                    }
                }
            }
            Task::Reserve { reservations } => self.reserved_now(reservations, fate.does_the_work()),
            Task::Release { reservations } => self.released_now(reservations, fate.does_the_work()),
            Task::Last => {}
        }
        let state = ended(fate, &task, failed, &plugged.failed);
        if let Some(record) = self.jobs.records.get_mut(id) {
            record.progress = Progress::Ended(state);
            record.ended = Some(now);
        }
    }

    /// Records the end of an attach; false where the NIC is not attached after it.
    fn attached(&mut self, id: &InstanceId, nic: &NicId, plugged: bool, now: Duration) -> bool {
        let sequence = self.free_sequence(id);
        let instance = self.instances.get_mut(id);
        let Some(port) = self.nics.get_mut(nic) else { return false };
        port.job = None;
        match instance {
            Some(_) if plugged => {
                port.nic.attachment = NicAttachment::Attached { instance: id.clone(), primary: false };
                (port.changed, port.sequence) = (now, sequence);
                self.view.publish(nic, Some(&port.nic), now);
                true
            }
            Some(instance) => {
                instance.secondary.remove(nic);
                false
            }
            None => false,
        }
    }

    /// The lowest position on the instance that is free; 0 is the primary NIC's.
    fn free_sequence(&self, id: &InstanceId) -> u32 {
        let on_it = self.nics.values().filter(|port| port.nic.attachment.instance() == Some(id));
        let taken: BTreeSet<u32> = on_it.map(|port| port.sequence).collect();
        (1..).find(|sequence| !taken.contains(sequence)).unwrap_or(u32::MAX)
    }

    /// Records the end of a detach; false where the NIC is still attached.
    fn detached(&mut self, id: &InstanceId, nic: &NicId, unplugged: bool, now: Duration) -> bool {
        let Some(port) = self.nics.get_mut(nic) else { return true };
        port.job = None;
        if unplugged && port.nic.attachment != NicAttachment::Available {
            port.nic.attachment = NicAttachment::Available;
            (port.changed, port.sequence) = (now, 0);
            if let Some(instance) = self.instances.get_mut(id) {
                instance.secondary.remove(nic);
            }
            self.view.publish(nic, Some(&port.nic), now);
        }
        port.nic.attachment == NicAttachment::Available
    }
}

impl Jobs {
    fn schedule(&mut self, id: JobId, due: Duration) {
        self.submitted += 1;
        self.agenda.insert((due, self.submitted), id);
    }

    /// Puts jobs whose links somebody was dealing with back on the agenda: who did so is gone.
    pub(super) fn begin_again(&mut self, now: Duration) {
        let interrupted = self.records.iter_mut().filter(|(_, r)| matches!(r.progress, Progress::Plugging));
        let interrupted: Vec<JobId> = interrupted
            .map(|(id, record)| {
                record.progress = Progress::Waiting;
                id.clone()
            })
            .collect();
        for id in interrupted {
            self.schedule(id, now);
        }
    }

    /// When it was submitted, and when it ended; `None` for a job that nobody knows.
    pub(super) fn times(&self, id: &JobId) -> Option<(Duration, Option<Duration>)> {
        let record = self.records.get(id).filter(|r| !matches!(r.fate, Fate::Forget { .. }))?;
        Some((record.made, record.ended))
    }

    pub(super) fn state(&self, id: &JobId) -> JobState {
        match self.records.get(id) {
            None | Some(Record { fate: Fate::Forget { .. }, .. }) => JobState::Unknown,
            Some(Record { progress: Progress::Ended(state), .. }) => state.clone(),
            Some(_) => JobState::Running,
        }
    }
}

impl Task {
    fn nics(&self) -> &[NicId] {
        match self {
            Self::Attach { nics, .. } | Self::Detach { nics, .. } => nics,
            Self::Reserve { .. } | Self::Release { .. } | Self::Last => &[],
        }
    }
}

/// The NICs that the job is to do nothing for.
fn failing(fate: Fate, nics: &[NicId]) -> &[NicId] {
    match fate {
        Fate::Succeed | Fate::Stick | Fate::Forget { carried_out: true } => &[],
        Fate::Fail | Fate::Forget { carried_out: false } => nics,
        Fate::FailFor(first) => nics.get(..first).unwrap_or(nics),
    }
}

fn ended(fate: Fate, task: &Task, failed: Vec<NicId>, reasons: &BTreeMap<NicId, String>) -> JobState {
    let reason = match reasons.iter().next() {
        Some((nic, reason)) => format!("{nic}: {reason}"),
        None if fate == Fate::Succeed => "a NIC or the instance is gone".to_owned(),
        None => "it went wrong in the cloud (injected)".to_owned(),
    };
    match fate {
        Fate::Fail => JobState::Failed { nics: Vec::new(), reason },
        Fate::FailFor(_) if task.nics().is_empty() => JobState::Failed { nics: Vec::new(), reason },
        _ if failed.is_empty() => JobState::Succeeded,
        _ => JobState::Failed { nics: failed, reason },
    }
}

/// The ids in their order, each once.
fn distinct(nics: &[NicId]) -> Vec<NicId> {
    let mut seen = BTreeSet::new();
    nics.iter().filter(|nic| seen.insert(*nic)).cloned().collect()
}
