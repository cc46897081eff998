//! What goes on beside the serving: systemd is told how the node is, and SIGHUP is answered.

use std::convert::Infallible;
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use nix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::reload::{Reloaded, Reloading};
use crate::facts::Facts;
use crate::systemd::{Environment, Systemd};

/// How old the line for `systemctl status` may be.
const STATUS: Duration = Duration::from_secs(10);

/// How often is looked whether the CNI configuration was changed.
const LOOK: Duration = Duration::from_secs(5);

/// Systemd, and whoever sends SIGHUP.
#[derive(Debug)]
pub(super) struct Company {
    systemd: Systemd,
    hangup: Signal,
    reloading: Reloading,
}

impl Company {
    /// From here on SIGHUP no longer ends the process.
    pub(super) fn new(reloading: Reloading) -> Result<Self> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| Error::new(ErrorKind::Internal, "catch", "signals").source(error))?;
        Ok(Self { systemd: Systemd::new(&Environment::of_this_process())?, hangup, reloading })
    }

    /// Says that the node serves, and goes on to say how it is until this is dropped. That it can say so, having looked at
    /// the node's records, is the sign of life.
    pub(super) async fn keep(&mut self, facts: &Facts) -> Infallible {
        let mut told = facts.line();
        self.systemd.ready(&told);
        let watched = self.systemd.watchdog();
        let mut beat = interval(watched.unwrap_or(STATUS).min(STATUS));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    let line = facts.line();
                    if watched.is_some() {
                        self.systemd.alive();
                    }
                    if line != told {
                        self.systemd.status(&line);
                        told = line;
                    }
                }
                Some(()) = self.hangup.recv() => told = self.reload(facts).await,
                _ = look.tick() => {
                    if tokio::task::block_in_place(|| self.reloading.has_news()) {
                        told = self.reload(facts).await;
                    }
                }
            }
        }
    }

    /// Reads the settings anew. Gives back what came of it.
    async fn reload(&mut self, facts: &Facts) -> String {
        self.systemd.reloading(monotonic());
        let Reloaded { said, hairpin } = tokio::task::block_in_place(|| self.reloading.reload());
        if let Some(hairpin) = hairpin {
            facts.switch(hairpin).await;
        }
        self.systemd.ready(&said);
        said
    }

    /// Says that the node ends.
    pub(super) fn part(&self) {
        self.systemd.stopping();
    }
}

fn monotonic() -> Duration {
    // The call fails only for a clock that the kernel does not know.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}
