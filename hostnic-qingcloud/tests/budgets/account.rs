//! A simulated account in virtual time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hostnic_core::id::InstanceId;
use hostnic_core::sim::{Durations, Kernel, PlugByInstance};
use hostnic_qingcloud::simulator::{Call, Simulator, SimulatorConfig};
use hostnic_qingcloud::{Config, InstanceSource, QingCloud, QingCloudProvider, WallClock};
use tokio::time::Instant;

use crate::{HOUR, secs};

/// How long every answer takes, and how long jobs take.
const ANSWER: Duration = Duration::from_millis(200);
const JOB: Duration = secs(5);

/// The time of day that passes with tokio's paused clock.
#[derive(Debug, Clone, Copy)]
struct PausedDay(Instant);

impl WallClock for PausedDay {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + secs(1_767_225_600) + self.0.elapsed()
    }
}

/// The account, and the kernels of its instances.
pub(crate) struct Account {
    pub(crate) simulator: Simulator,
    pub(crate) kernels: Vec<Kernel>,
    day: PausedDay,
}

impl Account {
    /// So many instances, and these vxnets.
    pub(crate) async fn new(instances: usize, vxnets: &[String]) -> Self {
        let day = PausedDay(Instant::now());
        let kernels: Vec<Kernel> = (0..instances).map(|_| Kernel::new()).collect();
        let mut config = SimulatorConfig::new("sim1", "KEY", "SECRET".into());
        config.vxnets.extend(vxnets.iter().map(|vxnet| vxnet.parse().unwrap()));
        config.instances.extend((0..instances).map(instance));
        config.durations = Durations { attach: JOB, detach: JOB, reserve: JOB };
        config.clock = Arc::new(day);
        for action in [
            "AttachNics",
            "CreateNics",
            "DeleteNics",
            "DescribeInstances",
            "DescribeJobs",
            "DescribeNics",
            "DescribeVxnets",
            "DetachNics",
        ] {
            config.latencies.insert(action.to_owned(), ANSWER);
        }
        let plug = kernels.iter().enumerate().fold(PlugByInstance::new(), |plug, (n, kernel)| {
            plug.with(instance(n), Arc::new(kernel.clone()))
        });
        config.plug = Some(Arc::new(plug));
        Self { simulator: Simulator::start(config).await.unwrap(), kernels, day }
    }

    /// The provider of an instance.
    pub(crate) async fn provider(&self, n: usize) -> QingCloudProvider {
        QingCloud::from_config(Config::with_key("KEY", "SECRET", "sim1"))
            .instance(InstanceSource::Given(instance(n)))
            .transport(self.simulator.transport())
            .clock(Arc::new(self.day))
            .connect()
            .await
            .unwrap()
    }

    /// What is called while `work` is done.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> (T, Vec<Call>) {
        self.simulator.clear_history();
        let done = work.await;
        (done, self.simulator.history())
    }
}

pub(crate) fn instance(n: usize) -> InstanceId {
    format!("i-node{n}").parse().unwrap()
}

/// The calls of the busiest hour: the most in any 3,600 s.
pub(crate) fn busiest_hour(calls: &[Call]) -> &[Call] {
    let at = |call: &Call| humantime::parse_rfc3339(&call.time).unwrap();
    let hour_from = |first: usize| {
        let in_it = calls[first..].iter().take_while(|call| at(call) < at(&calls[first]) + HOUR);
        &calls[first..first + in_it.count()]
    };
    (0..calls.len()).map(hour_from).max_by_key(|hour| hour.len()).unwrap_or_default()
}
