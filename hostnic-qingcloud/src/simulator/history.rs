//! What the simulator was asked.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// One call, as the simulator saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// When it came, by the simulator's clock.
    pub time: String,
    /// `GET` or `POST`.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The action that it named; empty where it named none.
    pub action: String,
    /// Its parameters, without signature and token.
    pub parameters: BTreeMap<String, String>,
    /// Whether it was carried out, whatever its caller heard.
    pub carried_out: bool,
    /// What its caller heard.
    pub outcome: Outcome,
}

/// What the caller of the API heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An answer with this `ret_code`.
    RetCode(u32),
    /// A page with this HTTP status.
    Http(u16),
    /// A reset of the connection.
    Reset,
    /// Half an answer.
    Cut,
}

/// The latest calls, and the number of all.
#[derive(Debug, Default)]
pub(super) struct History {
    calls: VecDeque<Call>,
    counts: BTreeMap<String, u64>,
}

impl History {
    const KEPT: usize = 65_536;

    pub(super) fn record(&mut self, call: Call) {
        *self.counts.entry(call.action.clone()).or_default() += 1;
        if self.calls.len() == Self::KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.clone()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
