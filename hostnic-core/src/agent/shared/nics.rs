//! What the kernel has for NICs that pods share: one task has it follow the records, and an ADD waits for what the kernel has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::{Error, ErrorKind, Result};
use crate::id::NicId;
use crate::ledger::{LeaseRecord, LeaseState, State};
use crate::point::Point;
use crate::route::SharedNicPlan;

use super::super::Inner;
use super::super::counts::Repair;
use super::{SharedSide, plan};

/// The time after which a NIC that could not be set up is tried again; doubled from then on.
const RETRY: Duration = Duration::from_secs(1);

/// The longest such time.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// All NICs of the node that pods share.
#[derive(Debug, Default)]
pub(in crate::agent) struct Nics {
    kept: watch::Sender<BTreeMap<NicId, Kept>>,
    poke: Notify,
}

/// What is known of one.
#[derive(Debug, Clone, Default)]
struct Kept {
    has: Has,
    /// What it is being made to have, while an attempt is under way.
    coming: Option<SharedNicPlan>,
    /// How often something was tried.
    attempts: u64,
    /// Why the last attempt came to nothing.
    trouble: Option<Arc<Error>>,
    /// When it is tried again, and after which pause.
    retry: Option<(Instant, Duration)>,
}

/// What the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Has {
    /// That is not known: it may ask in any name that it ever asked in.
    #[default]
    Unknown,
    /// This.
    Plan(SharedNicPlan),
    /// No such link: it asks for nothing.
    Nothing,
}

impl Kept {
    fn is_in_place(&self) -> bool {
        // Without a sender it serves no pod.
        matches!(&self.has, Has::Plan(plan) if plan.sender.is_some())
    }

    /// Whether the NIC is known not to ask in the name of this pod, nor soon to do so.
    fn is_silent_about(&self, lease: Option<&LeaseRecord>) -> bool {
        let names_another =
            |plan: &SharedNicPlan| lease.is_none_or(|lease| plan.sender != Some(lease.lease.address.addr()));
        let has = match &self.has {
            Has::Unknown => false,
            Has::Nothing => true,
            Has::Plan(plan) => names_another(plan),
        };
        has && self.coming.as_ref().is_none_or(names_another)
    }

    fn failed(&mut self, error: Arc<Error>) {
        let pause = self.retry.map_or(RETRY, |(_, pause)| (pause * 2).min(LONGEST_RETRY));
        self.retry = Some((Instant::now() + pause, pause));
        self.coming = None;
        self.has = if error.kind() == ErrorKind::NotFound { Has::Nothing } else { Has::Unknown };
        self.trouble = Some(error);
    }
}

/// One attempt.
struct Attempt {
    nic: NicId,
    plan: SharedNicPlan,
    /// Whether it may be as planned already, as after a restart.
    resumes: bool,
}

impl Nics {
    /// Waits until the NIC is set up for pods.
    ///
    /// # Errors
    /// Why it could not be: of an attempt that was made since this was called.
    pub(in crate::agent) async fn in_place(&self, nic: &NicId) -> Result<()> {
        let mut kept = self.kept.subscribe();
        let attempts = kept.borrow().get(nic).map_or(0, |kept| kept.attempts);
        self.hurry(nic);
        let over = |known: &Kept| known.is_in_place() || known.trouble.is_some() && known.attempts > attempts;
        // The sender lives as long as this.
        let _ = kept.wait_for(|kept| kept.get(nic).is_some_and(over)).await;
        let trouble =
            kept.borrow().get(nic).filter(|kept| !kept.is_in_place()).and_then(|kept| kept.trouble.clone());
        match trouble {
            Some(error) => Err(Error::new(retried(error.kind()), "set up", "the NIC that pods share")
                .detail(format!("{}; it is tried again", error.chain()))),
            None => Ok(()),
        }
    }

    /// Whether the kernel has the NIC for its pods, and why the last attempt came to nothing where it did.
    pub(super) fn known(&self, nic: &NicId) -> (bool, Option<String>) {
        let kept = self.kept.borrow();
        let Some(kept) = kept.get(nic) else { return (false, None) };
        (kept.is_in_place(), kept.trouble.as_ref().map(|error| error.chain().to_string()))
    }

    /// Has the NIC set up again, as what the kernel has is not what it was made to have.
    pub(in crate::agent) fn doubt(&self, nic: &NicId) {
        self.kept.send_if_modified(|kept| {
            kept.get_mut(nic).is_some_and(|kept| std::mem::take(&mut kept.has) != Has::Unknown)
        });
        self.poke.notify_one();
    }

    /// What failed is tried again at once.
    fn hurry(&self, nic: &NicId) {
        let waits = self.kept.send_if_modified(|kept| {
            let retry = kept.get_mut(nic).and_then(|kept| kept.retry.as_mut());
            retry.map(|(at, _)| *at = Instant::now()).is_some()
        });
        if waits {
            self.poke.notify_one();
        }
    }

