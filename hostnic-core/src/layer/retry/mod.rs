//! Trying again, without ever doing anything twice.

mod config;
mod create;
mod pace;
mod plug;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet, Survey};
use crate::error::Result;
use crate::id::{JobId, NicId, SubnetId};
use crate::provider::{Capabilities, CreateNics, NicProvider};

pub use config::RetryConfig;
use pace::Pace;
use plug::Goal;

/// Tries calls again that failed with `Transient` or `Throttled`.
///
/// - Reads and deletes may be repeated whatever became of them, and are.
/// - A **create** is repeated at once only when the error says that it had no effect. Otherwise the NICs are looked up
///   by the request's name, several times, after the time that the cloud's lists lag behind. All there: they are the
///   answer. Some there: an error that says how many. None there: it is created again, under the same name. Should
///   the first request come true even later, its NICs carry the same token, and are found by it.
/// - After an **attach** or **detach** whose effect is unknown the NICs are looked at, and only those that are not yet
///   where they should be are asked for again. [`Submitted::Complete`] is the answer when every look finds all there.
///
/// Once a write was in doubt, an error that this layer returns for it says
/// [`Effect::Unknown`](crate::Effect::Unknown), even when its last attempt had no effect.
///
/// Dropping a call stops its attempts; nothing goes on in the background.
#[derive(Debug)]
pub struct Retry<P> {
    inner: P,
    config: RetryConfig,
    calls: AtomicU64,
}

impl<P: NicProvider> Retry<P> {
    /// Puts retries around `inner`.
    pub fn new(inner: P, config: RetryConfig) -> Self {
        Self { inner, config, calls: AtomicU64::new(0) }
    }

    /// The provider inside.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// The attempts of a new call. Each call draws its own jitter, in a sequence that the seed determines.
    fn pace(&self) -> Pace<impl Iterator<Item = Duration> + Send + use<P>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (seed, _) = crate::random::split_mix(self.config.seed().wrapping_add(call));
        Pace::new(self.config, self.config.backoff().delays(seed))
    }

    /// Repeats a call that does no harm when it is carried out twice.
    async fn repeat<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let mut pace = self.pace();
        loop {
            match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => pace.pause(error).await?,
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: NicProvider> NicProvider for Retry<P> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn instance(&self) -> Result<Instance> {
        self.repeat(|| self.inner.instance()).await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        self.repeat(|| self.inner.subnets(ids)).await
    }

    async fn survey(&self, subnets: &[SubnetId]) -> Result<Survey> {
        self.repeat(|| self.inner.survey(subnets)).await
    }

    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        self.create(request).await
    }

    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.plug(nics, Goal::Attached).await
    }

    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.plug(nics, Goal::Detached).await
    }

    async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        self.repeat(|| self.inner.delete_nics(nics)).await
    }

    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        self.repeat(|| self.inner.list_nics(filter)).await
    }

    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        self.repeat(|| self.inner.jobs(jobs)).await
    }
}
