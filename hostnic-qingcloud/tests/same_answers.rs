//! The API that the simulator speaks gives the answers of the simulated cloud behind it: the same ones, in the same order,
//! bare and inside all layers.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "support/mod.rs"]
mod support;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::cloud::{Nic, NicFilter, NicName, Submitted};
use hostnic_core::conformance::{self, FullAccount, Harness, World};
use hostnic_core::id::{CreateToken, InstanceId, JobId, NicId, SubnetId};
use hostnic_core::layer::{Concurrency, Deadline, Rate, RateLimit, RetryConfig, Stack};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::{Cloud, Durations, Quotas, Random};
use hostnic_core::{NicProvider, Result};
use hostnic_qingcloud::Config;
use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};

use support::InMemory;

const VXNETS: [(&str, &str); 3] =
    [("vxnet-1", "192.168.1.0/24"), ("vxnet-2", "192.168.2.0/24"), ("vxnet-full", "192.168.3.0/30")];
const INSTANCES: [&str; 2] = ["i-1", "i-2"];
const JOB: Duration = Duration::from_secs(3);

/// Where answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The simulated cloud.
    Cloud,
    /// The API in front of one.
    Api,
}

/// Makes providers of one source, and keeps its simulators.
struct Node {
    source: Source,
    wrapped: bool,
    running: Mutex<Vec<Arc<Simulator>>>,
}

impl Node {
    fn new(source: Source, wrapped: bool) -> Self {
        Self { source, wrapped, running: Mutex::default() }
    }

    /// Providers for both instances of a new cloud; as alike as the sources can be.
    async fn cloud(&self, seed: u64, quotas: Quotas) -> [Arc<dyn NicProvider>; 2] {
        let durations = Durations { attach: JOB, detach: JOB, reserve: JOB };
        let mut config = SimulatorConfig::new("sim1", "KEY", "SECRET".into());
        let bare: [Arc<dyn NicProvider>; 2] = match self.source {
            Source::Cloud => {
                let primary = (config.primary.id.as_str(), config.primary.prefix.to_string());
                let mut builder = Cloud::builder().seed(seed).router(SimulatorConfig::ROUTER);
                builder = builder.quotas(quotas).durations(durations).subnet(primary.0, &primary.1);
                for (id, prefix) in VXNETS {
                    builder = builder.subnet(id, prefix);
                }
                for instance in INSTANCES {
                    builder = builder.instance(instance).primary_nic(instance, primary.0);
                }
                let cloud = builder.build().unwrap();
                INSTANCES.map(|id| Arc::new(cloud.node(&id.parse().unwrap())) as _)
            }
            Source::Api => {
                (config.seed, config.quotas, config.durations) = (seed, quotas, durations);
                config.vxnets = VXNETS.map(|(id, prefix)| format!("{id}={prefix}").parse().unwrap()).to_vec();
                config.instances = INSTANCES.map(|id| id.parse().unwrap()).to_vec();
                let simulator = Arc::new(Simulator::start(config).await.unwrap());
                self.running.lock().unwrap().push(simulator.clone());
                let mut nodes = Vec::new();
                for id in INSTANCES {
                    let key = Config::with_key("KEY", "SECRET", "sim1");
                    let transport = Arc::new(InMemory::to(simulator.clone()));
                    nodes.push(Arc::new(support::provider(transport, key, id.parse().unwrap()).await) as _);
                }
                nodes.try_into().unwrap()
            }
        };
        if self.wrapped { bare.map(stack) } else { bare }
    }
}

fn stack(provider: Arc<dyn NicProvider>) -> Arc<dyn NicProvider> {
    let [four, many] = [4, 1000].map(|n| NonZeroU32::new(n).unwrap());
    Stack::new()
        .trace()
        .retry(RetryConfig::default())
        .concurrency(Concurrency::new(four))
        .rate_limit(RateLimit::new(Rate::new(many, Duration::from_secs(1), many).unwrap()))
        .deadline(Deadline::default())
        .around(provider)
}

#[async_trait]
impl Harness for Node {
    async fn world(&self) -> Result<World> {
        let [here, there] = self.cloud(7, Quotas::default()).await;
        let [full, _] = self.cloud(8, Quotas { nics_per_account: Some(0), ..Quotas::default() }).await;
        let fill = CreateNics {
            subnet: "vxnet-full".parse()?,
            count: 1,
            name: NicName { instance: "i-2".parse()?, token: None },
            addresses: NicAddresses::Assigned(1),
        };
        here.create_nics(&fill).await?;
        let mut world = World::new(here, vec!["vxnet-1".parse()?, "vxnet-2".parse()?], 1);
        world.room = 240;
        world.full_subnet = Some("vxnet-full".parse()?);
        world.full_account = Some(FullAccount { provider: full, subnet: "vxnet-1".parse()? });
        world.second_instance = Some(there);
        Ok(world)
    }
}

