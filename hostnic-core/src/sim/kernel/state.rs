//! What the simulated kernel of one node holds, and each change that one netlink message could make.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::attachment::{AttachmentMark, IfName, NetnsPath, Sandbox};
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::GatewayNumber;
use crate::id::MacAddr;
use crate::route::{
    Drift, GatewayPlan, HostLink, KernelView, MarkedLink, NodePlan, PodDatapath, PodPlan, Route, ServiceVeth,
};

use super::shared::SharedSide;
use super::veth::{HostEnd, NicSide};

/// The MTU of a link that nobody has set.
const USUAL_MTU: u32 = 1500;

/// What a link is of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, where it is in a pod; nothing yet, where it is in the node.
    Whole,
    /// The NIC of a pod behind a veth.
    Nic(NicSide),
    /// The pod's end of a veth.
    PodEnd,
    /// A NIC that pods share.
    Shared(Box<SharedSide>),
}

/// An Ethernet link, wherever it is.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) mac: MacAddr,
    pub(super) up: bool,
    pub(super) mtu: u32,
    pub(super) mark: Option<AttachmentMark>,
    pub(super) part: Part,
    pub(super) silenced: bool,
    pub(super) addresses: Vec<IpNet>,
    pub(super) default_route: bool,
    gateway: Option<GatewayNumber>,
    routes: Vec<Route>,
    /// The veth to services beside it, with both its ends.
    services: Option<ServiceVeth>,
}

impl Link {
    pub(super) fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            up: false,
            mtu: USUAL_MTU,
            mark: None,
            part: Part::Whole,
            silenced: false,
            addresses: Vec::new(),
            default_route: false,
            gateway: None,
            routes: Vec::new(),
            services: None,
        }
    }

    /// Takes away what the kernel takes away from a link that leaves its namespace.
    pub(super) fn strip(&mut self) {
        self.up = false;
        self.addresses.clear();
        self.default_route = false;
        self.routes.clear();
        self.services = None;
    }

    pub(super) fn is_nic_of(&self, mark: &AttachmentMark) -> bool {
        matches!(self.part, Part::Nic(_)) && self.mark.as_ref() == Some(mark)
    }

    pub(super) fn is_gateway(&self) -> bool {
        self.gateway.is_some()
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(super) fn set_routes(&mut self, routes: Vec<Route>) {
        self.routes = routes;
    }
}

#[derive(Debug)]
struct Namespace {
    /// `None` once it was removed and lives on because somebody holds it.
    path: Option<NetnsPath>,
    /// The path, while it is out of sight.
    hidden: Option<NetnsPath>,
    holders: u32,
    links: BTreeMap<IfName, Link>,
}

impl Namespace {
    fn is_at(&self, path: &NetnsPath) -> bool {
        self.path.as_ref() == Some(path)
    }

    fn ifname_of(&self, mark: &AttachmentMark) -> Option<IfName> {
        let moved = |link: &Link| link.part == Part::Whole && link.mark.as_ref() == Some(mark);
        let marked = self.links.iter().find(|(_, link)| moved(link));
        marked.map(|(ifname, _)| ifname.clone())
    }
}

/// The links of one node.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) host: BTreeMap<MacAddr, (String, Link)>,
    namespaces: BTreeMap<Sandbox, Namespace>,
    /// The ends of veths in the node, by what is written on them.
    pub(super) ends: BTreeMap<AttachmentMark, HostEnd>,
    /// The addresses whose flows are remembered, and whose they were.
    pub(super) flows: BTreeMap<AttachmentMark, IpAddr>,
    /// As the node was last set up.
    pub(super) node: Option<NodePlan>,
    /// As they were last set up, those of the operator's NICs included.
    pub(super) gateways: Vec<GatewayPlan>,
    pub(super) named: u64,
    sandboxes: u64,
}

impl Links {
    /// The inode of the first namespace; the kernel's own are of this size.
    const FIRST_INODE: u64 = 4_026_532_000;

    /// Puts a link into the node's own namespace, under a name that says nothing.
    pub(super) fn put_on_host(&mut self, link: Link) {
        self.named += 1;
        self.host.insert(link.mac, (format!("eth{}", self.named), link));
    }

