//! The conformance suite against the simulated API, over HTTP on loopback: bare and inside all layers, each
//! case a test.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::cloud::NicName;
use hostnic_core::conformance::{Case, FullAccount, Harness, Verdict, World, cases};
use hostnic_core::layer::{CallRecord, Concurrency, Deadline, Rate, RateLimit, Recorder, RetryConfig, Stack};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::{Durations, Quotas};
use hostnic_core::{NicProvider, Result};
use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};
use hostnic_qingcloud::{Config, Endpoint, InstanceSource, QingCloud, QingCloudProvider};
use libtest_mimic::{Arguments, Failed, Trial};

const MS: Duration = Duration::from_millis(1);

type Wrap = fn(Arc<dyn NicProvider>) -> Arc<dyn NicProvider>;

/// Starts simulators, and keeps them as long as the case runs.
struct OverHttp {
    /// How long jobs take.
    job: Duration,
    wrap: Wrap,
    running: Mutex<Vec<Simulator>>,
}

impl OverHttp {
    async fn start(&self, quotas: Quotas) -> Result<String> {
        let mut config = SimulatorConfig::new("sim1", "KEY", "SECRET".into());
        for vxnet in ["vxnet-1=192.168.1.0/24", "vxnet-2=192.168.2.0/24", "vxnet-full=192.168.3.0/30"] {
            config.vxnets.push(vxnet.parse()?);
        }
        for instance in ["i-1", "i-2"] {
            config.instances.push(instance.parse()?);
        }
        config.quotas = quotas;
        config.durations = Durations { attach: self.job, detach: self.job, reserve: self.job };
        let simulator = Simulator::start(config).await?;
        let url = simulator.url();
        self.running.lock().unwrap().push(simulator);
        Ok(url)
    }

    fn wrapped(&self, provider: QingCloudProvider) -> Arc<dyn NicProvider> {
        (self.wrap)(Arc::new(provider))
    }
}

async fn node(url: &str, instance: &str) -> QingCloudProvider {
    let mut config = Config::with_key("KEY", "SECRET", "sim1");
    config.endpoint = Endpoint::from_url(url).unwrap();
    let instance = InstanceSource::Given(instance.parse().unwrap());
    QingCloud::from_config(config).instance(instance).connect().await.unwrap()
}

#[async_trait]
impl Harness for OverHttp {
    async fn world(&self) -> Result<World> {
        let main = self.start(Quotas::default()).await?;
        let full = self.start(Quotas { nics_per_account: Some(0), ..Quotas::default() }).await?;
        let here = node(&main, "i-1").await;
        // The one address of that subnet.
        let fill = CreateNics {
            subnet: "vxnet-full".parse()?,
            count: 1,
            name: NicName { instance: "i-2".parse()?, token: None },
            addresses: NicAddresses::Assigned(1),
        };
        here.create_nics(&fill).await?;

        let subnets = vec!["vxnet-1".parse()?, "vxnet-2".parse()?];
        let tagging = Arc::new(here.clone());
        let mut world = World::new(self.wrapped(here), subnets, 1);
        world.tagging = Some(tagging);
        world.room = 240;
        world.full_subnet = Some("vxnet-full".parse()?);
        let provider = self.wrapped(node(&full, "i-1").await);
        world.full_account = Some(FullAccount { provider, subnet: "vxnet-1".parse()? });
        world.second_instance = Some(self.wrapped(node(&main, "i-2").await));
        world.poll = 10 * MS;
        world.patience = Duration::from_secs(10);
        Ok(world)
    }
}

#[derive(Debug)]
struct Forget;

impl Recorder for Forget {
    fn record(&self, _: &CallRecord) {}
}

fn stack(provider: Arc<dyn NicProvider>) -> Arc<dyn NicProvider> {
    let four = NonZeroU32::MIN.saturating_add(3);
    let many = NonZeroU32::MIN.saturating_add(999);
    Stack::new()
        .trace()
        .retry(RetryConfig::default())
        .concurrency(Concurrency::new(four))
        .rate_limit(RateLimit::new(Rate::new(many, Duration::from_secs(1), many).unwrap()))
        .metrics(Arc::new(Forget))
        .deadline(Deadline::default())
        .around(provider)
}

fn subjects() -> Vec<(&'static str, Duration, Wrap)> {
    vec![
        ("bare", Duration::ZERO, |provider| provider),
        ("slow", 150 * MS, |provider| provider),
        ("stack", 150 * MS, stack),
    ]
}

/// Runs one case in real time: the sockets would not wait for a paused clock.
fn trial(case: Case, job: Duration, wrap: Wrap) -> std::result::Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let harness = OverHttp { job, wrap, running: Mutex::default() };
    match runtime.block_on(case.run(&harness)) {
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
        .flat_map(|(subject, job, wrap)| {
            cases().into_iter().map(move |case| {
                Trial::test(format!("{subject}::{}", case.name()), move || trial(case, job, wrap))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
