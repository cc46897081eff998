//! What lists show: the NICs as they were a moment ago.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cloud::{Nic, NicFilter};
use crate::id::NicId;

/// A copy of the NICs that follows the truth after a constant lag, change by change and in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LaggingView {
    lag: Duration,
    shown: BTreeMap<NicId, Nic>,
    coming: VecDeque<(Duration, NicId, Option<Nic>)>,
}

impl LaggingView {
    pub(super) fn new(lag: Duration) -> Self {
        Self { lag, ..Self::default() }
    }

    /// Tells that at `now` the NIC has become this, or is gone.
    pub(super) fn publish(&mut self, id: &NicId, nic: Option<&Nic>, now: Duration) {
        self.coming.push_back((now.saturating_add(self.lag), id.clone(), nic.cloned()));
    }

    /// What a list that is answered at `now` shows.
    pub(super) fn list(&mut self, filter: &NicFilter, now: Duration) -> Vec<Nic> {
        while self.coming.front().is_some_and(|(from, ..)| *from <= now) {
            if let Some((_, id, change)) = self.coming.pop_front() {
                match change {
                    Some(nic) => self.shown.insert(id, nic),
                    None => self.shown.remove(&id),
                };
            }
        }
        match &filter.ids {
            Some(ids) => {
                // Through a set: an id that is asked for twice is answered once.
                let ids: std::collections::BTreeSet<_> = ids.iter().collect();
                ids.iter()
                    .filter_map(|id| self.shown.get(id))
                    .filter(|n| filter.matches(n))
                    .cloned()
                    .collect()
            }
            None => self.shown.values().filter(|n| filter.matches(n)).cloned().collect(),
        }
    }
}