    /// A new namespace under `path`. What was there before under this path is gone.
    pub(super) fn add_sandbox(&mut self, path: NetnsPath) -> Sandbox {
        self.remove_sandbox(&path);
        self.sandboxes += 1;
        let sandbox = Sandbox { device: 4, inode: Self::FIRST_INODE + self.sandboxes };
        let namespace = Namespace { path: Some(path), hidden: None, holders: 0, links: BTreeMap::new() };
        self.namespaces.insert(sandbox, namespace);
        sandbox
    }

    /// The path names the namespace no more. Unless somebody holds it, it goes away.
    pub(super) fn remove_sandbox(&mut self, path: &NetnsPath) {
        let Some(sandbox) = self.sandbox(path) else { return };
        if let Some(namespace) = self.namespaces.get_mut(&sandbox) {
            namespace.path = None;
        }
        self.end_unless_held(sandbox);
    }

    pub(super) fn hide_sandbox(&mut self, path: &NetnsPath) {
        if let Some(namespace) = self.namespaces.values_mut().find(|namespace| namespace.is_at(path)) {
            namespace.hidden = namespace.path.take();
            namespace.holders += 1;
        }
    }

    pub(super) fn show_sandbox(&mut self, path: &NetnsPath) {
        let is_it = |namespace: &&mut Namespace| namespace.hidden.as_ref() == Some(path);
        if let Some(namespace) = self.namespaces.values_mut().find(is_it) {
            namespace.path = namespace.hidden.take();
            namespace.holders -= 1;
        }
    }

    /// The namespace lives until it is let go of.
    pub(super) fn hold(&mut self, sandbox: Sandbox) {
        if let Some(namespace) = self.namespaces.get_mut(&sandbox) {
            namespace.holders += 1;
        }
    }

    /// Takes back one [`Links::hold`].
    pub(super) fn let_go(&mut self, sandbox: Sandbox) {
        if let Some(namespace) = self.namespaces.get_mut(&sandbox) {
            namespace.holders = namespace.holders.saturating_sub(1);
        }
        self.end_unless_held(sandbox);
    }

    /// A namespace without path and holders goes away, and its NICs come back to the node.
    fn end_unless_held(&mut self, sandbox: Sandbox) {
        let ended = |namespace: &Namespace| namespace.path.is_none() && namespace.holders == 0;
        if !self.namespaces.get(&sandbox).is_some_and(ended) {
            return;
        }
        let Some(namespace) = self.namespaces.remove(&sandbox) else { return };
        for (_, mut link) in namespace.links {
            match (&link.part, &link.mark) {
                (Part::PodEnd, Some(mark)) => drop(self.ends.remove(mark)),
                _ => {
                    link.strip();
                    self.put_on_host(link);
                }
            }
        }
    }

    /// Takes a veth's end out of whichever namespace it is in.
    pub(super) fn delete_pod_end(&mut self, mark: &AttachmentMark) {
        for namespace in self.namespaces.values_mut() {
            namespace.links.retain(|_, link| link.part != Part::PodEnd || link.mark.as_ref() != Some(mark));
        }
    }

    /// All links in namespaces that have a path.
    pub(super) fn links_in_pods(&self) -> impl Iterator<Item = (Sandbox, NetnsPath, IfName, &Link)> {
        self.namespaces.iter().flat_map(|(sandbox, namespace)| {
            let named =
                |(ifname, link)| Some((*sandbox, namespace.path.clone()?, IfName::clone(ifname), link));
            namespace.links.iter().filter_map(named)
        })
    }

    pub(super) fn sandbox(&self, path: &NetnsPath) -> Option<Sandbox> {
        self.namespaces.iter().find(|(_, namespace)| namespace.is_at(path)).map(|(sandbox, _)| *sandbox)
    }

    /// The links in the namespace that the path names now.
    fn links_at(&self, path: &NetnsPath) -> Option<&BTreeMap<IfName, Link>> {
        self.namespaces.values().find(|namespace| namespace.is_at(path)).map(|namespace| &namespace.links)
    }

    pub(super) fn links_at_mut(&mut self, path: &NetnsPath) -> Option<&mut BTreeMap<IfName, Link>> {
        self.namespaces
            .values_mut()
            .find(|namespace| namespace.is_at(path))
            .map(|namespace| &mut namespace.links)
    }

