//! What can go wrong in the simulated cloud, and when it does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::Operation;
use super::quota::RateLimit;
use super::seed::Random;
use crate::error::{Error, ErrorKind, Result};

/// What goes wrong with a call, or with the job that it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails with this kind and changes nothing.
    Refuse(ErrorKind),
    /// The call never reaches the cloud, and its caller cannot know: `Transient`, `Effect::Unknown`.
    LoseRequest,
    /// The call is carried out and its answer is lost: `Transient`, `Effect::Unknown`.
    LoseAnswer,
    /// The call is carried out and never answered: its future stays pending.
    NeverAnswer,
    /// The job does nothing, fails when it is due, and does not say for which NICs.
    FailJob,
    /// The job does nothing for the first so many NICs of the call, and names them when it fails.
    FailJobFor(usize),
    /// The job does not end until [`Cloud::unstick_jobs`](super::Cloud::unstick_jobs).
    StickJob,
    /// The job is [`Unknown`](crate::cloud::JobState::Unknown) to whoever asks.
    ForgetJob {
        /// Whether its work is done all the same, when it is due.
        carried_out: bool,
    },
    /// After the call some NIC, chosen by the seed and no primary one, is gone, wherever it was.
    VanishNic,
}

/// Which calls of an operation a fault meets, counted from the moment that it was injected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The n-th one only; 1 is the next.
    Nth(u64),
    /// The next so many.
    Next(u64),
    /// Each with this probability, from 0.0 to 1.0, drawn from the cloud's seed.
    Chance(f64),
    /// Every one.
    Always,
}

/// How a job goes that a call begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fate {
    /// It does its work when it is due.
    #[default]
    Succeed,
    /// It does nothing, fails when it is due, and does not say for which NICs.
    Fail,
    /// It does nothing for the first so many NICs, and names them when it fails.
    FailFor(usize),
    /// It does not end until [`Cloud::unstick_jobs`](super::Cloud::unstick_jobs).
    Stick,
    /// It is unknown to whoever asks.
    Forget {
        /// Whether its work is done all the same, when it is due.
        carried_out: bool,
    },
}

impl Fate {
    /// Whether the job does all of its work in the end.
    pub(super) fn does_the_work(self) -> bool {
        matches!(self, Self::Succeed | Self::Stick | Self::Forget { carried_out: true })
    }
}

/// How an answer gets to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Delivery {
    #[default]
    Delivered,
    Lost,
    Never,
}

/// How an admitted call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    pub(super) fate: Fate,
    pub(super) delivery: Delivery,
    pub(super) vanish: bool,
}

#[derive(Debug)]
struct Injected<O, F> {
    operation: O,
    when: When,
    fault: F,
    seen: u64,
}

impl<O, F> Injected<O, F> {
    fn strikes(&mut self, random: &mut Random) -> bool {
        self.seen += 1;
        match self.when {
            When::Nth(n) => self.seen == n,
            When::Next(n) => self.seen <= n,
            When::Chance(probability) => random.chance(probability),
            When::Always => true,
        }
    }

    fn is_spent(&self) -> bool {
        match self.when {
            When::Nth(n) | When::Next(n) => self.seen >= n,
            When::Chance(_) | When::Always => false,
        }
    }
}

/// The faults `F` that wait for calls of operations `O`. An HTTP front has its own, beside the cloud's.
#[derive(Debug)]
pub struct Faults<O, F>(Vec<Injected<O, F>>);

impl<O, F> Default for Faults<O, F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<O: PartialEq, F: Clone> Faults<O, F> {
    /// Lets `fault` meet calls of `operation` from now on.
    pub fn inject(&mut self, operation: O, when: When, fault: F) {
        self.0.push(Injected { operation, when, fault, seen: 0 });
    }

    /// Takes all back.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Those that have not met all the calls that they wait for.
    pub fn waiting(&self) -> impl Iterator<Item = (&O, When, &F)> {
        self.0.iter().map(|f| (&f.operation, f.when, &f.fault))
    }

    /// The first fault that meets this call. Every fault of the operation counts it, whether it strikes or not.
    pub fn struck(&mut self, operation: O, random: &mut Random) -> Option<F> {
        let mut struck = None;
        for fault in self.0.iter_mut().filter(|f| f.operation == operation) {
            if fault.strikes(random) && struck.is_none() {
                struck = Some(fault.fault.clone());
            }
        }
        self.0.retain(|f| !f.is_spent());
        struck
    }
}

/// What every call passes before it is carried out: credentials, the rate limit and the faults.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) revoked: bool,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) faults: Faults<Operation, Fault>,
}

impl Gate {
    /// Lets the call in, and says how it goes; or refuses it.
    pub(super) fn admit(
        &mut self,
        operation: Operation,
        subject: &str,
        now: Duration,
        random: &mut Random,
    ) -> Result<Verdict> {
        let refuse = |kind| Error::new(kind, operation.verb(), subject);
        if self.revoked {
            return Err(refuse(ErrorKind::Unauthorised).detail("the credentials were revoked"));
        }
        if let Some(limit) = &mut self.rate_limit {
            limit.admit(now).map_err(|wait| refuse(ErrorKind::Throttled { retry_after: Some(wait) }))?;
        }
        self.faults.struck(operation, random).map_or(Ok(Verdict::default()), |fault| verdict(&fault, refuse))
    }
}

fn verdict(fault: &Fault, refuse: impl Fn(ErrorKind) -> Error) -> Result<Verdict> {
    let ok = Verdict::default();
    Ok(match fault {
        Fault::Refuse(kind) => return Err(refuse(*kind).detail(format_args!("{kind} (injected)"))),
        Fault::LoseRequest => return Err(lost_answer(refuse(ErrorKind::Transient))),
        Fault::LoseAnswer => Verdict { delivery: Delivery::Lost, ..ok },
        Fault::NeverAnswer => Verdict { delivery: Delivery::Never, ..ok },
        Fault::FailJob => Verdict { fate: Fate::Fail, ..ok },
        Fault::FailJobFor(nics) => Verdict { fate: Fate::FailFor(*nics), ..ok },
        Fault::StickJob => Verdict { fate: Fate::Stick, ..ok },
        Fault::ForgetJob { carried_out } => {
            Verdict { fate: Fate::Forget { carried_out: *carried_out }, ..ok }
        }
        Fault::VanishNic => Verdict { vanish: true, ..ok },
    })
}

/// The error of a caller that got no answer.
pub(super) fn lost_answer(error: Error) -> Error {
    error.detail("no answer came; whether it was carried out is not known (injected)").effect_unknown()
}