#[tokio::test(start_paused = true)]
async fn the_conformance_suite_ends_alike_case_by_case() {
    let expected = conformance::run(&Node::new(Source::Cloud, false)).await;
    assert!(expected.conforms(), "{expected}");
    for (source, wrapped) in [(Source::Cloud, true), (Source::Api, false), (Source::Api, true)] {
        let report = conformance::run(&Node::new(source, wrapped)).await;
        assert_eq!(report, expected, "{source:?}, wrapped: {wrapped}\n{report}\ninstead of\n{expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_calls_are_answered_alike_and_in_the_same_order() {
    let scale: f64 = std::env::var("HOSTNIC_SCALE").map_or(0.1, |scale| scale.parse().unwrap());
    for seed in 0..(100.0 * scale).ceil() as u64 {
        let mut transcripts = Vec::new();
        for wrapped in [false, true] {
            for source in [Source::Cloud, Source::Api] {
                let [here, _] = Node::new(source, wrapped).cloud(seed, Quotas::default()).await;
                transcripts.push((source, wrapped, Caller::new(here, seed).transcript(200).await));
            }
        }
        let (_, _, expected) = &transcripts[0];
        for (source, wrapped, transcript) in &transcripts[1..] {
            for (n, (got, wanted)) in transcript.iter().zip(expected).enumerate() {
                assert_eq!(got, wanted, "call {n} of seed {seed}, {source:?}, wrapped: {wrapped}");
            }
        }
    }
}

/// Makes calls by chance, and writes down what was answered.
struct Caller {
    provider: Arc<dyn NicProvider>,
    random: Random,
    tokens: u8,
    /// Those that exist, those that were deleted, and the jobs that were ever begun.
    nics: Vec<NicId>,
    gone: Vec<NicId>,
    jobs: Vec<JobId>,
}

impl Caller {
    fn new(provider: Arc<dyn NicProvider>, seed: u64) -> Self {
        Self {
            provider,
            random: Random::new(seed),
            tokens: 0,
            nics: Vec::new(),
            gone: Vec::new(),
            jobs: Vec::new(),
        }
    }

    async fn transcript(mut self, calls: usize) -> Vec<String> {
        let mut transcript = Vec::new();
        for _ in 0..calls {
            transcript.push(self.call().await);
        }
        transcript
    }

    async fn call(&mut self) -> String {
        match self.random.below(9) {
            0 => self.create().await,
            1 => {
                // Where one is unknown and another in use, either may be told; so a call has one fault at most.
                let mut nics = self.some_nics();
                if nics.iter().any(|nic| self.gone.contains(nic)) {
                    nics.truncate(1);
                }
                let begun = self.provider.attach_nics(&nics).await;
                self.begun("attach", &nics, begun)
            }
            2 => {
                let nics = self.some_nics();
                let begun = self.provider.detach_nics(&nics).await;
                self.begun("detach", &nics, begun)
            }
            3 => {
                let nics = self.some_nics();
                let deleted = self.provider.delete_nics(&nics).await;
                if deleted.is_ok() {
                    self.nics.retain(|nic| !nics.contains(nic));
                    self.gone.extend(nics.iter().cloned());
                }
                told(format!("delete {nics:?}"), deleted)
            }
            4 | 5 => self.list().await,
            6 => {
                let mut asked = VXNETS.map(|(id, _)| SubnetId::new(id).unwrap()).to_vec();
                asked.push("vxnet-unknown".parse().unwrap());
                self.shuffle(&mut asked);
                told(format!("describe {asked:?}"), self.provider.subnets(&asked).await)
            }
            7 => {
                let mut asked = self.jobs.clone();
                asked.push("j-unknown0".parse().unwrap());
                self.shuffle(&mut asked);
                asked.truncate(20);
                told(format!("ask {asked:?}"), self.provider.jobs(&asked).await)
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(500) * u32::try_from(self.random.below(8)).unwrap())
                    .await;
                told("ask who I am".to_owned(), self.provider.instance().await)
            }
        }
    }

    async fn create(&mut self) -> String {
        self.tokens += 1;
        let addresses = match self.random.below(3) {
            0 => NicAddresses::None,
            _ => NicAddresses::Assigned(1),
        };
        let request = CreateNics {
            subnet: VXNETS[self.random.below(2)].0.parse().unwrap(),
            count: 1 + u32::try_from(self.random.below(4)).unwrap(),
            name: name(self.tokens),
            addresses,
        };
        let made = self.provider.create_nics(&request).await;
        self.nics.extend(made.iter().flatten().map(|nic: &Nic| nic.id.clone()));
        told(format!("create {request:?}"), made)
    }

    async fn list(&mut self) -> String {
        let filter = NicFilter {
            ids: self.one_in(3).then(|| self.some_nics()),
            instance: self.one_in(4).then(|| InstanceId::new("i-1").unwrap()),
            subnets: self.one_in(4).then(|| vec!["vxnet-2".parse().unwrap(), "vxnet-1".parse().unwrap()]),
            available: self.one_in(4),
            name: self.one_in(4).then(|| name(1 + u8::try_from(self.random.below(20)).unwrap())),
        };
        told(format!("list {filter:?}"), self.provider.list_nics(&filter).await)
    }

    fn begun(&mut self, what: &str, nics: &[NicId], begun: Result<Submitted>) -> String {
        if let Ok(Submitted::Job(job)) = &begun {
            self.jobs.push(job.clone());
        }
        told(format!("{what} {nics:?}"), begun)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    /// One to three; where there is none yet, one that nobody knows. Some of them were deleted.
    fn some_nics(&mut self) -> Vec<NicId> {
        let mut nics = self.nics.clone();
        nics.extend(self.gone.iter().rev().take(3).cloned());
        self.shuffle(&mut nics);
        nics.truncate(1 + self.random.below(3));
        if nics.is_empty() {
            nics.push("52:54:ff:ff:ff:ff".parse().unwrap());
        }
        nics
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.random.below(n + 1));
        }
    }
}

fn name(token: u8) -> NicName {
    NicName { instance: "i-1".parse().unwrap(), token: Some(CreateToken::from_bits([token; 10])) }
}

/// The answer, or the kind of the error: the words are each source's own.
fn told<T: std::fmt::Debug>(call: String, answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{call}: {answer:?}"),
        Err(error) => format!("{call}: {:?}", error.kind()),
    }
}