    /// The plan's namespace, unless it is gone or its path has come to name another.
    fn namespace_of(&mut self, plan: &PodPlan) -> Option<&mut Namespace> {
        self.namespaces.get_mut(&plan.sandbox).filter(|namespace| namespace.is_at(&plan.netns))
    }

    pub(super) fn links_of(&mut self, plan: &PodPlan) -> Option<&mut BTreeMap<IfName, Link>> {
        self.namespace_of(plan).map(|namespace| &mut namespace.links)
    }

    /// The plan's own link in its namespace, whatever its name.
    pub(super) fn own_link(&mut self, plan: &PodPlan) -> Option<&mut Link> {
        self.links_of(plan)?.values_mut().find(|link| link.mark.as_ref() == Some(&plan.mark))
    }

    /// The same, only to look at.
    pub(super) fn own_link_of(&self, plan: &PodPlan) -> Option<&Link> {
        let namespace = self.namespaces.get(&plan.sandbox).filter(|namespace| namespace.is_at(&plan.netns));
        namespace?.links.values().find(|link| link.mark.as_ref() == Some(&plan.mark))
    }

    /// Takes the link with this MAC out of wherever it is.
    pub(super) fn unplug(&mut self, mac: MacAddr) {
        self.host.remove(&mac);
        for namespace in self.namespaces.values_mut() {
            namespace.links.retain(|_, link| link.mac != mac);
        }
    }

    /// Sets the plan's link down and its name free; whether there is one.
    pub(super) fn silence(&mut self, plan: &PodPlan) -> bool {
        self.named += 1;
        let number = self.named;
        let Some(namespace) = self.namespace_of(plan) else { return false };
        let Some(ifname) = namespace.ifname_of(&plan.mark) else { return false };
        let Some(mut link) = namespace.links.remove(&ifname) else { return false };
        let aside =
            if link.silenced { ifname } else { IfName::new(format!("hnx{number}")).unwrap_or(ifname) };
        link.up = false;
        link.routes.clear();
        link.services = None;
        link.silenced = true;
        namespace.links.insert(aside, link);
        true
    }

    /// The plan's link has its name again, where nobody else has it by now.
    fn name_again(&mut self, plan: &PodPlan) {
        let Some(namespace) = self.namespace_of(plan) else { return };
        let Some(ifname) = namespace.ifname_of(&plan.mark) else { return };
        if !namespace.links.contains_key(&plan.ifname)
            && let Some(mut link) = namespace.links.remove(&ifname)
        {
            link.silenced = false;
            namespace.links.insert(plan.ifname.clone(), link);
        }
    }

    /// First step of a set-up: the NIC carries the mark. Nothing to do where the NIC is in the pod already.
    pub(super) fn mark(&mut self, plan: &PodPlan) -> Result<()> {
        self.name_again(plan);
        let links = self.links_of(plan).ok_or_else(|| {
            refuse(ErrorKind::NotFound, plan)
                .detail(format_args!("{} is not the pod's namespace (any more)", plan.netns))
        })?;
        match links.get(&plan.ifname) {
            Some(link) if link.mac == plan.mac && link.mark.as_ref() == Some(&plan.mark) => return Ok(()),
            Some(_) => {
                let detail = format!("the pod has another interface named {}", plan.ifname);
                return Err(refuse(ErrorKind::Conflict, plan).detail(detail));
            }
            None => {}
        }
        let (_, link) = self.host.get_mut(&plan.mac).ok_or_else(|| no_nic(plan))?;
        if matches!(link.part, Part::Nic(_) | Part::Shared(_)) {
            let detail = format!("NIC {} is that of pods behind veths", plan.mac);
            return Err(refuse(ErrorKind::Conflict, plan).detail(detail));
        }
        link.mark = Some(plan.mark.clone());
        link.silenced = false;
        Ok(())
    }

    /// Second step: the NIC is in the pod, under its name.
    pub(super) fn move_in(&mut self, plan: &PodPlan) -> Result<()> {
        if self.own_link(plan).is_some() {
            return Ok(());
        }
        if self.links_of(plan).is_none() {
            return Err(refuse(ErrorKind::NotFound, plan).detail("the pod's namespace went away"));
        }
        let (_, mut link) = self.host.remove(&plan.mac).ok_or_else(|| no_nic(plan))?;
        link.strip();
        if let Some(links) = self.links_of(plan) {
            links.insert(plan.ifname.clone(), link);
        }
        Ok(())
    }

