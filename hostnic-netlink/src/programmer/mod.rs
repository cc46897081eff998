//! Gives pods their interfaces: NICs that are moved into them, or veths to NICs that stay in the node.

mod addresses;
mod alias;
mod flows;
mod gateway;
mod moved;
mod nic;
mod node;
mod order;
mod pair;
mod plan;
mod pod;
mod rules;
mod services;
mod setting;
mod shared;
mod silenced;
mod survey;
mod veth;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::attachment::{AttachmentMark, NetnsPath, Sandbox};
use hostnic_core::id::MacAddr;
use hostnic_core::point::Points;
use hostnic_core::route::{
    Drift, GatewayPlan, HostLink, KernelView, NodePlan, PodDatapath, PodLink, PodPlan, SharedNicPlan,
    SharedRoutes, SilencedPod,
};
use hostnic_core::{Error, ErrorKind, Result, RouteProgrammer};
use tokio::sync::Semaphore;

use crate::link::LinkIndex;
use crate::netns::Netns;
use addresses::Addresses;
use moved::Moved;
use node::{Arrivals, Node};
use pod::Pod;
pub use setting::setting_is_read_only;
use shared::lease::Leases;
use survey::{Found, Places};

/// The mark of flows that pods send to services by the node, by a gateway or by a veth beside their NIC, and of their
/// packets: they are answered by where they came in. It is one bit, beside that for NodePorts, in the half that
/// kube-proxy leaves alone.
pub const SERVED: u32 = 0x2_0000;

/// How many pods are set up at the same time. The kernel does it for one at a time, so that more of them would only hold their
/// memory and be done later.
const SET_UPS: usize = 4;

/// Where runtimes keep the namespaces of pods: containerd, CRI-O and `ip netns` in the first, Docker in the second.
pub const POD_FOLDERS: [&str; 2] = ["/run/netns", "/var/run/docker/netns"];

/// [`RouteProgrammer`] over netlink.
///
/// It keeps a socket in the node's namespace open and follows the links there; in a pod's namespace it opens one for
/// the length of each operation, or of a [`SilencedPod`]. One thread of its own does it all. It needs the capabilities NET_ADMIN and SYS_ADMIN, where pods share
/// NICs also NET_RAW, and a runtime with its time and IO drivers. Operations on different pods run side by side; those on one pod are for the caller to put in order.
#[derive(Debug)]
pub struct NetlinkProgrammer {
    node: Arc<Node>,
    arrivals: Arrivals,
    addresses: Addresses,
    places: Places,
    set_ups: Semaphore,
    leases: Leases,
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
        let addresses = Addresses::follow(node.clone()).await?;
        let places = Places { folders, mounted: false };
        let (set_ups, leases) = (Semaphore::new(SET_UPS), Leases::default());
        Ok(Self { node, arrivals, addresses, places, set_ups, leases })
    }

    /// Looks for pods also in every namespace that is bind-mounted anywhere where this process sees it: not every runtime
    /// keeps them in the usual folders.
    pub fn wherever_mounted(mut self) -> Self {
        self.places.mounted = true;
        self
    }
}

/// Opens a pod's namespace, as planned and not the node's own.
async fn open_pod(node: &Node, plan: &PodPlan) -> Result<Netns> {
    let netns = pod::open_planned(&*node.visitor()?, &plan.netns, plan.sandbox).await?;
    refuse_own(node, &netns, &plan.netns)?;
    Ok(netns)
}

fn refuse_own(node: &Node, netns: &Netns, path: &NetnsPath) -> Result<()> {
    if netns.sandbox() == node.netns().sandbox() {
        return Err(Error::new(ErrorKind::Invalid, "open network namespace", path)
            .detail("this is the node's own; a pod on the host's network needs no interface"));
    }
    Ok(())
}

/// What a plan is for; checked as far as the kernel's side can.
fn offered<'a>(node: &'a Arc<Node>, plan: &'a PodPlan) -> Result<Offered<'a>> {
    let moved = |services| Ok(Offered::Moved(Moved { node, plan, services }));
    match &plan.datapath {
        PodDatapath::Passthrough => moved(None),
        PodDatapath::PassthroughWithServices(services) => {
            moved(Some(services::Planned::new(plan, services)?))
        }
        PodDatapath::Veth(veth) => veth::Planned::new(plan, veth).map(Offered::Veth),
        PodDatapath::Shared(shared) => shared::Planned::new(plan, shared).map(Offered::Shared),
        other => Err(Error::new(ErrorKind::Unsupported, "program datapath", format_args!("{other:?}"))),
    }
}

