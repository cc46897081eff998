//! The simulated kernel as a [`RouteProgrammer`].

use async_trait::async_trait;

use super::silenced::Silenced;
use super::veth::{Beginning, Behind};
use super::{Course, Kernel, KernelOperation};
use crate::attachment::{AttachmentMark, NetnsPath, Sandbox};
use crate::error::{Error, ErrorKind, Result};
use crate::id::MacAddr;
use crate::route::{
    Drift, GatewayPlan, HostLink, KernelView, NodePlan, PodDatapath, PodLink, PodPlan, RouteProgrammer,
    SharedNicPlan, SharedPlan, SilencedPod, VethPlan,
};

impl Kernel {
    /// The path of the node's own namespace, which is no pod's.
    const OWN_NETNS: &str = "/proc/self/ns/net";

    fn host_link(&self, mac: MacAddr) -> Option<HostLink> {
        self.lock().links.view().host.into_iter().find(|link| link.mac == mac)
    }

    /// Sets up a pod behind a veth. What was there before stays when that fails.
    async fn set_up_veth(&self, plan: &PodPlan, veth: &VethPlan, course: Course) -> Result<PodLink> {
        course.pause(3).await;
        let beginning = self.lock().links.take_nic(plan, veth)?;
        self.set_up_pair(plan, Behind::alone(veth), beginning, course).await
    }

    /// The same for one that shares its NIC.
    async fn set_up_sharing(&self, plan: &PodPlan, shared: &SharedPlan, course: Course) -> Result<PodLink> {
        course.pause(3).await;
        let beginning = self.lock().links.find_shared(plan, shared)?;
        self.set_up_pair(plan, Behind::sharing(plan, shared), beginning, course).await
    }

    async fn set_up_pair(
        &self,
        plan: &PodPlan,
        behind: Behind<'_>,
        beginning: Beginning,
        course: Course,
    ) -> Result<PodLink> {
        let done = async {
            course.pause(3).await;
            self.lock().links.make_pair(plan, behind)?;
            course.pause(3).await;
            let links = &mut self.lock().links;
            let link = links.connect(plan, behind)?;
            links.answer_for(plan);
            Ok(link)
        };
        match done.await {
            Ok((mac, mtu)) => course.end(PodLink { mac, mtu }),
            Err(error) => {
                if beginning == Beginning::Fresh {
                    self.lock().links.bare(&plan.mark);
                }
                Err(error)
            }
        }
    }

    /// Takes back all that a set-up did, however far it came.
    fn take_out(&self, plan: &PodPlan) {
        let mut state = self.lock();
        if state.links.own_link(plan).is_some() {
            state.links.move_out(&plan.mark, &plan.netns);
        }
        state.links.unmark(plan.mac, &plan.mark);
        drop(state);
        self.shared.arrived.notify_waiters();
    }
}

#[async_trait]
impl RouteProgrammer for Kernel {
    async fn setup_node(&self, plan: &NodePlan) -> Result<()> {
        let course = self.single(KernelOperation::SetupNode, &"for its pods").await?;
        self.lock().links.node = Some(plan.clone());
        course.end(())
    }

    async fn check_node(&self, plan: &NodePlan) -> Result<Vec<Drift>> {
        let course = self.single(KernelOperation::CheckNode, &"with its plan").await?;
        let same = self.lock().links.node.as_ref() == Some(plan);
        let drift = || Drift { object: "the node".to_owned(), difference: "it was changed".to_owned() };
        course.end(if same { Vec::new() } else { vec![drift()] })
    }

    async fn sandbox(&self, netns: &NetnsPath) -> Result<Sandbox> {
        let course = self.single(KernelOperation::Sandbox, netns).await?;
        let refuse = |kind| Error::new(kind, KernelOperation::Sandbox.verb(), netns);
        if netns.as_path() == Self::OWN_NETNS {
            return Err(refuse(ErrorKind::Invalid).detail("it is the node's own namespace"));
        }
        let sandbox = self.lock().links.sandbox(netns);
        course.end(sandbox.ok_or_else(|| refuse(ErrorKind::NotFound))?)
    }

    async fn wait_for_nic(&self, mac: MacAddr) -> Result<HostLink> {
        let course = self.single(KernelOperation::WaitForNic, &mac).await?;
        let link = loop {
            // Made before looking, from when on it counts: a link that comes in between is not missed.
            let arrived = self.shared.arrived.notified();
            if let Some(link) = self.host_link(mac) {
                break link;
            }
            arrived.await;
        };
        course.end(link)
    }

