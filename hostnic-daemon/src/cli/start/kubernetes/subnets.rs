//! The pool draws from the subnet that the cluster says.

use std::convert::Infallible;

use hostnic_core::agent::Agent;
use hostnic_kube::{Cluster, NodeSubnet, Notice, Severity};

use super::memory::Memory;

/// Has the pool draw from what the cluster says, for ever.
pub(super) async fn follow(cluster: &Cluster, memory: &mut Memory, agent: &Agent) -> Infallible {
    let mut said = cluster.node_subnet();
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
