//! All layers in the right order.

use std::sync::Arc;

use crate::layer::concurrency::Concurrency;
use crate::layer::deadline::Deadline;
use crate::layer::layered::Layered;
use crate::layer::metrics::{Metrics, Recorder};
use crate::layer::rate_limit::RateLimit;
use crate::layer::retry::{Retry, RetryConfig};
use crate::layer::trace::Trace;
use crate::provider::NicProvider;

/// Which layers to put around a provider. The order is not for the caller to choose: see [`crate::layer`].
///
/// ```
/// # use std::{num::NonZeroU32, sync::Arc, time::Duration};
/// # use hostnic_core::layer::{Concurrency, Deadline, Rate, RateLimit, RetryConfig, Stack};
/// # use hostnic_core::NicProvider;
/// # fn example(provider: Arc<dyn NicProvider>) -> Result<Arc<dyn NicProvider>, Box<dyn std::error::Error>> {
/// let two = NonZeroU32::try_from(2)?;
/// let rate = Rate::new(two, Duration::from_secs(1), two)?;
/// let provider = Stack::new()
///     .retry(RetryConfig::default())
///     .concurrency(Concurrency::new(two))
///     .rate_limit(RateLimit::new(rate))
///     .deadline(Deadline::default())
///     .trace()
///     .around(provider);
/// # Ok(provider)
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stack {
    trace: Option<Trace>,
    retry: Option<RetryConfig>,
    concurrency: Option<Concurrency>,
    rate_limit: Option<RateLimit>,
    metrics: Option<Metrics>,
    deadline: Option<Deadline>,
}

impl Stack {
    /// No layers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A span around each call.
    #[must_use]
    pub fn trace(self) -> Self {
        Self { trace: Some(Trace), ..self }
    }

    /// Tries calls again.
    #[must_use]
    pub fn retry(self, config: RetryConfig) -> Self {
        Self { retry: Some(config), ..self }
    }

    /// Limits how many calls run at a time. Give the same layer to each provider that shares the limit.
    #[must_use]
    pub fn concurrency(self, layer: Concurrency) -> Self {
        Self { concurrency: Some(layer), ..self }
    }

    /// Limits how many calls begin in a time. Give the same layer to each provider that shares the limit.
    #[must_use]
    pub fn rate_limit(self, layer: RateLimit) -> Self {
        Self { rate_limit: Some(layer), ..self }
    }

    /// Tells about each attempt.
    #[must_use]
    pub fn metrics(self, recorder: Arc<dyn Recorder>) -> Self {
        Self { metrics: Some(Metrics::new(recorder)), ..self }
    }

    /// Limits how long an attempt takes.
    #[must_use]
    pub fn deadline(self, layer: Deadline) -> Self {
        Self { deadline: Some(layer), ..self }
    }

    /// Puts the layers around `provider`.
    pub fn around(self, provider: Arc<dyn NicProvider>) -> Arc<dyn NicProvider> {
        // From the inside out.
        let mut provider = provider;
        if let Some(layer) = self.deadline {
            provider = Arc::new(Layered::new(provider, layer));
        }
        if let Some(layer) = self.metrics {
            provider = Arc::new(Layered::new(provider, layer));
        }
        if let Some(layer) = self.rate_limit {
            provider = Arc::new(Layered::new(provider, layer));
        }
        if let Some(layer) = self.concurrency {
            provider = Arc::new(Layered::new(provider, layer));
        }
        if let Some(config) = self.retry {
            provider = Arc::new(Retry::new(provider, config));
        }
        if let Some(layer) = self.trace {
            provider = Arc::new(Layered::new(provider, layer));
        }
        provider
    }
}