    /// Last step: addresses, routes, MTU, up.
    pub(super) fn configure(&mut self, plan: &PodPlan) -> Result<u32> {
        let link = self
            .own_link(plan)
            .ok_or_else(|| refuse(ErrorKind::NotFound, plan).detail("the pod's interface went away"))?;
        link.addresses = vec![plan.address];
        link.routes = planned_routes(plan);
        link.mtu = plan.mtu.unwrap_or(link.mtu);
        link.up = true;
        let mtu = link.mtu;
        self.lead_to_services(plan);
        self.flows.insert(plan.mark.clone(), plan.address.addr());
        Ok(mtu)
    }

    /// The veth to services is there, where the plan has one; an older pod's gives its name up.
    fn lead_to_services(&mut self, plan: &PodPlan) {
        let planned = services_of(plan).cloned();
        if let Some(planned) = &planned {
            let links = self.namespaces.values_mut().flat_map(|namespace| namespace.links.values_mut());
            let has_it = |link: &&mut Link| {
                link.services.as_ref().is_some_and(|beside| beside.host_ifname == planned.host_ifname)
            };
            links.filter(has_it).for_each(|link| link.services = None);
        }
        if let Some(link) = self.own_link(plan) {
            link.services = planned;
        }
    }

    /// Takes what carries `mark` out of the namespace at `path`, back to the node's. Gives back its MAC.
    pub(super) fn move_out(&mut self, mark: &AttachmentMark, path: &NetnsPath) -> Option<MacAddr> {
        self.move_out_of(self.sandbox(path)?, mark)
    }

    /// The same, from a namespace that need not have a path any more.
    pub(super) fn move_out_of(&mut self, sandbox: Sandbox, mark: &AttachmentMark) -> Option<MacAddr> {
        let namespace = self.namespaces.get_mut(&sandbox)?;
        let ifname = namespace.ifname_of(mark)?;
        let mut link = namespace.links.remove(&ifname)?;
        let mac = link.mac;
        link.strip();
        link.mark = None;
        link.silenced = false;
        self.put_on_host(link);
        Some(mac)
    }

    /// Clears the mark from a NIC in the node's own namespace: a set-up that was left after its first step.
    pub(super) fn unmark(&mut self, mac: MacAddr, mark: &AttachmentMark) {
        if let Some((_, link)) = self.host.get_mut(&mac)
            && link.mark.as_ref() == Some(mark)
        {
            link.mark = None;
            link.strip();
        }
    }

    pub(super) fn drift(&self, plan: &PodPlan) -> Vec<Drift> {
        let one =
            |object: String, difference: &str| vec![Drift { object, difference: difference.to_owned() }];
        let Some(links) =
            self.links_at(&plan.netns).filter(|_| self.sandbox(&plan.netns) == Some(plan.sandbox))
        else {
            return one(format!("namespace {}", plan.netns), "missing, or another one by now");
        };
        let interface = format!("interface {}", plan.ifname);
        match links.get(&plan.ifname) {
            None => one(interface, "missing"),
            Some(link) if link.mark.as_ref() != Some(&plan.mark) => one(interface, "it is somebody else's"),
            Some(link) => link_drift(&interface, link, plan),
        }
    }

    /// The node's gateways become these, or nothing changes.
    pub(super) fn set_gateways(&mut self, plans: &[GatewayPlan]) -> Result<()> {
        let own = || plans.iter().filter_map(|plan| Some((plan, plan.own.as_ref()?)));
        if let Some((absent, _)) = own().find(|(plan, _)| !self.host.contains_key(&plan.mac)) {
            return Err(Error::new(ErrorKind::NotFound, "set up gateway", absent.mac)
                .detail("no link of the node has this MAC address"));
        }
        for (name, link) in self.host.values_mut() {
            if let Some((plan, own)) = own().find(|(plan, _)| plan.mac == link.mac) {
                *name = own.ifname.to_string();
                link.up = true;
                link.addresses = vec![plan.address];
                link.gateway = Some(own.number);
            } else if link.gateway.take().is_some() {
                link.strip();
            }
        }
        self.gateways = plans.to_vec();
        Ok(())
    }

