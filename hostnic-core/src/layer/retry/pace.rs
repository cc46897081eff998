//! When to try again, and when to give up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Effect, Error, ErrorKind};
use crate::layer::retry::RetryConfig;

/// The attempts of one call: how many are left, until when, and the delays between them.
pub(super) struct Pace<D> {
    config: RetryConfig,
    delays: D,
    started: Instant,
    made: u32,
}

/// What an error means for a call that could be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Trying again may help, not before the other side's own delay where it told one.
    Again(Option<Duration>),
    /// It will fail in the same way.
    Final,
}

impl Verdict {
    pub(super) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Transient => Self::Again(None),
            ErrorKind::Throttled { retry_after } => Self::Again(retry_after),
            _ => Self::Final,
        }
    }
}

impl<D: Iterator<Item = Duration>> Pace<D> {
    pub(super) fn new(config: RetryConfig, delays: D) -> Self {
        Self { config, delays, started: Instant::now(), made: 1 }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The error itself when it is final; with a note on the attempts when there are no more.
    pub(super) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        self.pause_as(Verdict::of(error.kind()), error).await
    }

    /// The same, where the caller knows better than the kind whether trying again may help.
    pub(super) async fn pause_as(&mut self, verdict: Verdict, error: Error) -> Result<(), Error> {
        let Verdict::Again(hint) = verdict else { return Err(error) };
        let backoff = self.delays.next().unwrap_or(self.config.backoff().longest());
        let delay = match hint {
            // Never sooner than told, and spread, as everybody was told the same; but a mad answer is not believed.
            Some(hint) => hint.saturating_add(backoff).min(self.config.longest_hint()),
            None => backoff,
        };
        let spent = self.started.elapsed();
        if self.made >= self.config.attempts().get() || spent.saturating_add(delay) > self.config.elapsed() {
            return Err(self.give_up(error));
        }
        tracing::debug!(
            operation = error.operation(),
            kind = %error.kind(),
            attempt = self.made,
            ?delay,
            "the call failed and is tried again"
        );
        self.made += 1;
        sleep(delay).await;
        Ok(())
    }

    fn give_up(&self, error: Error) -> Error {
        if self.made == 1 {
            return error;
        }
        let last = Error::new(error.kind(), error.operation(), error.subject()).detail(format_args!(
            "given up after {} attempts in {:.1?}",
            self.made,
            self.started.elapsed()
        ));
        match error.effect() {
            Effect::None => last.source(error),
            Effect::Unknown => last.effect_unknown().source(error),
        }
    }
}