    /// Waits until no NIC of the node asks by ARP in the name of this pod: of one without a lease nothing is known, so that
    /// every NIC must have been set up since.
    pub(super) async fn silent_about(&self, inner: &Inner, lease: Option<&LeaseRecord>) {
        let concerned = |state: &State| -> BTreeSet<NicId> {
            let in_use = state.nics.values().filter(|nic| plan::is_in_use(nic));
            let of_lease = in_use.filter(|nic| lease.is_none_or(|lease| lease.lease.nic == nic.id));
            of_lease.map(|nic| nic.id.clone()).collect()
        };
        let mut changes = self.kept.subscribe();
        loop {
            let kept = changes.borrow_and_update().clone();
            let nics = inner.ledger.read(concerned);
            if nics.iter().all(|nic| kept.get(nic).is_some_and(|kept| kept.is_silent_about(lease))) {
                return;
            }
            // The sender lives as long as this; a NIC that is in use no more is taken off, which is a change.
            let _ = changes.changed().await;
        }
    }

    /// What is to be done now, and when to look again at the latest.
    fn due(&self, inner: &Inner, busy: &BTreeSet<NicId>) -> (Vec<Attempt>, Option<Instant>) {
        let (kept, wanted, running) = self.wanted(inner);
        self.kept.send_if_modified(|kept| {
            let before = kept.len();
            kept.retain(|nic, _| wanted.contains_key(nic));
            kept.len() != before
        });
        let (now, mut wake) = (Instant::now(), None::<Instant>);
        let mut due = Vec::new();
        // Before the first comparison has shown whose a NIC is, pods of which no lease is known may need it as it is.
        let recovered = *inner.recovered.borrow();
        let known = |plan: &SharedNicPlan| recovered || plan.sender.is_some();
        for (nic, plan) in wanted.into_iter().filter(|(nic, plan)| !busy.contains(nic) && known(plan)) {
            let known = kept.get(&nic).cloned().unwrap_or_default();
            if known.has == Has::Plan(plan.clone()) {
                continue;
            }
            match known.retry.filter(|(at, _)| *at > now) {
                Some((at, _)) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
                None => {
                    due.push(Attempt { resumes: known.attempts == 0 && running.contains(&nic), nic, plan })
                }
            }
        }
        (self.begun(inner, due), wake)
    }

    /// What is known of the NICs, how they are to be, and those with pods that run.
    fn wanted(
        &self,
        inner: &Inner,
    ) -> (BTreeMap<NicId, Kept>, BTreeMap<NicId, SharedNicPlan>, BTreeSet<NicId>) {
        // A copy: no lock of one is held while the other's is taken.
        let kept = self.kept.borrow().clone();
        let (wanted, running) = inner.ledger.read(|state| {
            let asks = |nic: &NicId| match kept.get(nic).map(|kept| &kept.has) {
                Some(Has::Plan(plan)) => plan.sender,
                _ => None,
            };
            let runs = |lease: &&LeaseRecord| lease.state == LeaseState::Active;
            let running: BTreeSet<NicId> =
                state.leases.values().filter(runs).map(|lease| lease.lease.nic.clone()).collect();
            (plan::nic_plans(state, asks), running)
        });
        (kept, wanted, running)
    }

    /// Takes note of attempts that begin, and answers which of them do: one whose pod began to end before this was noted may
    /// not, as the pod's address may be back by then. That was a change of the records, which are looked at again.
    fn begun(&self, inner: &Inner, due: Vec<Attempt>) -> Vec<Attempt> {
        if due.is_empty() {
            return due;
        }
        self.kept.send_modify(|kept| {
            for attempt in &due {
                kept.entry(attempt.nic.clone()).or_default().coming = Some(attempt.plan.clone());
            }
        });
        let (_, wanted, _) = self.wanted(inner);
        let (begun, not): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|attempt| wanted.get(&attempt.nic) == Some(&attempt.plan));
        self.kept.send_modify(|kept| {
            for attempt in not {
                kept.entry(attempt.nic).and_modify(|kept| kept.coming = None);
            }
        });
        begun
    }

    fn ended(&self, inner: &Inner, attempt: Attempt, done: Result<bool>) {
        let (mut anew, mut first) = (false, false);
        let done = done.map_err(Arc::new);
        self.kept.send_modify(|all| {
            let kept = all.entry(attempt.nic.clone()).or_default();
            kept.attempts += 1;
            match &done {
                Ok(changed) => {
                    anew = *changed && !matches!(kept.has, Has::Plan(_));
                    *kept = Kept { has: Has::Plan(attempt.plan), attempts: kept.attempts, ..Kept::default() };
                }
                Err(error) => {
                    first = kept.retry.is_none();
                    kept.failed(error.clone());
                }
            }
        });
        if anew {
            announce(inner, &attempt.nic);
        }
        let Err(error) = done else { return };
        tracing::warn!(nic = %attempt.nic, error = %error.chain(), "a NIC that pods share could not be set up; it is tried again");
        if first {
            inner.failures.tell(error);
            // It may be gone.
            inner.nudge();
        }
    }
}

