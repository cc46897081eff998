//! The layers that watch, and the stack that puts all of them in order.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostnic_core::cloud::NicFilter;
use hostnic_core::id::JobId;
use hostnic_core::layer::{
    Answer, Around, Backoff, Call, CallRecord, Concurrency, Deadline, Layered, Metrics, Operation, Outcome,
    Rate, RateLimit, Recorder, RetryConfig, Stack,
};
use hostnic_core::mock::MockNicProvider;
use hostnic_core::{Error, ErrorKind, NicProvider, QuotaScope, Result};
use tokio::time::{Instant, timeout};

const S: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Records(Mutex<Vec<CallRecord>>);

impl Recorder for Records {
    fn record(&self, record: &CallRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

impl Records {
    fn take(&self) -> Vec<(Operation, usize, Outcome, u64)> {
        let records = std::mem::take(&mut *self.0.lock().unwrap());
        records.into_iter().map(|r| (r.operation, r.asked, r.outcome, r.latency.as_secs())).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_is_recorded_once_with_its_size_outcome_and_time() {
    let records = Arc::new(Records::default());
    let mut cloud = MockNicProvider::new();
    cloud.expect_jobs().times(1).returning(|_| Ok(Vec::new()));
    let full = ErrorKind::Quota(QuotaScope::Account);
    cloud.expect_list_nics().returning(move |_| Err(Error::new(full, "list NICs", "all")));
    let metered = Layered::new(cloud, Metrics::new(records.clone()));

    metered.jobs(&[JobId::new("j-1").unwrap()]).await.unwrap();
    metered.list_nics(&NicFilter::default()).await.unwrap_err();
    assert_eq!(
        records.take(),
        [(Operation::Jobs, 1, Outcome::Answered, 0), (Operation::ListNics, 0, Outcome::Failed(full), 0)]
    );
    assert_eq!(Outcome::Failed(full).label(), "quota_account");
}

/// Drops what it should run, and never answers.
#[derive(Debug)]
struct Deaf;

impl Around for Deaf {
    async fn around<T: Answer, F: Future<Output = Result<T>> + Send>(&self, _: Call<'_>, _: F) -> Result<T> {
        std::future::pending().await
    }
}

fn never_answers() -> Arc<dyn NicProvider> {
    let mut cloud = MockNicProvider::new();
    cloud.expect_instance().returning(|| Err(Error::new(ErrorKind::Internal, "test", "never polled")));
    Arc::new(Layered::new(cloud, Deaf))
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_recorded_as_dropped() {
    let records = Arc::new(Records::default());
    let provider = Stack::new().metrics(records.clone()).around(never_answers());
    assert!(timeout(2 * S, provider.instance()).await.is_err());
    assert_eq!(records.take(), [(Operation::Instance, 1, Outcome::Dropped, 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_stack_meters_each_attempt_without_our_own_waiting_and_limits_each() {
    let records = Arc::new(Records::default());
    let one = NonZeroU32::MIN;
    let three = one.saturating_add(2);
    let provider = Stack::new()
        .deadline(Deadline::new(5 * S, 5 * S))
        .trace()
        .retry(RetryConfig::new(Backoff::new(S, S, 0.0).unwrap(), three, 1000 * S))
        .concurrency(Concurrency::new(one))
        .rate_limit(RateLimit::new(Rate::new(one, 20 * S, one).unwrap()))
        .metrics(records.clone())
        .around(never_answers());

    let start = Instant::now();
    let error = provider.instance().await.unwrap_err();
    assert!(error.to_string().contains("3 attempts"), "{error}");
    let late = (Operation::Instance, 1, Outcome::Failed(ErrorKind::Transient), 5);
    assert_eq!(records.take(), [late, late, late], "a missed deadline counts, waiting for the rate does not");
    assert_eq!(start.elapsed(), 45 * S, "attempts begin at 0, 20 and 40 s");
}

#[test]
fn the_span_of_a_call_tells_what_it_was_and_how_it_ended_but_not_the_errors_text() {
    // No subscriber crate is among the dependencies; this one keeps fields, and nothing else.
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};

    #[derive(Default, Clone)]
    struct Fields(Arc<Mutex<String>>);
    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let mut text = self.0.lock().unwrap();
            text.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
    impl tracing::Subscriber for Fields {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut self.clone());
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, values: &Record<'_>) {
            values.record(&mut self.clone());
        }
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    let mut cloud = MockNicProvider::new();
    cloud.expect_attach_nics().returning(|_| {
        let error = Error::new(ErrorKind::Transient, "attach NICs", "nic-1").effect_unknown();
        Err(error.detail("the answer was SECRET-SIGNATURE"))
    });
    let provider = Stack::new().trace().around(Arc::new(cloud));
    let fields = Fields::default();
    tracing::subscriber::with_default(fields.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let nics = ["nic-1", "nic-2"].map(|id| hostnic_core::id::NicId::new(id).unwrap());
        runtime.block_on(provider.attach_nics(&nics)).unwrap_err();
    });
    let text = fields.0.lock().unwrap().clone();
    let expected =
        r#" operation="attach_nics" subject=nic-1, nic-2 asked=2 outcome="transient" effect="unknown""#;
    assert_eq!(text, expected);
}
