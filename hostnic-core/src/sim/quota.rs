//! What the simulated cloud allows: numbers of things, and numbers of calls.

use std::collections::VecDeque;
use std::time::Duration;

/// How many NICs may be where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// NICs in one subnet, primary ones included; 252 by default.
    pub nics_per_subnet: u32,
    /// NICs in one instance, the primary one included; 64 by default.
    pub nics_per_instance: u32,
    /// NICs of the account, primary ones not counted; no limit by default.
    pub nics_per_account: Option<u32>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { nics_per_subnet: 252, nics_per_instance: 64, nics_per_account: None }
    }
}

/// At most so many calls of the account, all nodes together, in any stretch of time as long as the window.
#[derive(Debug, Clone)]
pub struct RateLimit {
    calls: usize,
    window: Duration,
    admitted: VecDeque<Duration>,
}

impl RateLimit {
    /// At most `calls` in any `window`.
    pub fn new(calls: u32, window: Duration) -> Self {
        Self { calls: usize::try_from(calls).unwrap_or(usize::MAX), window, admitted: VecDeque::new() }
    }

    /// Counts a call at `now`, or says how long to wait for the next one that would be admitted.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        while self.admitted.front().is_some_and(|at| now.saturating_sub(*at) >= self.window) {
            self.admitted.pop_front();
        }
        if self.admitted.len() < self.calls {
            self.admitted.push_back(now);
            return Ok(());
        }
        let oldest = self.admitted.front().copied().unwrap_or(now);
        Err(oldest.saturating_add(self.window).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_call_is_told_the_moment_from_which_one_is_admitted() {
        let s = Duration::from_secs;
        let mut limit = RateLimit::new(2, s(10));
        assert_eq!(limit.admit(s(0)), Ok(()));
        assert_eq!(limit.admit(s(4)), Ok(()));
        assert_eq!(limit.admit(s(5)), Err(s(5)));
        assert_eq!(limit.admit(s(10)), Ok(()));
        assert_eq!(limit.admit(s(11)), Err(s(3)));
    }
}
