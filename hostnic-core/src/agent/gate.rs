//! One operation on one attachment at a time, and a DEL's way past the ADD that it overtakes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;

/// The attachments that something is happening to.
#[derive(Debug, Default)]
pub(super) struct Gates {
    slots: Mutex<HashMap<AttachmentMark, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The ADDs that run or wait for their turn, and when their runtime started them.
    adds: Mutex<Vec<(BootTime, CancellationToken)>>,
}

/// The right to work on an attachment; dropped, the next one's turn comes.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gates: &'a Gates,
    mark: AttachmentMark,
    slot: Arc<Slot>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Gates {
    fn slots(&self) -> MutexGuard<'_, HashMap<AttachmentMark, Arc<Slot>>> {
        // The map is changed by single inserts and removals only.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, mark: &AttachmentMark) -> Pass<'_> {
        let slot = self.slots().entry(mark.clone()).or_default().clone();
        Pass { gates: self, mark: mark.clone(), slot, turn: None }
    }

    /// Says that there is an ADD, which a DEL started later may cancel from now on. Its turn is still to be
    /// [awaited](Pass::wait).
    pub(super) fn announce_add(
        &self,
        mark: &AttachmentMark,
        started: BootTime,
        cancel: &CancellationToken,
    ) -> Pass<'_> {
        let pass = self.queue(mark);
        pass.slot.adds().push((started, cancel.clone()));
        pass
    }

    /// Cancels the ADDs that were started before this DEL, and waits for its turn.
    pub(super) async fn enter_del(&self, mark: &AttachmentMark, started: BootTime) -> Pass<'_> {
        let pass = self.queue(mark);
        for (_, add) in pass.slot.adds().iter().filter(|(add_started, _)| *add_started <= started) {
            add.cancel();
        }
        pass.wait().await
    }

    /// Waits for a turn, cancelling nobody.
    pub(super) async fn enter(&self, mark: &AttachmentMark) -> Pass<'_> {
        self.queue(mark).wait().await
    }

    /// Whether something is happening to the attachment at this moment.
    pub(super) fn is_open(&self, mark: &AttachmentMark) -> bool {
        !self.slots().contains_key(mark)
    }
}

impl Slot {
    fn adds(&self) -> MutexGuard<'_, Vec<(BootTime, CancellationToken)>> {
        self.adds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Waits for the turn.
    pub(super) async fn wait(mut self) -> Self {
        self.turn = Some(self.slot.turn.clone().lock_owned().await);
        self
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut slots = self.gates.slots();
        self.turn = None;
        // The map's and this one's: nobody else waits, and under the map's lock nobody can begin to.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(&self.mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::attachment::AttachmentKey;

    fn mark() -> AttachmentMark {
        let key = AttachmentKey {
            network: "net".parse().unwrap(),
            container: "c".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        key.mark()
    }

    fn at(seconds: u64) -> BootTime {
        BootTime::new(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn a_del_cancels_the_adds_that_were_started_before_it_and_only_those() {
        let gates = Gates::default();
        let (early, late) = (CancellationToken::new(), CancellationToken::new());
        let mark = mark();
        let first = gates.announce_add(&mark, at(1), &early).wait().await;
        let second = gates.announce_add(&mark, at(3), &late).wait();
        let third = gates.enter_del(&mark, at(2));
        tokio::pin!(second, third);
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        assert!(early.is_cancelled());
        assert!(!late.is_cancelled());
        drop(first);
        drop(second.await);
        drop(third.await);
        assert!(gates.is_open(&mark));
    }
}
