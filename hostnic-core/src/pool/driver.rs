//! The loop: look, plan, begin, look again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::BootTime;
use crate::error::{ErrorKind, Result};
use crate::id::NicId;
use crate::ledger::{AddressRecord, AddressState, NicRecord, NicRole};
use crate::point::Point;

use super::create::Surveys;
use super::jobs::JobPoll;
use super::plan::{Action, Plan, Shortage, plan};
use super::tags::Tags;
use super::{Change, Hold, Shared, arrive, create, lend, make, remove, share, tags};

/// How long the pool rests after an error of our own making, such as a store that cannot be written.
const PAUSE: Duration = Duration::from_secs(1);

/// What a finished task was, where the driver cares.
pub(super) enum Done {
    /// An action of the plan.
    Action,
    /// The wait for a NIC's link.
    Arrival(NicId),
    /// A look at the pending jobs, and whether any of them moved.
    Poll { moved: bool },
    /// A description of the instance and the subnets, and how it failed.
    Survey { failed: Option<ErrorKind> },
    /// A call that put the tag on NICs, and whether it did.
    Tagged { nics: Vec<NicId>, success: bool },
}

/// What the driver has under way.
struct Driver {
    shared: Arc<Shared>,
    tasks: JoinSet<Done>,
    arriving: BTreeMap<NicId, AbortHandle>,
    poll: JobPoll,
    surveys: Surveys,
    tags: Tags,
}

/// Runs until it is told to stop or dropped; its tasks end with it.
pub(super) async fn run(shared: Arc<Shared>, stopping: CancellationToken) {
    let poll = JobPoll::new(shared.config.job_poll_first, shared.config.job_poll);
    let mut driver = Driver {
        shared,
        tasks: JoinSet::new(),
        arriving: BTreeMap::new(),
        poll,
        surveys: Surveys::default(),
        tags: Tags::default(),
    };
    while !stopping.is_cancelled() {
        let wake = driver.step();
        tokio::select! {
            () = stopping.cancelled() => break,
            () = driver.wait(wake) => driver.shared.tell(),
        }
    }
    driver.tasks.shutdown().await;
}