    async fn setup_pod(&self, plan: &PodPlan) -> Result<PodLink> {
        let course = self.begin(KernelOperation::SetupPod, &plan.netns)?;
        match &plan.datapath {
            PodDatapath::Veth(veth) => return self.set_up_veth(plan, veth, course).await,
            PodDatapath::Shared(shared) => return self.set_up_sharing(plan, shared, course).await,
            PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) => {}
        }
        let done = async {
            course.pause(3).await;
            self.lock().links.mark(plan)?;
            course.pause(3).await;
            self.lock().links.move_in(plan)?;
            course.pause(3).await;
            self.lock().links.configure(plan)
        };
        match done.await {
            Ok(mtu) => course.end(PodLink { mac: plan.mac, mtu }),
            Err(error) => {
                // It failed before the NIC was in the pod, or because the pod went away and gave the NIC back.
                self.lock().links.unmark(plan.mac, &plan.mark);
                Err(error)
            }
        }
    }

    async fn announce_pod(&self, plan: &PodPlan) -> Result<()> {
        let course = self.single(KernelOperation::AnnouncePod, &plan.netns).await?;
        let (PodDatapath::Veth(_) | PodDatapath::Shared(_)) = plan.datapath else { return course.end(()) };
        match self.host_link(plan.mac) {
            Some(_) => course.end(()),
            None => Err(Error::new(ErrorKind::NotFound, KernelOperation::AnnouncePod.verb(), plan.mac)),
        }
    }

    async fn check_pod(&self, plan: &PodPlan) -> Result<Vec<Drift>> {
        let course = self.single(KernelOperation::CheckPod, &plan.netns).await?;
        let drift = match &plan.datapath {
            PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) => {
                self.lock().links.drift(plan)
            }
            PodDatapath::Veth(veth) => self.lock().links.veth_drift(plan, veth),
            PodDatapath::Shared(shared) => self.lock().links.shared_pod_drift(plan, shared),
        };
        course.end(drift)
    }

    async fn silence_pod(&self, plan: &PodPlan) -> Result<Option<Box<dyn SilencedPod>>> {
        let course = self.single(KernelOperation::SilencePod, &plan.netns).await?;
        let silenced = match plan.datapath {
            PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) => {
                self.lock().links.silence(plan)
            }
            PodDatapath::Veth(_) => self.lock().links.silence_veth(&plan.mark),
            PodDatapath::Shared(_) => self.lock().links.silence_sharing(plan),
        };
        let holder = || Box::new(Silenced::hold(self, plan)) as Box<dyn SilencedPod>;
        course.end(silenced.then(holder))
    }

    async fn teardown_pod(&self, plan: &PodPlan) -> Result<()> {
        let course = self.begin(KernelOperation::TeardownPod, &plan.netns)?;
        course.pause(2).await;
        if let PodDatapath::Veth(_) | PodDatapath::Shared(_) = plan.datapath {
            match plan.datapath {
                PodDatapath::Shared(_) => self.lock().links.silence_sharing(plan),
                _ => self.lock().links.silence_veth(&plan.mark),
            };
            course.pause(2).await;
            self.lock().links.bare(&plan.mark);
            return course.end(());
        }
        if let Some(link) = self.lock().links.own_link(plan) {
            link.strip();
        }
        course.pause(2).await;
        self.take_out(plan);
        self.lock().links.flows.remove(&plan.mark);
        course.end(())
    }

    async fn teardown_marked(&self, mark: &AttachmentMark, netns: &NetnsPath) -> Result<Option<MacAddr>> {
        let course = self.single(KernelOperation::TeardownMarked, netns).await?;
        let freed = {
            let links = &mut self.lock().links;
            let behind_veth = links.silence_veth(mark).then(|| links.bare(mark)).flatten();
            let freed = behind_veth.or_else(|| links.move_out(mark, netns));
            links.flows.remove(mark);
            freed
        };
        self.shared.arrived.notify_waiters();
        course.end(freed)
    }

    async fn setup_shared_nic(&self, plan: &SharedNicPlan) -> Result<()> {
        let course = self.single(KernelOperation::SetupSharedNic, &plan.mac).await?;
        self.lock().links.set_shared(plan)?;
        course.end(())
    }

    async fn check_shared_nic(&self, plan: &SharedNicPlan) -> Result<Vec<Drift>> {
        let course = self.single(KernelOperation::CheckSharedNic, &plan.mac).await?;
        let drift = self.lock().links.shared_drift(plan);
        course.end(drift)
    }

    async fn teardown_shared_nic(&self, mac: MacAddr) -> Result<()> {
        let course = self.single(KernelOperation::TeardownSharedNic, &mac).await?;
        self.lock().links.end_shared(mac);
        course.end(())
    }

    async fn setup_gateways(&self, plans: &[GatewayPlan]) -> Result<()> {
        let course = self.single(KernelOperation::SetupGateways, &"of the node").await?;
        self.lock().links.set_gateways(plans)?;
        course.end(())
    }

    async fn check_gateways(&self, plans: &[GatewayPlan]) -> Result<Vec<Drift>> {
        let course = self.single(KernelOperation::CheckGateways, &"of the node").await?;
        let drift = self.lock().links.gateway_drift(plans);
        course.end(drift)
    }

    async fn observe(&self) -> Result<KernelView> {
        let course = self.single(KernelOperation::Observe, &"of the node").await?;
        let view = self.lock().links.view();
        course.end(view)
    }

    async fn addresses_changed(&self) {
        self.shared.readdressed.notified().await;
    }
}
