//! Giving back, once, what nobody holds, and beginning anew with fresh NICs.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::NicId;
use crate::ledger::{NicRecord, NicState, State};

use super::{Pool, Shared};

/// What [`Pool::clean`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// NICs that are gone from the cloud.
    pub given_back: usize,
    /// NICs that are on their way out, or still free because the cloud did not answer; the pool goes on with the former.
    pub left: usize,
    /// NICs that pods hold, or need as their gateway; they were not touched.
    pub held: usize,
}

/// The time in which nothing is made and all that is free is given back. It ends when this is dropped.
struct Cleaning<'a>(&'a Shared);

impl<'a> Cleaning<'a> {
    fn begin(shared: &'a Shared) -> Self {
        {
            let mut inflight = shared.inflight();
            inflight.cleaning += 1;
            // Those go, too, and are made when the next pod needs them.
            shared.parts.ledger.read(|state| inflight.forget_unused_gateways(state));
        }
        shared.wake.notify_one();
        Self(shared)
    }
}

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        {
            let mut inflight = self.0.inflight();
            inflight.cleaning -= 1;
            // What was found hopeless meanwhile no longer is.
            inflight.unserved = None;
        }
        self.0.wake.notify_one();
    }
}

/// Whether the NIC is in and of no use to a pod by now.
fn is_free(state: &State, nic: &NicRecord) -> bool {
    nic.state == NicState::Ready && nic.role.pod().is_none() && !state.is_held(nic)
}

impl Pool {
    /// Gives back every NIC that is in and that no pod holds, and fills up again with new ones. Waits for the former, at
    /// most `patience`. An ADD that comes meanwhile is served at once or by one of the new NICs.
    ///
    /// Dropping the future ends the waiting; NICs that are on their way out by then go on.
    pub async fn clean(&self, patience: Duration) -> Cleaned {
        let ledger = &self.shared.parts.ledger;
        let free: BTreeSet<NicId> = ledger.read(|state| {
            state.nics.values().filter(|nic| is_free(state, nic)).map(|nic| nic.id.clone()).collect()
        });
        let some = |holds: fn(&State, &NicRecord) -> bool| {
            ledger.read(|state| {
                let mut there = free.iter().filter_map(|id| state.nics.get(id));
                there.any(|nic| holds(state, nic))
            })
        };
        let mut changes = ledger.changes();
        let gone = async {
            let cleaning = Cleaning::begin(&self.shared);
            // The sender lives as long as the ledger, which this borrows.
            while some(is_free) && changes.changed().await.is_ok() {}
            // Out they go by themselves from here on, and pods need not wait for that.
            drop(cleaning);
            while some(|state, nic| !state.is_held(nic)) && changes.changed().await.is_ok() {}
        };
        // What is left says whether the patience was enough.
        let _ = tokio::time::timeout(patience, gone).await;
        ledger.read(|state| outcome(&free, state))
    }
}

fn outcome(free: &BTreeSet<NicId>, state: &State) -> Cleaned {
    let there = || free.iter().filter_map(|id| state.nics.get(id));
    Cleaned {
        given_back: free.len() - there().count(),
        left: there().filter(|nic| !state.is_held(nic)).count(),
        held: state.nics.values().filter(|nic| state.is_held(nic)).count(),
    }
}
