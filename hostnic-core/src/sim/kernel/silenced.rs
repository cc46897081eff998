//! A pod of the simulated kernel between its silencing and its NIC's way back.

use async_trait::async_trait;

use super::{Kernel, KernelOperation};
use crate::error::Result;
use crate::route::{PodDatapath, PodPlan, SilencedPod};

/// Keeps the pod's namespace until the NIC is back, or this is dropped.
#[derive(Debug)]
pub(super) struct Silenced {
    kernel: Kernel,
    plan: PodPlan,
    holds: bool,
}

impl Silenced {
    pub(super) fn hold(kernel: &Kernel, plan: &PodPlan) -> Self {
        // What is left of a pod behind a veth is in the node.
        let holds = !matches!(plan.datapath, PodDatapath::Veth(_) | PodDatapath::Shared(_));
        if holds {
            kernel.lock().links.hold(plan.sandbox);
        }
        Self { kernel: kernel.clone(), plan: plan.clone(), holds }
    }

    fn let_go(&mut self) {
        if std::mem::take(&mut self.holds) {
            self.kernel.lock().links.let_go(self.plan.sandbox);
            self.kernel.shared.arrived.notify_waiters();
        }
    }
}

#[async_trait]
impl SilencedPod for Silenced {
    async fn give_back(&mut self) -> Result<()> {
        let course = self.kernel.begin(KernelOperation::GiveBack, &self.plan.netns)?;
        course.pause(2).await;
        if let PodDatapath::Veth(_) | PodDatapath::Shared(_) = self.plan.datapath {
            self.kernel.lock().links.end_veth(&self.plan.mark);
        } else if self.holds {
            self.kernel.lock().links.move_out_of(self.plan.sandbox, &self.plan.mark);
        }
        self.let_go();
        course.pause(2).await;
        course.end(())
    }

    async fn forget(&mut self) -> Result<()> {
        let course = self.kernel.single(KernelOperation::Forget, &self.plan.netns).await?;
        let links = &mut self.kernel.lock().links;
        match self.plan.datapath {
            PodDatapath::Veth(_) | PodDatapath::Shared(_) => drop(links.bare(&self.plan.mark)),
            _ => drop(links.flows.remove(&self.plan.mark)),
        }
        course.end(())
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        self.let_go();
    }
}