fn earliest(a: Option<BootTime>, b: Option<BootTime>) -> Option<BootTime> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Driver {
    /// Begins whatever is due. Says when to look again at the latest.
    fn step(&mut self) -> Option<BootTime> {
        // First of all: what has come is no longer awaited, and the plan counts it.
        self.await_links();
        let (plan, relief) = self.plan();
        let short = plan.short || plan.refused.iter().any(|(_, why)| *why == Shortage::NoSubnet);
        let wake = earliest(plan.wake, earliest(relief, self.survey(short)));
        for action in plan.actions {
            self.begin(action);
        }
        let wake = earliest(earliest(wake, self.poll_jobs()), self.tag());
        let (overdue, next) = arrive::overdue(&self.shared);
        if !overdue.is_empty() {
            self.spawn(move |shared| async move { arrive::give_up(&shared, &overdue).await });
        }
        earliest(wake, next)
    }

    /// Learns about this node and its subnets, at first and when it may help; says when it will be due.
    fn survey(&mut self, short: bool) -> Option<BootTime> {
        let now = self.shared.now();
        let mut inflight = self.shared.inflight();
        if inflight.surveying {
            return None;
        }
        let due = self.surveys.next(&inflight, short, &self.shared.config)?;
        if due > now {
            return Some(due);
        }
        inflight.surveying = true;
        drop(inflight);
        let shared = self.shared.clone();
        self.tasks.spawn(async move { create::survey(&shared).await });
        None
    }

    fn plan(&self) -> (Plan, Option<BootTime>) {
        let shared = &self.shared;
        let now = shared.now();
        let capabilities = &shared.parts.capabilities;
        let mut inflight = shared.inflight();
        if matches!(inflight.hold, Hold::Until(at) if at <= now) {
            inflight.hold = Hold::No;
        }
        let view = shared.parts.ledger.read(|state| inflight.view(state, now));
        let plan = plan(
            &view,
            &shared.config,
            shared.policy.as_ref(),
            capabilities.create_batch,
            capabilities.batch,
        );
        inflight.begin(&plan, now);
        shared.supply.send_if_modified(|supply| {
            let now = inflight.supply(&view, &shared.config, *supply);
            now != std::mem::replace(supply, now)
        });
        (plan, inflight.next_relief(now))
    }

    fn spawn<F: Future<Output = Result<()>> + Send + 'static>(
        &mut self,
        task: impl FnOnce(Arc<Shared>) -> F,
    ) {
        let task = task(self.shared.clone());
        self.tasks.spawn(async move {
            // Only the ledger's errors come this far; the cloud's are dealt with where they arise.
            if let Err(error) = task.await {
                tracing::warn!(error = %error.chain(), "the pool could not record what it did; it looks again");
                tokio::time::sleep(PAUSE).await;
            }
            Done::Action
        });
    }

    fn begin(&mut self, action: Action) {
        match action {
            Action::Create { subnet, count } => {
                let intent = create::intend(&self.shared, subnet, count, NicRole::Pods);
                self.spawn(move |shared| async move { create::create(&shared, &intent).await });
            }
            Action::CreateGateway(subnet) => {
                let number = create::next_gateway(&self.shared);
                let intent = create::intend(&self.shared, subnet, 1, NicRole::Gateway(number));
                self.spawn(move |shared| async move { create::create(&shared, &intent).await });
            }
            Action::CreateShared(subnet) => {
                let intent = create::intend(&self.shared, subnet, 1, NicRole::Shared(None));
                self.spawn(move |shared| async move { share::make(&shared, &intent).await });
            }
            Action::CreateOwn { mark, subnet } => {
                let intent = create::intend(&self.shared, subnet, 1, NicRole::Own(mark.clone()));
                self.spawn(move |shared| async move { make::make(&shared, &intent, &mark).await });
            }
            Action::Lend { mark, nic } => {
                self.spawn(move |shared| async move { lend::lend(&shared, &mark, &nic).await })
            }
            Action::Entrust { mark, nic } => {
                self.spawn(move |shared| async move { lend::entrust(&shared, &mark, &nic).await })
            }
            Action::LookUp(token) => {
                create::looking_up(&self.shared, &token);
                self.spawn(move |shared| async move { create::look_up(&shared, &token).await })
            }
            Action::Attach(nics) => {
                self.spawn(move |shared| async move { arrive::attach(&shared, &nics).await })
            }
            Action::Detach(nics) => {
                self.spawn(move |shared| async move { remove::detach(&shared, &nics).await })
            }
            Action::Delete(nics) => {
                self.spawn(move |shared| async move { remove::delete(&shared, &nics).await })
            }
            Action::Thaw(nic, address) => {
                self.spawn(move |shared| async move { thaw(&shared, nic, address).await })
            }
        }
    }

    /// Every NIC on its way in has one task that waits for its link.
    fn await_links(&mut self) {
        let expected = arrive::expected(&self.shared);
        let still: BTreeSet<&NicId> = expected.iter().map(|(nic, _)| nic).collect();
        self.arriving.retain(|nic, task| {
            let keep = still.contains(nic);
            if !keep {
                task.abort();
            }
            keep
        });
        for (nic, mac) in expected {
            if !self.arriving.contains_key(&nic) {
                let (shared, id) = (self.shared.clone(), nic.clone());
                let task = self.tasks.spawn(async move {
                    arrive::await_link(&shared, &id, mac).await;
                    Done::Arrival(id)
                });
                self.arriving.insert(nic, task);
            }
        }
    }

    /// Begins a look at the pending jobs when it is due; says when it is otherwise.
    fn poll_jobs(&mut self) -> Option<BootTime> {
        let jobs = super::jobs::pending(&self.shared);
        let (due, next) = self.poll.due(&jobs, self.shared.now());
        if due {
            let shared = self.shared.clone();
            self.tasks.spawn(async move { super::jobs::look(&shared, jobs).await });
        }
        next
    }

    /// Begins to tag what was made, when that is due; says when it is otherwise.
    fn tag(&mut self) -> Option<BootTime> {
        let batch = self.shared.parts.capabilities.batch;
        let (nics, next) = self.tags.due(&self.shared, batch);
        if !nics.is_empty() {
            let shared = self.shared.clone();
            self.tasks.spawn(async move { tags::put(&shared, nics).await });
        }
        next
    }

    async fn wait(&mut self, wake: Option<BootTime>) {
        let sleep = match wake {
            // A moment that is due but could not be acted on must not make the loop spin.
            Some(at) => at.since(self.shared.now()).max(Duration::from_millis(1)),
            None => Duration::from_secs(3600),
        };
        tokio::select! {
            // In a fixed order, so that runs can be repeated. Whatever is passed over is still there next time.
            biased;
            () = self.shared.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
            Some(done) = self.tasks.join_next() => self.ended(done),
        }
    }

    fn ended(&mut self, done: std::result::Result<Done, JoinError>) {
        match done {
            Ok(Done::Arrival(nic)) => drop(self.arriving.remove(&nic)),
            Ok(Done::Poll { moved }) => self.poll.ended(self.shared.now(), moved),
            Ok(Done::Survey { failed }) => {
                let now = self.shared.now();
                let mut inflight = self.shared.inflight();
                inflight.surveying = false;
                // What was found hopeless before it is looked at anew.
                inflight.unserved = None;
                self.surveys.ended(failed, &inflight, now);
            }
            Ok(Done::Tagged { nics, success }) => self.tags.ended(nics, success, self.shared.now()),
            Ok(Done::Action) => {}
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                tracing::error!(%error, "a task of the pool ended badly; this is a defect, please report it")
            }
        }
    }
}

async fn thaw(shared: &Shared, nic: NicId, address: IpAddr) -> Result<()> {
    let now = shared.now();
    let thawed = |record: &NicRecord| {
        let cooling = |a: &&AddressRecord| matches!(a.state, AddressState::Cooling { .. });
        record.addresses.iter().filter(cooling).find(|a| a.address == address)?;
        Some(Change::put(record.clone().with_address(address, AddressState::Free { since: now })))
    };
    shared.change(Point::ThawAddress, &[nic], thawed).await
}
