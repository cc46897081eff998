//! One call from its coming to its answer, without a clock: gate, state machine, history.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::fault::{Delivery, Fate, Gate, lost_answer};
use super::history::{Call, History, Operation, Outcome};
use super::seed::Random;
use super::state::State;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::id::{InstanceId, NicId};

/// Who calls, and about what.
pub(super) struct Caller<'a> {
    pub(super) operation: Operation,
    pub(super) instance: &'a InstanceId,
    /// What errors name.
    pub(super) subject: &'a (dyn Display + Sync),
    /// How many things it is about.
    pub(super) items: usize,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// `None` where none will ever come.
    pub(super) result: Option<Result<T>>,
    pub(super) latency: Duration,
}

/// The state machine and all that stands before it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) state: State,
    pub(super) gate: Gate,
    pub(super) random: Random,
    pub(super) history: History,
    pub(super) latencies: BTreeMap<Operation, Duration>,
}

impl Service {
    /// Carries out one call that comes at `now`.
    pub(super) fn serve<T>(
        &mut self,
        caller: &Caller<'_>,
        now: Duration,
        carry_out: impl FnOnce(&mut State, Fate, Duration) -> Result<T>,
    ) -> Answer<T> {
        self.state.settle(now);
        let (result, outcome) = self.decide(caller, now, carry_out);
        // Jobs that take no time are done when the call is answered.
        self.state.settle(now);
        self.history.record(Call {
            at: now,
            operation: caller.operation,
            instance: caller.instance.clone(),
            items: caller.items,
            outcome,
        });
        Answer { result, latency: self.latencies.get(&caller.operation).copied().unwrap_or_default() }
    }

    fn decide<T>(
        &mut self,
        caller: &Caller<'_>,
        now: Duration,
        carry_out: impl FnOnce(&mut State, Fate, Duration) -> Result<T>,
    ) -> (Option<Result<T>>, Outcome) {
        let subject = caller.subject.to_string();
        let verdict = match self.gate.admit(caller.operation, &subject, now, &mut self.random) {
            Ok(verdict) => verdict,
            Err(error) => {
                let outcome = match error.effect() {
                    Effect::None => Outcome::Refused(error.kind()),
                    Effect::Unknown => Outcome::Lost { carried_out: false },
                };
                return (Some(Err(error)), outcome);
            }
        };
        let result = carry_out(&mut self.state, verdict.fate, now);
        if verdict.vanish {
            self.vanish_any(now);
        }
        match (verdict.delivery, result) {
            (Delivery::Delivered, Ok(answer)) => (Some(Ok(answer)), Outcome::Answered),
            (Delivery::Delivered, Err(error)) => {
                let outcome = Outcome::Refused(error.kind());
                (Some(Err(error)), outcome)
            }
            (Delivery::Lost, result) => {
                let error = Error::new(ErrorKind::Transient, caller.operation.verb(), subject);
                (Some(Err(lost_answer(error))), Outcome::Lost { carried_out: result.is_ok() })
            }
            (Delivery::Never, _) => (None, Outcome::Unanswered),
        }
    }

    /// Takes away some NIC that is no instance's primary one.
    pub(super) fn vanish_any(&mut self, now: Duration) -> Option<NicId> {
        let candidates: Vec<NicId> = self.state.removable().cloned().collect();
        let nic = candidates.get(self.random.below(candidates.len()))?;
        self.state.remove(nic, now);
        Some(nic.clone())
    }
}
