//! Pods behind veths: how they are joined to their NICs, and what the node has for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]

mod found;
mod life;
mod node;
mod sandboxes;
#[path = "../support/mod.rs"]
mod support;

use hostnic_core::agent::{Agent, VethConfig};
use hostnic_core::attachment::PodRef;
use hostnic_core::ledger::LeaseRecord;
use hostnic_core::route::{NodePlan, VethNode};
use hostnic_core::sim::KernelOperation;

use support::{Pod, World, usual_pool, veth};

pub(crate) fn world() -> World {
    World::behind_veths(usual_pool())
}

pub(crate) fn config(world: &mut World) -> &mut VethConfig {
    world.config.veth.as_mut().unwrap()
}

pub(crate) fn lease(agent: &Agent, pod: &Pod) -> LeaseRecord {
    agent.leases().into_iter().find(|lease| lease.mark == pod.key.mark()).unwrap()
}

pub(crate) fn table(agent: &Agent, pod: &Pod) -> u32 {
    veth(&lease(agent, pod)).table.number()
}

pub(crate) fn named(name: &str) -> PodRef {
    PodRef { namespace: "default".to_owned(), name: name.to_owned(), uid: None }
}

pub(crate) fn node(world: &World) -> VethNode {
    match world.kernel.node() {
        Some(NodePlan::Veth(node)) => node,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn calls(world: &World, operation: KernelOperation) -> u64 {
    world.kernel.calls().get(&operation).copied().unwrap_or_default()
}
