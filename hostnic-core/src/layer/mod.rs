//! What goes around a provider: retries, limits, deadlines, metrics and traces, for any cloud alike.
//!
//! Each layer wraps any [`NicProvider`](crate::NicProvider), an `Arc<dyn NicProvider>` included, and is one itself.
//! [`Stack`] puts them together.
//!
//! # Order
//! From the outside in; each place has its reason:
//!
//! | layer | why there |
//! |---|---|
//! | [`Trace`] | One span holds all attempts of a call, and what they waited for. |
//! | [`Retry`] | Everything below is once per attempt. Its own look-ups are calls like others, limited like others. |
//! | [`Concurrency`] | Outside the rate limit: who has waited for the rate must not wait again, or calls would go out in a burst, or during a pause that began meanwhile. |
//! | [`RateLimit`] | Just before the call goes out, where it sees each `Throttled` before anybody reacts to it. |
//! | [`Metrics`] | Counts calls that were really made and how long the cloud took, without our own waiting; a missed deadline is one of them. |
//! | [`Deadline`] | Innermost: the time of one attempt. Outside the limits it would punish calls for waiting in line; outside the retries it would drop a create in the middle of its look-up and lose what that had found. |
//!
//! A deadline for a whole call, retries included, is the caller's: drop the future.
//!
//! Only [`NicProvider`](crate::NicProvider) is wrapped. The traits of [`crate::capability`] are called rarely; where they
//! use up the same quota, wait for [`RateLimit::admit`] first.
//!
//! # Layers of your own
//! Implement [`Around`] and wrap with [`Layered`].

mod backoff;
mod call;
mod concurrency;
mod deadline;
mod layered;
mod metrics;
mod pointer;
mod rate_limit;
mod retry;
mod stack;
mod trace;

pub use backoff::Backoff;
pub use call::{Answer, Call, Operation};
pub use concurrency::Concurrency;
pub use deadline::Deadline;
pub use layered::{Around, Layered};
pub use metrics::{CallRecord, Metrics, Outcome, Recorder};
pub use rate_limit::{Rate, RateLimit};
pub use retry::{Retry, RetryConfig};
pub use stack::Stack;
pub use trace::Trace;
