//! The simulated cloud and kernel keep the contracts of the traits, their own numbers and their own time.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]

mod cloud;
mod control;
mod faults;
mod kernel;
mod plugging;
mod shared;
mod veth;

use std::time::Duration;

use hostnic_core::cloud::{JobState, NicName, Submitted};
use hostnic_core::id::{CreateToken, JobId, NicId};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::{Cloud, CloudBuilder, Durations, SimProvider};
use hostnic_core::{ErrorKind, NicProvider};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Attaching takes 10 s, detaching 5 s.
fn builder() -> CloudBuilder {
    Cloud::builder()
        .subnet("vxnet-1", "192.168.50.0/24")
        .instance("i-1")
        .instance("i-2")
        .durations(Durations { attach: secs(10), detach: secs(5), reserve: secs(1) })
}

fn node(cloud: &Cloud) -> SimProvider {
    cloud.node(&"i-1".parse().unwrap())
}

fn request(count: u32) -> CreateNics {
    CreateNics {
        subnet: "vxnet-1".parse().unwrap(),
        count,
        name: NicName { instance: "i-1".parse().unwrap(), token: Some(CreateToken::from_bits([3; 10])) },
        addresses: NicAddresses::Assigned(1),
    }
}

async fn create(node: &SimProvider, count: u32) -> Vec<NicId> {
    node.create_nics(&request(count)).await.unwrap().into_iter().map(|nic| nic.id).collect()
}

/// NICs that are attached already.
async fn attached(node: &SimProvider, count: u32) -> Vec<NicId> {
    let nics = create(node, count).await;
    let job = job(node.attach_nics(&nics).await);
    while state(node, &job).await == JobState::Running {
        tokio::time::sleep(secs(1)).await;
    }
    nics
}

fn job(submitted: hostnic_core::Result<Submitted>) -> JobId {
    match submitted.unwrap() {
        Submitted::Job(id) => id,
        Submitted::Complete => panic!("nothing was begun"),
    }
}

async fn state(node: &SimProvider, job: &JobId) -> JobState {
    node.jobs(std::slice::from_ref(job)).await.unwrap().remove(0).state
}

fn kind<T>(result: hostnic_core::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

/// Which instance carries the NIC, as text.
fn carrier(cloud: &Cloud, nic: &NicId) -> Option<String> {
    cloud.snapshot()[nic].attachment.instance().map(ToString::to_string)
}
