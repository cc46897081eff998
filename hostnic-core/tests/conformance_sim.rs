//! The conformance suite on the simulated cloud: bare, inside each layer and inside all of them, each case a test.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::conformance::{Case, FullAccount, Harness, Verdict, World, cases};
use hostnic_core::layer::{
    CallRecord, Concurrency, Deadline, Layered, Metrics, Rate, RateLimit, Recorder, Retry, RetryConfig,
    Stack, Trace,
};
use hostnic_core::sim::{Cloud, CloudBuilder, Durations, Operation, Quotas};
use hostnic_core::{NicProvider, Result};
use libtest_mimic::{Arguments, Failed, Trial};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// How long the simulated cloud takes.
#[derive(Debug, Clone, Copy)]
struct Pace {
    latency: Duration,
    job: Duration,
    lag: Duration,
}

const INSTANT: Pace = Pace { latency: Duration::ZERO, job: Duration::ZERO, lag: Duration::ZERO };
const SLOW: Pace = Pace { latency: Duration::from_millis(30), job: Duration::from_secs(3), lag: S };

type Wrap = fn(Arc<dyn NicProvider>) -> Arc<dyn NicProvider>;

struct Sim {
    pace: Pace,
    wrap: Wrap,
}

fn cloud(pace: Pace) -> CloudBuilder {
    let operations = [
        Operation::Instance,
        Operation::Subnets,
        Operation::CreateNics,
        Operation::AttachNics,
        Operation::DetachNics,
        Operation::DeleteNics,
        Operation::ListNics,
        Operation::Jobs,
    ];
    let durations = Durations { attach: pace.job, detach: pace.job, reserve: pace.job };
    let cloud = Cloud::builder().seed(7).durations(durations).list_lag(pace.lag);
    operations
        .into_iter()
        .fold(cloud, |cloud, operation| cloud.latency(operation, pace.latency))
        .subnet("vxnet-1", "10.1.0.0/16")
        .subnet("vxnet-2", "10.2.0.0/24")
}

#[async_trait]
impl Harness for Sim {
    async fn world(&self) -> Result<World> {
        let node = |cloud: &Cloud, id: &str| (self.wrap)(Arc::new(cloud.node(&id.parse().unwrap())));
        let main = cloud(self.pace)
            // Its one address is that of the third instance.
            .subnet("vxnet-full", "10.3.0.0/30")
            .instance("i-3")
            .primary_nic("i-3", "vxnet-full")
            .instance("i-1")
            .primary_nic("i-1", "vxnet-1")
            .instance("i-2")
            .build()?;
        let full = cloud(self.pace)
            .quotas(Quotas { nics_per_account: Some(0), ..Quotas::default() })
            .instance("i-1")
            .build()?;

        let mut world = World::new(node(&main, "i-1"), vec!["vxnet-1".parse()?, "vxnet-2".parse()?], 1);
        world.tagging = Some(Arc::new(main.node(&"i-1".parse()?)));
        world.room = 240;
        world.full_subnet = Some("vxnet-full".parse()?);
        world.full_account = Some(FullAccount { provider: node(&full, "i-1"), subnet: "vxnet-1".parse()? });
        world.second_instance = Some(node(&main, "i-2"));
        world.lag = self.pace.lag;
        Ok(world)
    }
}

#[derive(Debug)]
struct Forget;

impl Recorder for Forget {
    fn record(&self, _: &CallRecord) {}
}

fn rate_limit() -> RateLimit {
    let ten = NonZeroU32::MIN.saturating_add(9);
    RateLimit::new(Rate::new(ten, S, ten).unwrap())
}

fn concurrency() -> Concurrency {
    Concurrency::new(NonZeroU32::MIN.saturating_add(1))
}

/// The simulated cloud, quick and slow, and the slow one inside every layer.
fn subjects() -> Vec<(&'static str, Pace, Wrap)> {
    vec![
        ("bare", INSTANT, |p| p),
        ("slow", SLOW, |p| p),
        ("pointers", SLOW, |p| Arc::new(Arc::new(Box::new(p)))),
        ("retry", SLOW, |p| Arc::new(Retry::new(p, RetryConfig::default()))),
        ("rate_limit", SLOW, |p| Arc::new(Layered::new(p, rate_limit()))),
        ("concurrency", SLOW, |p| Arc::new(Layered::new(p, concurrency()))),
        ("deadline", SLOW, |p| Arc::new(Layered::new(p, Deadline::new(50 * MS, 50 * MS)))),
        ("metrics", SLOW, |p| Arc::new(Layered::new(p, Metrics::new(Arc::new(Forget))))),
        ("trace", SLOW, |p| Arc::new(Layered::new(p, Trace))),
        ("stack", SLOW, |p| {
            Stack::new()
                .trace()
                .retry(RetryConfig::default())
                .concurrency(concurrency())
                .rate_limit(rate_limit())
                .metrics(Arc::new(Forget))
                .deadline(Deadline::default())
                .around(p)
        }),
    ]
}

/// Runs one case in a runtime of its own, whose time passes only where everybody waits.
fn trial(case: Case, pace: Pace, wrap: Wrap) -> std::result::Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    match runtime.block_on(case.run(&Sim { pace, wrap })) {
        Verdict::Passed => Ok(()),
        Verdict::Failed(failure) => Err(failure.into()),
        // The simulated cloud has everything, so nothing may be skipped.
        Verdict::Skipped(reason) | Verdict::Inconclusive(reason) => Err(reason.into()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = subjects()
        .into_iter()
        .flat_map(|(subject, pace, wrap)| {
            cases().into_iter().map(move |case| {
                Trial::test(format!("{subject}::{}", case.name()), move || trial(case, pace, wrap))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
