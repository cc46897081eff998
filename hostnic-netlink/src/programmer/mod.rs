//! Gives pods their interfaces: NICs that are moved into them, or veths to NICs that stay in the node.

mod alias;
mod gateway;
mod node;
mod pair;
mod plan;
mod pod;
mod setting;
mod silenced;
mod survey;
mod veth;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::attachment::{AttachmentMark, NetnsPath, Sandbox};
use hostnic_core::id::MacAddr;
use hostnic_core::point::Points;
use hostnic_core::route::{
    Drift, GatewayPlan, HostLink, KernelView, NodePlan, PodDatapath, PodLink, PodPlan, SilencedPod,
};
use hostnic_core::{Error, ErrorKind, Result, RouteProgrammer};

use crate::link::LinkChange;
use crate::netns::Netns;
use alias::{Alias, Part, own_mtu};
use node::{Arrivals, Node};
use plan::{Beginning, Difference, PodState};
use pod::Pod;
use silenced::Silenced;
use survey::{Found, Places};

/// Where runtimes keep the namespaces of pods: containerd, CRI-O and `ip netns` in the first, Docker in the second.
pub const POD_FOLDERS: [&str; 2] = ["/run/netns", "/var/run/docker/netns"];

/// [`RouteProgrammer`] over netlink.
///
/// It keeps a socket in the node's namespace open and follows the links there; in a pod's namespace it opens one for
/// the length of each operation, or of a [`SilencedPod`]. It needs the capabilities NET_ADMIN and SYS_ADMIN, and a runtime with its time and
/// IO drivers. Operations on different pods run side by side; those on one pod are for the caller to put in order.
#[derive(Debug)]
pub struct NetlinkProgrammer {
    node: Arc<Node>,
    arrivals: Arrivals,
    places: Places,
}

impl NetlinkProgrammer {
    /// A programmer for the node whose own namespace is `node`, and which looks for the namespaces of its pods in
    /// `folders` (see [`POD_FOLDERS`]); a folder that is missing is looked at again each time.
    ///
    /// # Errors
    /// `Unauthorised` when the namespace may not be entered.
    pub async fn new(node: Netns, folders: Vec<PathBuf>) -> Result<Self> {
        Self::new_probed(node, folders, Points::default()).await
    }

    /// The same, and `points` hears of every change that is made.
    ///
    /// # Errors
    /// As [`NetlinkProgrammer::new`].
    pub async fn new_probed(node: Netns, folders: Vec<PathBuf>, points: Points) -> Result<Self> {
        let node = Arc::new(Node::open(node, points).await?);
        let arrivals = Arrivals::follow(node.clone()).await?;
        Ok(Self { node, arrivals, places: Places { folders, mounted: false } })
    }

    /// Looks for pods also in every namespace that is bind-mounted anywhere where this process sees it: not every runtime
    /// keeps them in the usual folders.
    pub fn wherever_mounted(mut self) -> Self {
        self.places.mounted = true;
        self
    }

    /// Opens a pod's namespace, as planned and not the node's own.
    async fn pod(&self, plan: &PodPlan) -> Result<Netns> {
        let netns = pod::open_planned(&plan.netns, plan.sandbox).await?;
        self.refuse_own(&netns, &plan.netns)?;
        Ok(netns)
    }

    fn refuse_own(&self, netns: &Netns, path: &NetnsPath) -> Result<()> {
        if netns.sandbox() == self.node.netns().sandbox() {
            return Err(Error::new(ErrorKind::Invalid, "open network namespace", path)
                .detail("this is the node's own; a pod on the host's network needs no interface"));
        }
        Ok(())
    }

    async fn set_up(&self, plan: &PodPlan, pod: &Pod) -> Result<PodLink> {
        let links = pod.links().await?;
        let state = match plan::beginning(plan, &links)? {
            Beginning::Complete(link) => pod.state(link, &links).await?,
            Beginning::Move => return self.move_in(plan, pod, pod::loopback_up(&links)).await,
        };
        let missing = plan::differences(plan, &state);
        if let Err(error) = pod.put_right(plan, &state.link, &missing).await {
            return Err(told(error, pod.take_back(&missing).await));
        }
        Ok(PodLink { mac: plan.mac, mtu: plan.mtu.unwrap_or(state.link.mtu) })
    }

    async fn move_in(&self, plan: &PodPlan, pod: &Pod, loopback_up: bool) -> Result<PodLink> {
        let nic = self.node.nic(plan.mac, self.arrivals.hint(plan.mac)).await?;
        let own_mtu = own_mtu(&nic);
        let alias =
            Alias { mark: plan.mark.clone(), part: Part::Moved, own_mtu: Some(own_mtu), silenced: false }
                .to_string();
        let change = LinkChange::new()
            .move_to(&pod.netns)
            .rename(plan.ifname.as_str())
            .alias(&alias)
            .mtu(plan.mtu.unwrap_or(own_mtu))
            .announce_addresses();
        let done = match self.node.change(nic.index, change).await {
            Ok(()) => self.finish(plan, pod, loopback_up).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(link) => Ok(link),
            Err(error) => Err(told(error, self.take_back(plan, pod).await)),
        }
    }