    pub(super) fn gateway_drift(&self, plans: &[GatewayPlan]) -> Vec<Drift> {
        let sound = |plan: &&GatewayPlan| {
            let linked = plan.own.as_ref().is_none_or(|own| {
                self.host.get(&plan.mac).is_some_and(|(name, link)| {
                    *name == own.ifname.as_str()
                        && link.up
                        && link.addresses.contains(&plan.address)
                        && link.gateway == Some(own.number)
                })
            });
            linked && self.gateways.contains(plan)
        };
        let wrong = plans.iter().filter(|plan| !sound(plan));
        wrong
            .map(|plan| Drift {
                object: format!("gateway {}", plan.address),
                difference: "missing or changed".to_owned(),
            })
            .collect()
    }

    pub(super) fn view(&self) -> KernelView {
        let host = self.host.values().map(|(name, link)| HostLink {
            mac: link.mac,
            name: name.clone(),
            in_use: link.up || !link.addresses.is_empty(),
            addresses: link.addresses.clone(),
            default_route: link.default_route,
            gateway: link.gateway,
        });
        let moved = self.links_in_pods().filter(|(.., link)| link.part == Part::Whole);
        let pods = moved.filter_map(|(sandbox, netns, ifname, link)| {
            let default = link.routes.iter().find(|route| route.destination.prefix_len() == 0);
            Some(MarkedLink {
                mark: link.mark.clone()?,
                mac: link.mac,
                ifname,
                netns,
                sandbox,
                addresses: link.addresses.clone(),
                silenced: link.silenced,
                gateway: default.and_then(|route| route.next_hop),
                services: link.services.clone(),
            })
        });
        KernelView {
            host: host.collect(),
            pods: pods.collect(),
            veths: self.veths(),
            shared_nics: self.shared_nics(),
            shared_pods: self.shared_pods(),
        }
    }
}

fn link_drift(interface: &str, link: &Link, plan: &PodPlan) -> Vec<Drift> {
    let mut drift = Vec::new();
    let mut note = |object: String, difference: String| drift.push(Drift { object, difference });
    if link.mac != plan.mac {
        note(interface.to_owned(), format!("its MAC is {}, not {}", link.mac, plan.mac));
    }
    if !link.up {
        note(interface.to_owned(), "down".to_owned());
    }
    if let Some(mtu) = plan.mtu.filter(|mtu| *mtu != link.mtu) {
        note(interface.to_owned(), format!("mtu is {}, not {mtu}", link.mtu));
    }
    if !link.addresses.contains(&plan.address) {
        note(format!("address {}", plan.address), "missing".to_owned());
    }
    for route in planned_routes(plan).iter().filter(|route| !link.routes.contains(route)) {
        note(format!("route to {}", route.destination), "missing".to_owned());
    }
    if link.services.as_ref() != services_of(plan) {
        note(format!("interface {}", ServiceVeth::POD_IFNAME), "missing or changed".to_owned());
    }
    drift
}

/// The veth that a plan has beside the NIC.
fn services_of(plan: &PodPlan) -> Option<&ServiceVeth> {
    match &plan.datapath {
        PodDatapath::PassthroughWithServices(services) => Some(services),
        PodDatapath::Passthrough | PodDatapath::Veth(_) | PodDatapath::Shared(_) => None,
    }
}

/// The default route and those beside it.
fn planned_routes(plan: &PodPlan) -> Vec<Route> {
    let everything = match plan.gateway {
        std::net::IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        std::net::IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    let default = Route { destination: everything, next_hop: Some(plan.gateway) };
    std::iter::once(default).chain(plan.routes.iter().cloned()).collect()
}

pub(super) fn refuse(kind: ErrorKind, plan: &PodPlan) -> Error {
    Error::new(kind, "set up pod", format_args!("{} in {}", plan.ifname, plan.netns))
}

pub(super) fn no_nic(plan: &PodPlan) -> Error {
    refuse(ErrorKind::NotFound, plan).detail(format_args!("no NIC {} in the node's own namespace", plan.mac))
}
