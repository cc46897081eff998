//! Calls of the plugin that are made at the same time, and their answers as they come.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Kind;
use super::moment::Moment;
use crate::host::PATIENCE;
use crate::machine::Machine;
use crate::plugin::Outcome;
use crate::pod::Pod;

/// A burst under way. Each call is known by its pod's number.
pub(crate) struct Burst {
    begun: Instant,
    last: Duration,
    calls: JoinSet<(usize, Outcome)>,
    outcomes: Vec<(usize, Outcome)>,
}

impl Burst {
    /// Begins the calls, for all these pods.
    pub(crate) fn begin(machine: &Machine, kind: Kind, pods: Vec<(usize, &Pod)>) -> Self {
        let mut calls = JoinSet::new();
        for (number, pod) in pods {
            let call = machine.call(kind.command(), pod);
            calls.spawn(async move { (number, call.run().await) });
        }
        Self { begun: Instant::now(), last: Duration::ZERO, calls, outcomes: Vec::new() }
    }

    /// How long it took so far, or to its last answer.
    pub(crate) fn elapsed(&self) -> Duration {
        if self.calls.is_empty() { self.last } else { self.begun.elapsed() }
    }

    /// What the calls came to so far.
    pub(crate) fn outcomes(self) -> Vec<(usize, Outcome)> {
        self.outcomes
    }

    /// Waits for a moment; no longer than there are calls.
    pub(crate) async fn until(&mut self, moment: &Moment) {
        match *moment {
            Moment::At(time) => self.run_until(self.begun + time).await,
            Moment::After(answers, time) => {
                while self.outcomes.len() < answers && self.answer().await {}
                self.run_until(Instant::now() + time).await;
            }
        }
    }

    async fn run_until(&mut self, at: Instant) {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(at) => return,
                more = self.answer() => if !more { return },
            }
        }
    }

    /// Waits for all calls that are left.
    pub(crate) async fn finish(&mut self) {
        let rest = async { while self.answer().await {} };
        assert!(timeout(PATIENCE * 4, rest).await.is_ok(), "calls hang");
    }

    /// Waits for the next answer; false when there are no more.
    async fn answer(&mut self) -> bool {
        let Some(answer) = self.calls.join_next().await else { return false };
        self.outcomes.push(answer.unwrap());
        self.last = self.begun.elapsed();
        true
    }
}