    /// Undoes a move, also one that the kernel may still be about to make.
    async fn take_back(&self, plan: &PodPlan, pod: &Pod) -> Result<()> {
        self.node.check().await?;
        self.release(&plan.mark, Some(plan.mac), pod).await.map(drop)
    }

    /// Everything that comes after the move. A link that just arrived has nothing but its name.
    async fn finish(&self, plan: &PodPlan, pod: &Pod, loopback_up: bool) -> Result<PodLink> {
        let link = pod.link_named(plan.ifname.as_str()).await?;
        let mtu = link.mtu;
        let state = PodState { link, loopback_up, addresses: Vec::new(), routes: Vec::new() };
        pod.put_right(plan, &state.link, &plan::differences(plan, &state)).await?;
        Ok(PodLink { mac: plan.mac, mtu })
    }

    /// Gives the NIC of an attachment back to the node; `None` when the pod has none.
    async fn release(
        &self,
        mark: &AttachmentMark,
        mac: Option<MacAddr>,
        pod: &Pod,
    ) -> Result<Option<MacAddr>> {
        let links = pod.links().await?;
        let Some(link) = plan::find(mark, mac, &links) else { return Ok(None) };
        let addresses = pod.connection().addresses_of(link.index).await?;
        let freed = pod.give_back(link, self.node.netns()).await?;
        let ended: Vec<IpAddr> = addresses.iter().map(|address| address.address.addr()).collect();
        self.node.forget_flows(&ended).await;
        Ok(freed)
    }

    /// Silences the link of a plan; false when the pod has none.
    async fn silence(plan: &PodPlan, pod: &Pod) -> Result<bool> {
        let links = pod.links().await?;
        let Some(link) = plan::find(&plan.mark, Some(plan.mac), &links) else { return Ok(false) };
        pod.silence(link, &plan.mark).await.map(|()| true)
    }

    async fn tear_down(
        &self,
        mark: &AttachmentMark,
        mac: Option<MacAddr>,
        netns: Netns,
    ) -> Result<Option<MacAddr>> {
        if netns.sandbox() == self.node.netns().sandbox() {
            return Ok(None);
        }
        let pod = Pod::enter(netns, self.node.points()).await?;
        let released = self.release(mark, mac, &pod).await;
        pod.leave().await;
        released
    }

    async fn compare(&self, plan: &PodPlan, pod: &Pod) -> Result<Vec<Drift>> {
        let links = pod.links().await?;
        let Some(link) = plan::find(&plan.mark, Some(plan.mac), &links) else {
            return Ok(vec![missing(format!("interface {}", plan.ifname))]);
        };
        let state = pod.state(link.clone(), &links).await?;
        let differences = plan::differences(plan, &state);
        Ok(differences.iter().map(|difference: &Difference| difference.drift(plan, &state.link)).collect())
    }
}

#[async_trait]
impl RouteProgrammer for NetlinkProgrammer {
    async fn setup_node(&self, plan: &NodePlan) -> Result<()> {
        self.node.check().await?;
        veth::node::set_up(&self.node, plan).await
    }

    async fn check_node(&self, plan: &NodePlan) -> Result<Vec<Drift>> {
        veth::node::check(&self.node, plan).await
    }

    async fn sandbox(&self, netns: &NetnsPath) -> Result<Sandbox> {
        let open = pod::open(netns).await?;
        self.refuse_own(&open, netns)?;
        open.verify().await.map_err(|error| {
            Error::new(error.kind(), "enter", netns).detail("it cannot be entered").source(error)
        })?;
        Ok(open.sandbox())
    }

    async fn wait_for_nic(&self, mac: MacAddr) -> Result<HostLink> {
        self.arrivals.wait_for(&self.node, mac).await
    }

    async fn setup_pod(&self, plan: &PodPlan) -> Result<PodLink> {
        let veth = offered(plan)?;
        let pod = Pod::enter(self.pod(plan).await?, self.node.points()).await?;
        let link = match &veth {
            None => self.set_up(plan, &pod).await,
            Some(planned) => veth::set_up(&self.node, planned, &pod, self.arrivals.hint(plan.mac)).await,
        };
        pod.leave().await;
        link
    }

    async fn announce_pod(&self, plan: &PodPlan) -> Result<()> {
        match offered(plan)? {
            None => Ok(()),
            Some(_) => veth::announce(&self.node, plan.mac, self.arrivals.hint(plan.mac)).await,
        }
    }

