//! For embedders: a node agent inside another program, over the simulated cloud and kernel: no root, no cloud, no Kubernetes.
//!
//! Put a provider of your own in place of `cloud.node(…)`, and `hostnic_netlink::NetlinkProgrammer` in place of the
//! simulated kernel, and the same lines run a real node.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::agent::{AddRequest, Agent, AgentConfig, AgentParts, ByHost, DelRequest};
use hostnic_core::attachment::{AttachmentKey, NetnsPath};
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::sim::{Cloud, Durations, Kernel};
use hostnic_core::store::MemoryStore;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kernel = Kernel::new();
    let job = Duration::from_millis(200);
    let cloud = Cloud::builder()
        .subnet("vxnet-a", "192.168.50.0/24")
        .instance("i-1")
        .durations(Durations { attach: job, detach: job, reserve: job })
        .plug(Arc::new(kernel.clone()))
        .build()?;
    let parts = AgentParts {
        provider: Arc::new(cloud.node(&"i-1".parse()?)),
        forwarding: None,
        tagging: None,
        programmer: Arc::new(kernel.clone()),
        addresses: None,
        enforcer: None,
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(SystemClock),
        seed: 1,
    };
    let agent = Agent::start(parts, AgentConfig::new(PoolConfig::new(vec!["vxnet-a".parse()?]))).await?;

    let netns = NetnsPath::new("/run/netns/pod-1")?;
    kernel.add_sandbox(&netns);
    let key =
        AttachmentKey { network: "example".parse()?, container: "pod-1".parse()?, ifname: "eth0".parse()? };
    let answer = agent
        .add(AddRequest {
            key: key.clone(),
            netns: netns.clone(),
            pod: None,
            wishes: PodWishes::default(),
            routes: Vec::new(),
            by_host: ByHost::default(),
            mtu: None,
            started: SystemClock.now(),
            patience: Duration::from_secs(10),
        })
        .await?;
    println!("{key} has {} on NIC {}", answer.lease.address, answer.lease.nic);

    agent.del(DelRequest { key, netns: Some(netns), started: SystemClock.now() }).await?;
    let left = agent.drain(Duration::from_secs(10)).await;
    println!("given back; {left} NICs are left, and {} in the cloud", cloud.snapshot().len());
    Ok(())
}
