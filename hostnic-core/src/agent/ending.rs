//! What is left of a DEL after its answer: the NIC's way back to the node, what is remembered of the pod's address, and the
//! end of its lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::LeaseRecord;
use crate::point::Point;
use crate::route::SilencedPod;

use super::gate::Pass;
use super::{Inner, undo};

/// The pauses before all attempts but the first. For that long the attachment waits; then others have their turn.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_millis(1000)];

/// How DELs end that were answered before their NICs were back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndingCounts {
    /// How many are ending at this moment.
    pub running: usize,
    /// How many attempts have failed since the agent was started.
    pub failures: u64,
    /// How many DELs were left to the comparison, or to a repeated DEL, since all their attempts had failed.
    pub left: u64,
}

/// All endings of an agent.
#[derive(Debug)]
pub(super) struct Endings {
    counts: watch::Sender<EndingCounts>,
    /// The kernel moves one link at a time. Where several of ours waited for it, the ADDs and DELs that somebody waits
    /// for would come after all of them.
    turn: Semaphore,
}

impl Default for Endings {
    fn default() -> Self {
        Self { counts: watch::Sender::default(), turn: Semaphore::new(1) }
    }
}

impl Endings {
    pub(super) fn counts(&self) -> EndingCounts {
        *self.counts.borrow()
    }

    /// Waits until none is running.
    pub(super) async fn none(&self) {
        // The sender lives as long as this.
        let _ = self.counts.subscribe().wait_for(|counts| counts.running == 0).await;
    }
}

/// Counted among the running ones until it is dropped.
#[derive(Debug)]
struct Running<'a>(&'a Endings);

impl<'a> Running<'a> {
    fn begin(endings: &'a Endings) -> Self {
        endings.counts.send_modify(|counts| counts.running += 1);
        Self(endings)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.running -= 1);
    }
}

/// A DEL whose pod is silent: the lease is `releasing`, and whatever comes next on this attachment waits for the pass.
/// Dropped, it is found again by the next agent, as after a crash.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    inner: &'a Inner,
    record: LeaseRecord,
    pod: Box<dyn SilencedPod>,
    // Dropped in this order: whoever waits for the last ending finds the attachment open.
    _pass: Pass<'a>,
    _running: Running<'a>,
}

impl<'a> Ending<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        record: LeaseRecord,
        pod: Box<dyn SilencedPod>,
        pass: Pass<'a>,
    ) -> Self {
        Self { inner, record, pod, _pass: pass, _running: Running::begin(&inner.endings) }
    }

    /// Ends the lease, in a few attempts. Should all of them fail, the lease stays `releasing`: the address is not given
    /// to anybody, and a repeated DEL or ADD, or the next comparison, goes on.
    pub(super) async fn run(mut self) {
        for pause in PAUSES {
            let Err(error) = self.attempt().await else { return };
            tracing::warn!(mark = %self.record.mark, error = %error.chain(), ?pause, "the NIC of a deleted pod is not back; trying again");
            sleep(pause).await;
        }
        let Err(error) = self.attempt().await else { return };
        tracing::error!(mark = %self.record.mark, error = %error.chain(), "the NIC of a deleted pod is not back; the next comparison tries again");
        self.inner.endings.counts.send_modify(|counts| counts.left += 1);
        self.inner.failures.tell(Arc::new(error));
    }

    async fn attempt(&mut self) -> Result<()> {
        let done = self.end().await;
        if done.is_err() {
            self.inner.endings.counts.send_modify(|counts| counts.failures += 1);
        }
        done
    }

    async fn end(&mut self) -> Result<()> {
        let turn = self.inner.endings.turn.acquire().await.map_err(|closed| {
            Error::new(ErrorKind::Internal, "give back NIC", &self.record.mark).source(closed)
        })?;
        let points = self.inner.ledger.points();
        let back = points.pass(Point::GiveNicBack, || self.pod.give_back());
        self.inner.in_time(back).await?;
        drop(turn);
        // Not in turn, as many are forgotten together; and before the lease ends, as the address is the next pod's then.
        let forgotten = points.pass(Point::ForgetPod, || self.pod.forget());
        self.inner.in_time(forgotten).await?;
        undo::forget(self.inner, &self.record).await?;
        self.inner.pool.look();
        Ok(())
    }
}
