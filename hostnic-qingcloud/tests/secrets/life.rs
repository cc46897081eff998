//! What happens to a node and its cloud: all goes well, everything breaks, and nobody is let in.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostnic_core::agent::{AddRequest, Agent, AgentConfig, AgentParts, ByHost, DelRequest};
use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::cloud::NicFilter;
use hostnic_core::layer::{Backoff, Deadline, RetryConfig, Stack};
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::sim::{Kernel, When};
use hostnic_core::store::MemoryStore;
use hostnic_core::{Error, NicProvider};
use hostnic_qingcloud::simulator::{Fault, FaultRule, Simulator};
use hostnic_qingcloud::{Config, Credentials, Endpoint, InstanceSource, QingCloud, QingCloudProvider};

use crate::listener::Tapped;
use crate::{SECRET, Shown, WRONG};

type Signatures = Arc<Mutex<Vec<String>>>;

/// Lets all of it happen, and gives back the signatures of all requests.
pub(crate) async fn all(simulator: &Simulator, shown: &Shown) -> Vec<String> {
    let signatures = Signatures::default();
    let at = Endpoint::from_url(&simulator.url()).unwrap();
    let connect = async |mut config: Config| {
        config.endpoint = at.clone();
        config.connection_retries = 0;
        provider(config, &signatures).await
    };
    let right = connect(Config::with_key("KEY", SECRET, "sim1")).await;
    let wrong = connect(Config::with_key("KEY", WRONG, "sim1")).await;
    let stranger = connect(Config::with_key("NOBODY", SECRET, "sim1")).await;
    let elsewhere = connect(Config::with_key("KEY", SECRET, "sim2")).await;
    let role =
        connect(by_role(&format!("{}/latest/meta-data/security-credentials", simulator.admin_url()))).await;
    let no_role = connect(by_role(&format!("{}/nothing", simulator.admin_url()))).await;
    let odd_role = connect(by_role(&format!("{}/counts", simulator.admin_url()))).await;
    node(Arc::new(right.clone()), shown).await;
    node(Arc::new(wrong.clone()), shown).await;

    complaints("a wrong secret", &wrong, shown).await;
    complaints("an unknown access key", &stranger, shown).await;
    complaints("another zone", &elsewhere, shown).await;
    complaints("no role", &no_role, shown).await;
    complaints("credentials that are none", &odd_role, shown).await;
    role.list_nics(&NicFilter::default()).await.unwrap();
    for (name, provider) in [("the account's key", &right), ("the role's key", &role)] {
        for fault in [
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::CutBody,
            Fault::Http(502),
            Fault::RetCode(1100),
            Fault::RetCode(1300),
            Fault::RetCode(2500),
            Fault::RetCode(5000),
            Fault::RetCode(5300),
        ] {
            simulator.inject(FaultRule::new("*", When::Always, fault.clone())).unwrap();
            complaints(&format!("{fault:?} with {name}"), provider, shown).await;
            simulator.clear_faults();
        }
    }
    for (key, provider) in [("KEY", &right), ("ROLE", &role)] {
        assert!(simulator.revoke(key));
        complaints(&format!("{key}, revoked"), provider, shown).await;
        assert!(simulator.restore(key));
    }
    simulator.set_listening(false).await.unwrap();
    complaints("an API that does not listen", &right, shown).await;
    simulator.set_listening(true).await.unwrap();
    let signatures = signatures.lock().unwrap();
    signatures.clone()
}

async fn provider(config: Config, signatures: &Signatures) -> QingCloudProvider {
    let instance = InstanceSource::Given("i-1".parse().unwrap());
    let transport = Arc::new(Tapped::new(signatures));
    QingCloud::from_config(config).instance(instance).transport(transport).connect().await.unwrap()
}

fn by_role(proxy: &str) -> Config {
    let mut config = Config::with_instance_role("sim1");
    config.credentials = Credentials::InstanceRole(Endpoint::from_url(proxy).unwrap());
    config
}

/// Reads and writes in vain, and takes down what is said about it.
async fn complaints(why: &str, provider: &QingCloudProvider, shown: &Shown) {
    let nic = ["52:54:00:00:00:01".parse().unwrap()];
    let reading = provider.list_nics(&NicFilter::default()).await.unwrap_err();
    let writing = provider.attach_nics(&nic).await.unwrap_err();
    for error in [&reading, &writing] {
        let error: &Error = error;
        shown.take_down(
            format!("the error of {why}"),
            format!("{error}\n{}\n{error:?}\n{error:#?}", error.chain()),
        );
    }
    shown.debug(&format!("the provider after {why}"), provider);
    shown.debug(&format!("its client after {why}"), provider.client());
    shown.debug(&format!("an operation after {why}"), &provider.client().operation());
}

/// A node for a while, with pods where it gets NICs for them.
async fn node(provider: Arc<QingCloudProvider>, shown: &Shown) {
    let two = NonZeroU32::MIN.saturating_add(1);
    let brief = Backoff::new(Duration::from_millis(1), Duration::from_millis(10), 0.5).unwrap();
    let stack = Stack::new()
        .trace()
        .retry(RetryConfig::new(brief, two, Duration::from_secs(5)))
        .deadline(Deadline::default())
        .around(provider);
    shown.debug("a provider with its layers", &stack);
    let kernel = Kernel::new();
    let parts = AgentParts {
        provider: stack,
        forwarding: None,
        tagging: None,
        programmer: Arc::new(kernel.clone()),
        addresses: None,
        enforcer: None,
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(SystemClock),
        seed: 1,
    };
    shown.debug("AgentParts", &parts);
    let config = AgentConfig::new(PoolConfig::new(vec!["vxnet-a".parse().unwrap()]));
    let agent = Agent::start(parts, config).await.unwrap();
    let netns = NetnsPath::new("/run/netns/p").unwrap();
    kernel.add_sandbox(&netns);
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: "p".parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    let started = SystemClock.now();
    let (routes, patience) = (Vec::new(), Duration::from_secs(1));
    let request = AddRequest {
        key: key.clone(),
        netns: netns.clone(),
        pod: None,
        wishes: PodWishes::default(),
        routes,
        by_host: ByHost::default(),
        mtu: None,
        started,
        patience,
    };
    let added = agent.add(request).await;
    shown.take_down("an ADD", format!("{added:?}"));
    if let Err(error) = added {
        shown.take_down("the error of an ADD", error.chain().to_string());
    }
    let deleted = agent.del(DelRequest { key, netns: Some(netns), started: SystemClock.now() }).await;
    shown.take_down("a DEL", format!("{deleted:?}"));
    shown.take_down("readiness", format!("{:?}", agent.readiness()));
    shown.debug("Agent", &agent);
    agent.stop().await;
}
