//! Pods that share the NIC of their subnet: their addresses, the NICs, and what becomes of both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]
#![allow(clippy::print_stdout, reason = "a failed test tells its seed")]

mod cut;
mod life;
mod lost;
mod places;
mod points;
mod release;
mod restart;
#[path = "../support/mod.rs"]
mod support;

use std::net::IpAddr;
use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::agent::{AddAnswer, AddRequest, Agent};
use hostnic_core::ledger::{LeaseRecord, NicRecord};
use hostnic_core::route::{KernelView, MarkedSharedNic, RouteProgrammer, SharedPlan};
use hostnic_core::sim::{KernelOperation, SimAddresses};

use support::{Pod, World, in_namespace, usual_pool};

pub(crate) fn world() -> World {
    World::sharing(usual_pool())
}

pub(crate) fn cluster(world: &World) -> &SimAddresses {
    world.addresses.as_ref().unwrap()
}

/// An ADD of a pod in that namespace.
pub(crate) fn request(world: &World, namespace: &str, pod: &Pod) -> AddRequest {
    AddRequest { pod: Some(in_namespace(namespace, pod)), ..world.add_request(pod) }
}

pub(crate) async fn add_in(world: &World, agent: &Agent, namespace: &str, pod: &Pod) -> Result<AddAnswer> {
    agent.add(request(world, namespace, pod)).await
}

pub(crate) async fn view(world: &World) -> KernelView {
    world.kernel.observe().await.unwrap()
}

/// The one NIC that pods share.
pub(crate) async fn only_nic(world: &World) -> MarkedSharedNic {
    let mut nics = view(world).await.shared_nics;
    assert_eq!(nics.len(), 1, "{nics:?}");
    nics.remove(0)
}

pub(crate) fn lease(agent: &Agent, pod: &Pod) -> LeaseRecord {
    agent.leases().into_iter().find(|lease| lease.mark == pod.key.mark()).unwrap()
}

pub(crate) fn shared(lease: &LeaseRecord) -> &SharedPlan {
    match &lease.plan.datapath {
        hostnic_core::route::PodDatapath::Shared(shared) => shared,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn record(agent: &Agent, answer: &AddAnswer) -> NicRecord {
    agent.nics().into_iter().find(|nic| nic.id == answer.lease.nic).unwrap()
}

pub(crate) fn address(answer: &AddAnswer) -> IpAddr {
    answer.lease.address.addr()
}

pub(crate) fn calls(world: &World, operation: KernelOperation) -> u64 {
    world.kernel.calls().get(&operation).copied().unwrap_or_default()
}

/// A DEL, and all that follows it.
pub(crate) async fn del(world: &World, agent: &Agent, pod: &Pod) {
    world.del(agent, pod).await.unwrap();
    agent.addresses_released().await;
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