/// What the kernel does not find is not to be taken for the pod's namespace.
fn retried(kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::NotFound => ErrorKind::Transient,
        kind => kind,
    }
}

/// The pods of a NIC whose link is another one by now are announced, so that nobody goes on sending to the old one.
fn announce(inner: &Inner, nic: &NicId) {
    let runs = |lease: &&LeaseRecord| lease.state == LeaseState::Active;
    let plans: Vec<_> = inner
        .ledger
        .read(|state| state.leases_on(nic).filter(runs).map(|lease| lease.plan.clone()).collect());
    for plan in plans {
        inner.announcer.now(&plan);
    }
}

/// Keeps the kernel's NICs as they are to be, until it is dropped.
pub(in crate::agent) async fn run(inner: &Inner) {
    let nics = &inner.shared.nics;
    let (mut changes, mut recovered) = (inner.ledger.changes(), inner.recovered.subscribe());
    let (mut running, mut busy) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        changes.borrow_and_update();
        recovered.borrow_and_update();
        move_pods(inner).await;
        let (due, wake) = nics.due(inner, &busy);
        for attempt in due {
            busy.insert(attempt.nic.clone());
            running.push(carry_out(inner, attempt));
        }
        tokio::select! {
            // In a fixed order, so that runs can be repeated. The senders live as long as the agent.
            biased;
            Some((attempt, done)) = running.next() => {
                busy.remove(&attempt.nic);
                nics.ended(inner, attempt, done);
            }
            () = nics.poke.notified() => {}
            _ = changes.changed() => {}
            _ = recovered.changed() => {}
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
    }
}

/// Makes the NIC as planned, and answers whether anything had to be done.
async fn carry_out(inner: &Inner, attempt: Attempt) -> (Attempt, Result<bool>) {
    let plan = &attempt.plan;
    if attempt.resumes {
        let drifts = inner.kernel(Point::ResumeSharedNic, |kernel| kernel.check_shared_nic(plan)).await;
        if drifts.is_ok_and(|drifts| drifts.is_empty()) {
            return (attempt, Ok(false));
        }
    }
    let done = inner.kernel(Point::SetUpSharedNic, |kernel| kernel.setup_shared_nic(plan)).await;
    (attempt, done.map(|()| true))
}

/// Pods whose NIC is lost get the one that took its place.
async fn move_pods(inner: &Inner) {
    let table = |state: &State| SharedSide::free_table(inner, state);
    if inner.ledger.read(|state| plan::moved(state, table).is_empty()) {
        return;
    }
    let moved = inner.ledger.transact(Point::MoveShared, |state| Ok((plan::moved(state, table), ())));
    match moved.await {
        // What is left to do about the pods themselves is found by a comparison.
        Ok(()) => inner.nudge(),
        Err(error) => {
            tracing::warn!(error = %error.chain(), "pods that share a NIC could not be given another one; it is tried again");
        }
    }
}

/// Compares the NICs with what the kernel was made to have, and waits until those that differ are set up again.
pub(in crate::agent) async fn compare(inner: &Inner) {
    let nics = &inner.shared.nics;
    let plan_of = |kept: &Kept| match &kept.has {
        Has::Plan(plan) => Some(plan.clone()),
        _ => None,
    };
    let known: Vec<(NicId, SharedNicPlan)> =
        nics.kept.borrow().iter().filter_map(|(nic, kept)| Some((nic.clone(), plan_of(kept)?))).collect();
    for (nic, plan) in known {
        match inner.kernel(Point::CompareSharedNic, |kernel| kernel.check_shared_nic(&plan)).await {
            Ok(drifts) => {
                // It was changed while it was looked at.
                let same = nics.kept.borrow().get(&nic).and_then(plan_of).as_ref() == Some(&plan);
                let Some(drift) = drifts.first().filter(|_| same) else { continue };
                tracing::warn!(%nic, %drift, count = drifts.len(), "a NIC that pods share was changed by somebody else; it is set up again");
                nics.doubt(&nic);
                let again = timeout(inner.config.kernel_deadline, nics.in_place(&nic)).await;
                inner.tally.repaired(Repair::SetUpAgain, matches!(again, Ok(Ok(()))));
            }
            Err(error) => {
                tracing::debug!(%nic, error = %error.chain(), "a NIC that pods share could not be compared with its plan");
            }
        }
    }
}
