//! When the cloud is asked next, and for what.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{ErrorKind, Result};
use crate::random::split_mix;

use super::super::compare::Finding;
use super::super::node::VethSide;
use super::super::{Inner, node};
use super::gather::Scope;

/// The time after which a comparison that failed is tried again; doubled from then on, unless ADDs wait for it.
const RETRY: Duration = Duration::from_secs(5);

/// When the cloud is asked next, and for what: rarely while nothing differs.
pub(super) struct Pace {
    pause: Duration,
    pub(super) next: Instant,
    retry: Duration,
    draw: u64,
    pub(super) scope: Scope,
}

impl Pace {
    pub(super) fn new(inner: &Inner) -> Self {
        // The subnets are described at the start anyway.
        let scope = Scope::Strays;
        Self { pause: inner.config.cloud_sync, next: Instant::now(), retry: RETRY, draw: inner.seed, scope }
    }

    /// Takes note of a comparison with the cloud that came to its end.
    fn compared(&mut self, inner: &Inner, quiet: bool, now: Instant) {
        self.pause =
            if quiet { (self.pause * 2).min(inner.config.cloud_sync) } else { inner.config.node_sync };
        self.next = now + self.jittered();
        self.scope = match self.scope {
            Scope::Strays => Scope::Subnets,
            Scope::Subnets | Scope::All => Scope::Strays,
        };
    }

    /// The pause and up to a tenth more, so that the nodes of an account come apart that began together.
    fn jittered(&mut self) -> Duration {
        let (value, draw) = split_mix(self.draw);
        self.draw = draw;
        self.pause.mul_f64(1.0 + 0.1 * (value % 1000) as f64 / 1000.0)
    }

    /// When to compare next: with the cloud less and less often while all is quiet.
    pub(super) fn after(
        &mut self,
        inner: &Inner,
        with_cloud: bool,
        result: &Result<Vec<Finding>>,
        described: bool,
        quiet: bool,
    ) -> Instant {
        let now = Instant::now();
        if let Err(error) = result {
            // Who waits is served soon where that may help: not where the cloud refuses us, nor where it is not reached yet.
            let awaited = !*inner.recovered.borrow() && described && error.kind() == ErrorKind::Transient;
            let retry = if awaited { RETRY } else { self.retry };
            self.retry = (retry * 2).min(inner.config.node_sync);
            return now + retry;
        }
        self.retry = RETRY;
        if with_cloud {
            self.compared(inner, quiet, now);
        }
        let lacks_address = inner.veth.as_ref().is_some_and(VethSide::lacks_address);
        let sync = if lacks_address { node::RETRY } else { inner.config.node_sync };
        (now + sync).min(self.next)
    }
}
