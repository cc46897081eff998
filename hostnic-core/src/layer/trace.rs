//! A span for each call.

use tracing::{Instrument, debug_span, field};

use crate::error::{Effect, Result};
use crate::layer::call::{Answer, Call};
use crate::layer::layered::Around;
use crate::layer::metrics::Outcome;

/// Puts each call into a `tracing` span at level DEBUG with its operation, subject and sizes, and writes on it how it
/// ended.
///
/// The error's text is left to whoever handles the error: it may quote an answer of the cloud, and this layer writes
/// nothing that could hold a secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace;

impl Around for Trace {
    async fn around<T, F>(&self, call: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let span = debug_span!(
            "cloud_call",
            operation = call.operation().name(),
            subject = %call,
            asked = call.items(),
            answered = field::Empty,
            outcome = field::Empty,
            effect = field::Empty,
        );
        let result = work.instrument(span.clone()).await;
        match &result {
            Ok(answer) => {
                span.record("answered", answer.items());
                span.record("outcome", Outcome::Answered.label());
            }
            Err(error) => {
                span.record("outcome", Outcome::Failed(error.kind()).label());
                if error.effect() == Effect::Unknown {
                    span.record("effect", "unknown");
                }
            }
        }
        result
    }
}
