//! How cases ended.

use std::fmt;

use crate::conformance::contract::Clause;
use crate::conformance::world::Requirement;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The provider does what the case asks.
    Passed,
    /// The world or the provider's capabilities do not allow the case.
    Skipped(String),
    /// The provider breaks its contract.
    Failed(Failure),
    /// The case did not come to its point, or could not be cleaned up after: something else is wrong.
    Inconclusive(String),
}

/// A broken line of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line.
    pub clause: Clause,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the contract says \"{}\", but {}", self.clause, self.seen)
    }
}

/// One case and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// The case.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
}

/// How all cases ended. Displays one line for each, and a sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were run.
    pub results: Vec<CaseResult>,
}

impl Report {
    /// Whether nothing failed and nothing was inconclusive.
    pub fn conforms(&self) -> bool {
        self.results.iter().all(|r| matches!(r.verdict, Verdict::Passed | Verdict::Skipped(_)))
    }

    /// The cases whose line of the contract is broken.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &Failure)> {
        self.results.iter().filter_map(|result| match &result.verdict {
            Verdict::Failed(failure) => Some((result.name, failure)),
            _ => None,
        })
    }

    fn count(&self, which: impl Fn(&Verdict) -> bool) -> usize {
        self.results.iter().filter(|r| which(&r.verdict)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CaseResult { name, verdict } in &self.results {
            match verdict {
                Verdict::Passed => writeln!(f, "passed        {name}")?,
                Verdict::Skipped(reason) => writeln!(f, "skipped       {name}: {reason}")?,
                Verdict::Failed(failure) => writeln!(f, "FAILED        {name}: {failure}")?,
                Verdict::Inconclusive(reason) => writeln!(f, "INCONCLUSIVE  {name}: {reason}")?,
            }
        }
        write!(
            f,
            "{} passed, {} failed, {} inconclusive, {} skipped",
            self.count(|v| *v == Verdict::Passed),
            self.count(|v| matches!(v, Verdict::Failed(_))),
            self.count(|v| matches!(v, Verdict::Inconclusive(_))),
            self.count(|v| matches!(v, Verdict::Skipped(_))),
        )
    }
}

/// Why a case ends before its end. Cases return it with `?`.
#[derive(Debug)]
pub(super) enum Stop {
    Skip(String),
    Fail(Failure),
    /// What the case needs first does not work; another case is about that.
    SetUp(String),
}

impl From<Requirement> for Stop {
    fn from(requirement: Requirement) -> Self {
        Self::Skip(format!("it needs {requirement}"))
    }
}

impl From<Stop> for Verdict {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Skip(reason) => Self::Skipped(reason),
            Stop::Fail(failure) => Self::Failed(failure),
            Stop::SetUp(reason) => Self::Inconclusive(reason),
        }
    }
}

/// What a case comes to.
pub(super) type Outcome<T = ()> = Result<T, Stop>;

impl Clause {
    /// The clause is broken, as `seen` shows.
    pub(super) fn broken(self, seen: impl Into<String>) -> Stop {
        Stop::Fail(Failure { clause: self, seen: seen.into() })
    }

    /// Goes on where `holds`; `seen` tells what was seen instead.
    pub(super) fn check(self, holds: bool, seen: impl FnOnce() -> String) -> Outcome {
        if holds { Ok(()) } else { Err(self.broken(seen())) }
    }
}