/// The datapaths that there are.
enum Offered<'a> {
    /// The NIC itself is moved into the pod.
    Moved(Moved<'a>),
    /// The pod is behind a veth, and has a NIC of its own.
    Veth(veth::Planned<'a>),
    /// The pod is behind a veth, and shares a NIC.
    Shared(shared::Planned<'a>),
}

async fn sandbox(node: Arc<Node>, netns: NetnsPath) -> Result<Sandbox> {
    let visitor = node.visitor()?;
    let open = pod::open(&visitor, &netns).await?;
    refuse_own(&node, &open, &netns)?;
    visitor.visit(&open, || Ok(())).await.map_err(|error| {
        Error::new(error.kind(), "enter", &netns).detail("it cannot be entered").source(error)
    })?;
    Ok(open.sandbox())
}

async fn set_up(node: Arc<Node>, plan: PodPlan, hint: Option<LinkIndex>) -> Result<PodLink> {
    let offered = offered(&node, &plan)?;
    let pod = Pod::enter(open_pod(&node, &plan).await?, &node).await?;
    let link = match &offered {
        Offered::Moved(moved) => moved.set_up(&pod, hint).await,
        Offered::Veth(planned) => veth::set_up(&node, planned, &pod, hint).await,
        Offered::Shared(planned) => shared::set_up(&node, planned, &pod, hint).await,
    };
    pod.leave().await;
    link
}

async fn check(node: Arc<Node>, plan: PodPlan) -> Result<Vec<Drift>> {
    let offered = offered(&node, &plan)?;
    let netns = match (open_pod(&node, &plan).await, &offered) {
        (Err(error), Offered::Veth(planned)) if error.kind() == ErrorKind::NotFound => {
            return veth::check(&node, planned, None).await;
        }
        (Err(error), Offered::Shared(planned)) if error.kind() == ErrorKind::NotFound => {
            return shared::check(&node, planned, None).await;
        }
        (Err(error), Offered::Moved(_)) if error.kind() == ErrorKind::NotFound => {
            return Ok(vec![missing(format!("network namespace {}", plan.netns))]);
        }
        (netns, _) => netns?,
    };
    let pod = Pod::enter(netns, &node).await?;
    let drifts = match &offered {
        Offered::Moved(moved) => moved.check(&pod).await,
        Offered::Veth(planned) => veth::check(&node, planned, Some(&pod)).await,
        Offered::Shared(planned) => shared::check(&node, planned, Some(&pod)).await,
    };
    pod.leave().await;
    drifts
}

async fn silence(
    node: Arc<Node>,
    plan: PodPlan,
    hint: Option<LinkIndex>,
) -> Result<Option<Box<dyn SilencedPod>>> {
    match offered(&node, &plan)? {
        Offered::Moved(moved) => {
            match if_there(pod::open_planned(&*node.visitor()?, &plan.netns, plan.sandbox).await)? {
                Some(netns) => moved.silence(netns).await,
                None => Ok(None),
            }
        }
        Offered::Veth(planned) => silence_veth(&node, veth::Target::planned(&planned)).await,
        Offered::Shared(planned) => silence_veth(&node, planned.target(hint)).await,
    }
}

async fn silence_veth(node: &Arc<Node>, target: veth::Target) -> Result<Option<Box<dyn SilencedPod>>> {
    let silenced = veth::silence(node, &target).await?;
    let rest = |left| Box::new(veth::Silenced::new(node.clone(), target, left));
    Ok(silenced.map(|left| rest(left) as Box<dyn SilencedPod>))
}

async fn tear_down(node: Arc<Node>, plan: PodPlan, hint: Option<LinkIndex>) -> Result<()> {
    match offered(&node, &plan)? {
        Offered::Moved(moved) => moved.tear_down().await,
        Offered::Veth(planned) => veth::tear_down(&node, &veth::Target::planned(&planned)).await.map(drop),
        Offered::Shared(planned) => veth::tear_down(&node, &planned.target(hint)).await.map(drop),
    }
}

async fn tear_down_marked(
    node: Arc<Node>,
    mark: AttachmentMark,
    netns: NetnsPath,
) -> Result<Option<MacAddr>> {
    // Of a veth, all is in the node, or goes with what is there.
    if let Some(nic) = veth::tear_down(&node, &veth::Target::marked(&mark)).await? {
        return Ok(Some(nic));
    }
    match if_there(pod::open(&*node.visitor()?, &netns).await)? {
        Some(netns) => moved::tear_down(&node, &mark, netns).await,
        None => Ok(None),
    }
}

async fn observe(node: Arc<Node>, places: Places) -> Result<KernelView> {
    let pods = survey::marked_links(&node, places);
    let (host, found) = futures::try_join!(node.host_links(), pods)?;
    let (mut pods, mut ends, mut beside) = (Vec::new(), Vec::new(), BTreeMap::new());
    for link in found {
        match link {
            Found::Nic(nic) => pods.push(nic),
            Found::Veth(end) => ends.push(end),
            Found::Services(mark, services) => drop(beside.insert(mark, services)),
        }
    }
    services::tell(&node, &mut pods, beside).await?;
    let (shared_nics, shared_pods) = shared::survey::shared(&node, &mut ends).await?;
    let veths = veth::survey::veths(&node, ends).await?;
    Ok(KernelView { host, pods, veths, shared_nics, shared_pods })
}

/// Each operation is done by the thread that drives the connections.
#[async_trait]
impl RouteProgrammer for NetlinkProgrammer {
    async fn setup_node(&self, plan: &NodePlan) -> Result<()> {
        let plan = plan.clone();
        let set_up = async move |node: Arc<Node>| {
            node.check().await?;
            veth::node::set_up(&node, &plan).await
        };
        self.node.ask(set_up).await
    }

    async fn check_node(&self, plan: &NodePlan) -> Result<Vec<Drift>> {
        let plan = plan.clone();
        self.node.ask(async move |node: Arc<Node>| veth::node::check(&node, &plan).await).await
    }

    async fn sandbox(&self, netns: &NetnsPath) -> Result<Sandbox> {
        let netns = netns.clone();
        self.node.ask(|node| sandbox(node, netns)).await
    }

    async fn wait_for_nic(&self, mac: MacAddr) -> Result<HostLink> {
        self.arrivals.wait_for(&self.node, mac).await
    }

    async fn setup_pod(&self, plan: &PodPlan) -> Result<PodLink> {
        let _turn = self
            .set_ups
            .acquire()
            .await
            .map_err(|closed| Error::new(ErrorKind::Internal, "set up", &plan.netns).source(closed))?;
        let (plan, hint) = (plan.clone(), self.arrivals.hint(plan.mac));
        self.node.ask(move |node| set_up(node, plan, hint)).await
    }

    async fn announce_pod(&self, plan: &PodPlan) -> Result<()> {
        let hint = self.arrivals.hint(plan.mac);
        match offered(&self.node, plan)? {
            Offered::Moved(_) => Ok(()),
            Offered::Veth(_) => veth::announce(&self.node, plan.mac, hint).await,
            Offered::Shared(planned) => shared::announce(&self.node, &planned, hint).await,
        }
    }

    async fn check_pod(&self, plan: &PodPlan) -> Result<Vec<Drift>> {
        let plan = plan.clone();
        self.node.ask(|node| check(node, plan)).await
    }

    async fn silence_pod(&self, plan: &PodPlan) -> Result<Option<Box<dyn SilencedPod>>> {
        let (plan, hint) = (plan.clone(), self.arrivals.hint(plan.mac));
        self.node.ask(move |node| silence(node, plan, hint)).await
    }

    async fn teardown_pod(&self, plan: &PodPlan) -> Result<()> {
        let (plan, hint) = (plan.clone(), self.arrivals.hint(plan.mac));
        self.node.ask(move |node| tear_down(node, plan, hint)).await
    }

    async fn teardown_marked(&self, mark: &AttachmentMark, netns: &NetnsPath) -> Result<Option<MacAddr>> {
        let (mark, netns) = (mark.clone(), netns.clone());
        self.node.ask(|node| tear_down_marked(node, mark, netns)).await
    }

    async fn setup_shared_nic(&self, plan: &SharedNicPlan) -> Result<()> {
        if plan.routes != SharedRoutes::Vlan {
            self.leases.end(plan.mac).await;
        }
        let asked = plan.clone();
        let link =
            self.node.ask(async move |node: Arc<Node>| shared::nic::set_up(&node, &asked).await).await?;
        if plan.routes == SharedRoutes::Vlan {
            self.leases.keep(&self.node, plan, link);
        }
        Ok(())
    }

    async fn check_shared_nic(&self, plan: &SharedNicPlan) -> Result<Vec<Drift>> {
        let asked = plan.clone();
        let drifts =
            self.node.ask(async move |node: Arc<Node>| shared::nic::check(&node, &asked).await).await;
        let kept = plan.routes != SharedRoutes::Vlan || self.leases.keeps(plan);
        drifts.map(|drifts| drifts.into_iter().chain((!kept).then(|| shared::lease::nobodys(plan))).collect())
    }

    async fn teardown_shared_nic(&self, mac: MacAddr) -> Result<()> {
        self.leases.end(mac).await;
        self.node.ask(async move |node: Arc<Node>| shared::nic::tear_down(&node, mac).await).await
    }

    async fn setup_gateways(&self, plans: &[GatewayPlan]) -> Result<()> {
        gateway::set_up(&self.node, plans).await
    }

    async fn check_gateways(&self, plans: &[GatewayPlan]) -> Result<Vec<Drift>> {
        gateway::check(&self.node, plans).await
    }

    async fn observe(&self) -> Result<KernelView> {
        let places = self.places.clone();
        self.node.ask(|node| observe(node, places)).await
    }

    async fn addresses_changed(&self) {
        self.addresses.changed().await;
    }
}

/// A namespace that is gone, or whose path leads to something else by now, holds nothing of ours.
fn if_there(netns: Result<Netns>) -> Result<Option<Netns>> {
    match netns {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => Ok(None),
        netns => netns.map(Some),
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
