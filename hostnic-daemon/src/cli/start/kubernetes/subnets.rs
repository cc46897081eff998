//! The pool draws from the subnet that the cluster says.

use std::convert::Infallible;

use hostnic_core::route::Datapath;
use hostnic_kube::{Cluster, NodeSubnet, Notice, Severity};

use super::memory::Memory;
use crate::facts::Facts;

/// Has the pool draw from what the cluster says, for ever. Where pods share NICs, it draws from nothing.
pub(super) async fn follow(cluster: &Cluster, memory: &mut Memory, facts: &Facts) -> Infallible {
    if facts.mode == Datapath::Shared {
        return std::future::pending().await;
    }
    let (agent, mut said) = (&facts.agent, cluster.node_subnet());
    loop {
        let now = said.borrow_and_update().clone();
        match now {
            // What was in force before goes on.
            NodeSubnet::Known(subnet) => {
                tracing::info!(%subnet, "the pool draws from the vxnet of this node");
                let subnets = vec![subnet];
                memory.set_subnets(&subnets);
                agent.set_subnets(subnets);
            }
            NodeSubnet::None(why) => {
                tracing::warn!("{why}");
                let message = why.to_string();
                cluster.tell_node(Notice { severity: Severity::Warning, reason: "NoVxnet", message });
                memory.set_subnets(&[]);
                agent.set_subnets(Vec::new());
            }
            _ => {}
        }
        if said.changed().await.is_err() {
            // The cluster is let go of.
            return std::future::pending().await;
        }
    }
}
