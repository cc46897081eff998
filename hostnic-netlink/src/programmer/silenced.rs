//! A pod between its silencing and its NIC's way back.

use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::Result;
use hostnic_core::route::{PodPlan, SilencedPod};

use super::node::Node;
use super::pod::Pod;
use super::{plan, veth};

/// Keeps the pod's namespace open until the NIC is back, or this is dropped.
#[derive(Debug)]
pub(super) struct Silenced {
    node: Arc<Node>,
    plan: PodPlan,
    /// The veth beside the NIC.
    veth: Option<(veth::Target, veth::Left)>,
    /// `None` once the NIC is back.
    pod: Option<Pod>,
}

impl Silenced {
    pub(super) fn new(
        node: Arc<Node>,
        plan: PodPlan,
        veth: Option<(veth::Target, veth::Left)>,
        pod: Pod,
    ) -> Self {
        Self { node, plan, veth, pod: Some(pod) }
    }
}

#[async_trait]
impl SilencedPod for Silenced {
    async fn give_back(&mut self) -> Result<()> {
        let Some(pod) = &mut self.pod else { return Ok(()) };
        if !pod.is_open() {
            *pod = Pod::enter(pod.netns.try_clone()?, &self.node).await?;
        }
        // Looked for again: the number of a link is not its own for ever, and an earlier attempt may have moved it.
        let links = pod.links().await?;
        if let Some(link) = plan::find(&self.plan.mark, Some(self.plan.mac), &links) {
            pod.give_back(link, &self.node).await?;
        }
        if let Some((target, left)) = &self.veth {
            veth::give_back(&self.node, target, *left).await?;
        }
        if let Some(pod) = self.pod.take() {
            pod.leave().await;
        }
        Ok(())
    }

    async fn forget(&mut self) -> Result<()> {
        self.node.forget_flows([self.plan.address.addr()]).await
    }
}
