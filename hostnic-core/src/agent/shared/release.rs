//! Addresses on their way back to where they came from, which may take long: the lease stays `releasing` until they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::error::Result;
use crate::ledger::LeaseState;
use crate::point::Point;

use super::super::Inner;
use super::plan;

/// The pause after the first attempt that failed; doubled from then on.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// For how long it is remembered that an attachment's address is back: longer than any comparison looks.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How addresses of pods that share NICs are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReleaseCounts {
    /// How many are on their way back at this moment.
    pub pending: usize,
    /// How many attempts have failed since the agent was started.
    pub failures: u64,
}

/// Attachments whose address is to be given back.
pub(super) type Queue = mpsc::UnboundedReceiver<AttachmentMark>;

/// What is on its way back.
#[derive(Debug)]
pub(in crate::agent) struct Releases {
    pending: watch::Sender<BTreeSet<AttachmentMark>>,
    /// There is never more in it than attachments that were begun.
    queue: mpsc::UnboundedSender<AttachmentMark>,
    ended: Mutex<BTreeMap<AttachmentMark, BootTime>>,
    failures: watch::Sender<u64>,
}

impl Releases {
    pub(super) fn new() -> (Self, Queue) {
        let (queue, ordered) = mpsc::unbounded_channel();
        let releases = Self {
            pending: watch::Sender::default(),
            queue,
            ended: Mutex::default(),
            failures: watch::Sender::default(),
        };
        (releases, ordered)
    }

    /// Has an attachment's address given back, whatever is known of it. Nothing of the node may use it any more but the NIC
    /// that asks in its name. Returns at once; ordering it again while it is on its way changes nothing.
    pub(in crate::agent) fn order(&self, mark: &AttachmentMark) {
        if self.pending.send_if_modified(|pending| pending.insert(mark.clone())) {
            // Nobody takes orders any more where the agent is stopping: the next start finds the lease.
            drop(self.queue.send(mark.clone()));
        }
    }

    /// Whether the attachment's address is on its way back.
    pub(in crate::agent) fn is_pending(&self, mark: &AttachmentMark) -> bool {
        self.pending.borrow().contains(mark)
    }

    /// Waits until it is not.
    pub(in crate::agent) async fn ended(&self, mark: &AttachmentMark) {
        // The sender lives as long as this.
        let _ = self.pending.subscribe().wait_for(|pending| !pending.contains(mark)).await;
    }

    /// Waits until nothing is on its way back.
    pub(in crate::agent) async fn none(&self) {
        // As above.
        let _ = self.pending.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// The attachments whose address is on its way back, or has been back since that moment: what was seen of them then
    /// counts no more.
    pub(in crate::agent) fn since(&self, moment: BootTime) -> BTreeSet<AttachmentMark> {
        let ended: Vec<_> =
            self.remembered().iter().filter(|(_, at)| **at >= moment).map(|(mark, _)| mark.clone()).collect();
        self.pending.borrow().iter().cloned().chain(ended).collect()
    }

    pub(in crate::agent) fn counts(&self) -> ReleaseCounts {
        ReleaseCounts { pending: self.pending.borrow().len(), failures: *self.failures.borrow() }
    }

    fn remembered(&self) -> MutexGuard<'_, BTreeMap<AttachmentMark, BootTime>> {
        // The map is changed by single inserts and removals only.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, mark: &AttachmentMark, now: BootTime) {
        {
            let mut ended = self.remembered();
            ended.retain(|_, at| now.since(*at) < REMEMBERED);
            ended.insert(mark.clone(), now);
        }
        self.pending.send_if_modified(|pending| pending.remove(mark));
    }
}

/// Gives back what is ordered, all at the same time, until it is dropped.
pub(in crate::agent) async fn run(inner: &Inner, mut queue: Queue) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = running.next() => {}
            Some(mark) = queue.recv() => running.push(give_back(inner, mark)),
            else => return,
        }
    }
}

/// Tries until it is done.
async fn give_back(inner: &Inner, mark: AttachmentMark) {
    let releases = &inner.shared.releases;
    let mut pause = PAUSE;
    while let Err(error) = attempt(inner, &mark).await {
        releases.failures.send_modify(|failures| *failures += 1);
        tracing::warn!(%mark, error = %error.chain(), ?pause, "the address of a pod could not be given back; trying again");
        if pause == PAUSE {
            inner.failures.tell(Arc::new(error));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    releases.done(&mark, inner.now());
    inner.pool.look();
}

/// In the order that lets nobody else be spoken for: the NIC asks in another name first.
async fn attempt(inner: &Inner, mark: &AttachmentMark) -> Result<()> {
    inner.shared.restored().await;
    let lease = inner.ledger.read(|state| state.leases.get(mark).cloned());
    if lease.as_ref().is_some_and(|lease| lease.state != LeaseState::Releasing) {
        // It was ordered for what was there before.
        return Ok(());
    }
    inner.shared.nics.silent_about(inner, lease.as_ref()).await;
    if inner.shared.source.is_some() {
        inner
            .shared
            .ask(Point::ReleaseAddress, inner.config.source_deadline, |source| source.release(mark))
            .await?;
    } else {
        tracing::warn!(%mark, "nobody is there to take the address of a pod back; it is forgotten");
    }
    let now = inner.now();
    let end = |state: &_| Ok((plan::ended(state, mark, now), ()));
    inner.ledger.transact(Point::EndShared, end).await
}