    async fn check_pod(&self, plan: &PodPlan) -> Result<Vec<Drift>> {
        let veth = offered(plan)?;
        let netns = match (self.pod(plan).await, &veth) {
            (Err(error), Some(planned)) if error.kind() == ErrorKind::NotFound => {
                return veth::check(&self.node, planned, None).await;
            }
            (Err(error), None) if error.kind() == ErrorKind::NotFound => {
                return Ok(vec![missing(format!("network namespace {}", plan.netns))]);
            }
            (netns, _) => netns?,
        };
        let pod = Pod::enter(netns, self.node.points()).await?;
        let drifts = match &veth {
            None => self.compare(plan, &pod).await,
            Some(planned) => veth::check(&self.node, planned, Some(&pod)).await,
        };
        pod.leave().await;
        drifts
    }

    async fn silence_pod(&self, plan: &PodPlan) -> Result<Option<Box<dyn SilencedPod>>> {
        if let Some(planned) = offered(plan)? {
            let target = veth::Target::planned(&planned);
            let silenced = veth::silence(&self.node, &target).await?;
            let rest = || Box::new(veth::Silenced::new(self.node.clone(), target));
            return Ok(silenced.then(|| rest() as Box<dyn SilencedPod>));
        }
        let netns = pod::open_planned(&plan.netns, plan.sandbox).await;
        let Some(netns) = if_there(netns)? else { return Ok(None) };
        if netns.sandbox() == self.node.netns().sandbox() {
            return Ok(None);
        }
        let pod = Pod::enter(netns, self.node.points()).await?;
        match Self::silence(plan, &pod).await {
            Ok(true) => Ok(Some(Box::new(Silenced::new(self.node.clone(), plan.clone(), pod)))),
            silenced => {
                pod.leave().await;
                silenced.map(|_| None)
            }
        }
    }

    async fn teardown_pod(&self, plan: &PodPlan) -> Result<()> {
        if let Some(planned) = offered(plan)? {
            return veth::tear_down(&self.node, &veth::Target::planned(&planned)).await.map(drop);
        }
        let netns = pod::open_planned(&plan.netns, plan.sandbox).await;
        if let Some(netns) = if_there(netns)? {
            self.tear_down(&plan.mark, Some(plan.mac), netns).await?;
        }
        // Also where the NIC came back by itself.
        self.node.forget_flows(&[plan.address.addr()]).await;
        Ok(())
    }

    async fn teardown_marked(&self, mark: &AttachmentMark, netns: &NetnsPath) -> Result<Option<MacAddr>> {
        // Behind a veth, all is in the node, or goes with what is there.
        if let Some(nic) = veth::tear_down(&self.node, &veth::Target::marked(mark)).await? {
            return Ok(Some(nic));
        }
        match if_there(pod::open(netns).await)? {
            Some(netns) => self.tear_down(mark, None, netns).await,
            None => Ok(None),
        }
    }

    async fn setup_gateways(&self, plans: &[GatewayPlan]) -> Result<()> {
        gateway::set_up(&self.node, plans).await
    }

    async fn check_gateways(&self, plans: &[GatewayPlan]) -> Result<Vec<Drift>> {
        gateway::check(&self.node, plans).await
    }

    async fn observe(&self) -> Result<KernelView> {
        let pods = survey::marked_links(self.places.clone(), self.node.netns().sandbox());
        let (host, found) = futures::try_join!(self.node.host_links(), pods)?;
        let (mut pods, mut ends) = (Vec::new(), Vec::new());
        for link in found {
            match link {
                Found::Nic(nic) => pods.push(nic),
                Found::Veth(end) => ends.push(end),
            }
        }
        Ok(KernelView { host, pods, veths: veth::survey::veths(&self.node, ends).await? })
    }
}

/// A namespace that is gone, or whose path leads to something else by now, holds nothing of ours.
fn if_there(netns: Result<Netns>) -> Result<Option<Netns>> {
    match netns {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => Ok(None),
        netns => netns.map(Some),
    }
}

/// The plan as one of a veth; `None` where the NIC itself is moved into the pod.
fn offered(plan: &PodPlan) -> Result<Option<veth::Planned<'_>>> {
    match &plan.datapath {
        PodDatapath::Passthrough => Ok(None),
        PodDatapath::Veth(veth) => veth::Planned::new(plan, veth).map(Some),
        other => Err(Error::new(ErrorKind::Unsupported, "program datapath", format_args!("{other:?}"))),
    }
}

fn missing(object: String) -> Drift {
    Drift { object, difference: "missing".to_owned() }
}

/// The error of a set-up, which also tells when something could not be taken back.
fn told(error: Error, taken_back: Result<()>) -> Error {
    let Err(left) = taken_back else { return error };
    let detail = format!("it failed, and what was done could not be taken back: {}", left.chain());
    Error::new(error.kind(), error.operation(), error.subject().to_owned())
        .detail(detail)
        .effect_unknown()
        .source(error)
}
