//! Whether the node's pods share NICs, and where their addresses come from.

use hostnic_core::{Error, ErrorKind};
use hostnic_kube::ipam::BlockAddresses;
use hostnic_kube::{Cluster, VPool};
use tokio::time::{sleep, timeout};

use super::{ASK_AGAIN, InCluster, SOON};
use crate::Waiting;
use crate::facts::Facts;

impl InCluster {
    /// Whether the cluster has vxnets whose NICs pods share: what it says, if it says so soon, else as it said before.
    pub(in super::super) async fn has_v_pool(&mut self) -> bool {
        let mut said = self.cluster.v_pool();
        let known = timeout(SOON, said.wait_for(|said| *said != VPool::Unknown)).await;
        match known {
            Ok(Ok(said)) => {
                let present = *said == VPool::Present;
                self.memory.set_v_pool(present);
                present
            }
            _ => self.memory.v_pool(),
        }
    }

    /// Where the addresses of the node's pods come from. Waits for the cluster only where nobody remembers the node's uid.
    pub(in super::super) async fn addresses(&mut self, waiting: Option<&Waiting>) -> BlockAddresses {
        let uid = loop {
            let error = match self.cluster.node_uid().await {
                Ok(uid) => {
                    self.memory.set_node(&uid);
                    break uid;
                }
                Err(error) => error,
            };
            if let Some(remembered) = self.memory.node() {
                tracing::warn!(error = %error.chain(), "the API server does not say which uid this node has; that of the last start is taken");
                break remembered;
            }
            if let Some(waiting) = waiting {
                waiting.waits_for(format!(
                    "the API server does not say which uid this node has: {}",
                    error.chain()
                ));
            }
            sleep(ASK_AGAIN).await;
        };
        self.cluster.addresses(&uid)
    }
}

/// Waits until the cluster has vxnets whose NICs pods are to share, and this node, which chose its mode by itself before there were
/// any, has no pods: it has to start again then. For ever where it shares already.
pub(super) async fn begins(cluster: &Cluster, facts: &Facts, may_change: bool) -> Error {
    if !may_change {
        return std::future::pending().await;
    }
    let mut said = cluster.v_pool();
    loop {
        let present = said.wait_for(|said| *said == VPool::Present).await.is_ok();
        if present && facts.agent.leases().is_empty() {
            return Error::new(ErrorKind::Conflict, "go on in", "the mode that was chosen").detail(
                "the cluster has a VxNetPool v-pool by now, and this node has no pods: the daemon has to start again to share NICs",
            );
        }
        sleep(ASK_AGAIN).await;
    }
}
