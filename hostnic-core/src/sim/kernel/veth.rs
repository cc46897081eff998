//! Pods behind veths in the simulated kernel, each change as one netlink message could make it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::state::{Links, Part, no_nic, refuse};
use crate::attachment::{AttachmentMark, IfName};
use crate::error::{ErrorKind, Result};
use crate::id::MacAddr;
use crate::route::{
    Drift, Hairpin, MarkedVeth, MarkedVethEnd, NicTable, PodPlan, PodsTable, Route, SharedPlan, VethPlan,
};

/// The next hop of every pod.
const NEXT_HOP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 1, 1));

/// What the node has for the NIC of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NicSide {
    table: NicTable,
    subnet: IpNet,
    gateway: IpAddr,
    routes: Vec<Route>,
    hairpin: Hairpin,
}

/// A veth's end in the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostEnd {
    pub(super) name: IfName,
    up: bool,
    pub(super) mtu: u32,
    /// The table of the route to the pod, and the source of what is sent by it.
    route: Option<(PodsTable, IpAddr)>,
    pub(super) silenced: bool,
    /// The pod's address, where its NIC is shared.
    pub(super) shares: Option<IpAddr>,
}

impl HostEnd {
    pub(super) fn leads_to_pod(&self) -> bool {
        self.route.is_some() && !self.silenced
    }
}

/// What a plan says of the veth, whosever the NIC is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind<'a> {
    host_ifname: &'a IfName,
    pods: PodsTable,
    source: IpAddr,
    mtu_at_most: Option<u32>,
    shares: Option<IpAddr>,
}

impl<'a> Behind<'a> {
    /// A pod with a NIC of its own.
    pub(super) fn alone(veth: &'a VethPlan) -> Self {
        let VethPlan { host_ifname, pods, source, mtu_at_most, .. } = veth;
        Self { host_ifname, pods: *pods, source: *source, mtu_at_most: *mtu_at_most, shares: None }
    }

    /// A pod that shares a NIC.
    pub(super) fn sharing(plan: &PodPlan, shared: &'a SharedPlan) -> Self {
        let SharedPlan { host_ifname, pods, source, mtu_at_most, .. } = shared;
        let shares = Some(plan.address.addr());
        Self { host_ifname, pods: *pods, source: *source, mtu_at_most: *mtu_at_most, shares }
    }

    fn mtu(&self, plan: &PodPlan, nic: u32) -> u32 {
        plan.mtu.unwrap_or_else(|| self.mtu_at_most.map_or(nic, |most| nic.min(most)))
    }
}

/// How far a pod was there before it was set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    Fresh,
    Present,
}

impl Links {
    /// Refuses names that others have. Gives back whether something of the pod is there.
    pub(super) fn names_are_free(&mut self, plan: &PodPlan, host_ifname: &IfName) -> Result<Beginning> {
        let conflict = |detail: String| Err(refuse(ErrorKind::Conflict, plan).detail(detail));
        let in_pod = self.links_of(plan).ok_or_else(|| {
            refuse(ErrorKind::NotFound, plan)
                .detail(format_args!("{} is not the pod's namespace (any more)", plan.netns))
        })?;
        let same_name = in_pod.get(&plan.ifname);
        if same_name.is_some_and(|link| link.part != Part::PodEnd || link.mark.as_ref() != Some(&plan.mark)) {
            return conflict(format!("the pod has another interface named {}", plan.ifname));
        }
        let present = same_name.is_some() || self.ends.contains_key(&plan.mark);
        if self.host.values().any(|(named, _)| *named == host_ifname.as_str()) {
            return conflict(format!("another link of the node is named {host_ifname}"));
        }
        Ok(if present { Beginning::Present } else { Beginning::Fresh })
    }

    /// First step of a set-up: the NIC carries the mark, has its name and the pod's address.
    pub(super) fn take_nic(&mut self, plan: &PodPlan, veth: &VethPlan) -> Result<Beginning> {
        let conflict = |detail: String| Err(refuse(ErrorKind::Conflict, plan).detail(detail));
        let beginning = self.names_are_free(plan, &veth.host_ifname)?;
        let name = veth.table.link();
        if veth.table.number() == veth.pods.number() {
            return Err(refuse(ErrorKind::Invalid, plan).detail("one table is the NIC's and the pods'"));
        }
        if let Some((mac, _)) = self.host.iter().find(|(mac, (named, _))| **mac != plan.mac && *named == name)
        {
            return conflict(format!("{name} is the NIC {mac}"));
        }
        let (named, nic) = self.host.get_mut(&plan.mac).ok_or_else(|| no_nic(plan))?;
        if nic.mark.as_ref().is_some_and(|mark| *mark != plan.mark) {
            return conflict(format!("NIC {} is another pod's", plan.mac));
        }
        if matches!(nic.part, Part::Shared(_)) {
            return conflict(format!("NIC {} is shared", plan.mac));
        }
        let beginning = if nic.mark.is_some() { Beginning::Present } else { beginning };
        *named = name;
        nic.mark = Some(plan.mark.clone());
        nic.part = Part::Nic(side(plan, veth));
        nic.silenced = false;
        nic.up = true;
        nic.addresses = vec![IpNet::from(plan.address.addr())];
        self.put_aside(plan, &veth.host_ifname);
        Ok(beginning)
    }

    /// An older pod's veth gives its name up.
    pub(super) fn put_aside(&mut self, plan: &PodPlan, host_ifname: &IfName) {
        self.named += 1;
        let aside = IfName::new(format!("hnx{}", self.named));
        let older =
            |(mark, end): &(&AttachmentMark, &mut HostEnd)| **mark != plan.mark && end.name == *host_ifname;
        if let (Some((_, end)), Ok(aside)) = (self.ends.iter_mut().find(older), aside) {
            end.name = aside;
            end.up = false;
            end.route = None;
        }
    }

    /// Second step: the veth is there.
    pub(super) fn make_pair(&mut self, plan: &PodPlan, behind: Behind<'_>) -> Result<()> {
        let whole = self.own_link(plan).is_some() && self.ends.get(&plan.mark).is_some_and(|e| !e.silenced);
        if whole {
            return Ok(());
        }
        self.delete_pair(&plan.mark);
        let Some(links) = self.links_of(plan) else {
            return Err(refuse(ErrorKind::NotFound, plan).detail("the pod's namespace went away"));
        };
        let mut end = super::state::Link::new(pod_mac(&plan.mark)?);
        end.mark = Some(plan.mark.clone());
        end.part = Part::PodEnd;
        links.insert(plan.ifname.clone(), end);
        let name = behind.host_ifname.clone();
        let end = HostEnd { name, up: false, mtu: 0, route: None, silenced: false, shares: behind.shares };
        self.ends.insert(plan.mark.clone(), end);
        Ok(())
    }

    /// Last step: addresses, routes, MTU, up. Gives back MAC and MTU of the pod's interface.
    pub(super) fn connect(&mut self, plan: &PodPlan, behind: Behind<'_>) -> Result<(MacAddr, u32)> {
        let mtu = self.host.get(&plan.mac).map(|(_, nic)| behind.mtu(plan, nic.mtu));
        let mtu = mtu.ok_or_else(|| no_nic(plan))?;
        let gone = || refuse(ErrorKind::NotFound, plan).detail("the pod's interface went away");
        let end = self.ends.get_mut(&plan.mark).ok_or_else(gone)?;
        end.name.clone_from(behind.host_ifname);
        end.shares = behind.shares;
        end.up = true;
        end.mtu = mtu;
        end.route = Some((behind.pods, behind.source));
        let link = self.own_link(plan).ok_or_else(gone)?;
        link.up = true;
        link.mtu = mtu;
        link.addresses = vec![IpNet::from(plan.address.addr())];
        link.set_routes(vec![default_route()]);
        let mac = link.mac;
        self.flows.insert(plan.mark.clone(), plan.address.addr());
        Ok((mac, mtu))
    }

    /// Sets the veth down and its name free; whether anything of the pod is there.
    pub(super) fn silence_veth(&mut self, mark: &AttachmentMark) -> bool {
        self.named += 1;
        let aside = IfName::new(format!("hnx{}", self.named));
        let end = self.ends.get_mut(mark);
        let mut found = end.is_some();
        if let (Some(end), Ok(aside)) = (end, aside) {
            (end.name, end.up, end.route, end.silenced) = (aside, false, None, true);
            if let Some(address) = end.shares {
                self.answer_no_more(address);
            }
        }
        for (_, nic) in self.host.values_mut() {
            if nic.is_nic_of(mark) {
                nic.silenced = true;
                found = true;
            }
        }
        found
    }

    /// Deletes the veth and sets the NIC down, which keeps its mark and the pod's address.
    pub(super) fn end_veth(&mut self, mark: &AttachmentMark) {
        self.delete_pair(mark);
        for (_, nic) in self.host.values_mut().filter(|(_, nic)| nic.is_nic_of(mark)) {
            nic.up = false;
        }
    }

    /// Deletes the veth, forgets its pod's flows and leaves the NIC bare. Gives back its MAC.
    pub(super) fn bare(&mut self, mark: &AttachmentMark) -> Option<MacAddr> {
        self.delete_pair(mark);
        self.flows.remove(mark);
        let mac = self.host.values().find(|(_, nic)| nic.is_nic_of(mark)).map(|(_, nic)| nic.mac)?;
        let (_, mut nic) = self.host.remove(&mac)?;
        nic.strip();
        (nic.mark, nic.part, nic.silenced) = (None, Part::Whole, false);
        self.put_on_host(nic);
        Some(mac)
    }

    /// Deletes both ends of a veth.
    pub(super) fn delete_pair(&mut self, mark: &AttachmentMark) {
        self.ends.remove(mark);
        self.delete_pod_end(mark);
    }

    /// The mark of the veth whose end in the node has this name.
    pub(super) fn veth_named(&self, name: &IfName) -> Option<AttachmentMark> {
        self.ends.iter().find(|(_, end)| end.name == *name).map(|(mark, _)| mark.clone())
    }

    pub(super) fn veth_drift(&self, plan: &PodPlan, veth: &VethPlan) -> Vec<Drift> {
        let mut drift = Vec::new();
        let mut note = |differs: bool, object: String, difference: &str| {
            if differs {
                drift.push(Drift { object, difference: difference.to_owned() });
            }
        };
        let Some((named, nic)) = self.host.get(&plan.mac) else {
            note(true, format!("NIC {}", plan.mac), "missing");
            return drift;
        };
        let name = format!("NIC {}", veth.table.link());
        note(*named != veth.table.link(), name.clone(), "named otherwise");
        note(!nic.is_nic_of(&plan.mark) || nic.silenced, name.clone(), "our mark is missing");
        note(nic.part != Part::Nic(side(plan, veth)), name.clone(), "its table or rules differ");
        note(!nic.up, name.clone(), "down");
        let address = IpNet::from(plan.address.addr());
        note(nic.addresses != [address], format!("address {address} of {name}"), "missing");
        drift.extend(self.pair_drift(plan, &Behind::alone(veth), nic.mtu));
        drift
    }

    /// How the veth differs, and what is in the pod.
    pub(super) fn pair_drift(&self, plan: &PodPlan, behind: &Behind<'_>, nic: u32) -> Vec<Drift> {
        let mut drift = Vec::new();
        let mut note = |differs: bool, object: String, difference: &str| {
            if differs {
                drift.push(Drift { object, difference: difference.to_owned() });
            }
        };
        let address = IpNet::from(plan.address.addr());
        let mtu = behind.mtu(plan, nic);
        let host = || format!("interface {} of the node", behind.host_ifname);
        let wanted = HostEnd {
            name: behind.host_ifname.clone(),
            up: true,
            mtu,
            route: Some((behind.pods, behind.source)),
            silenced: false,
            shares: behind.shares,
        };
        note(self.ends.get(&plan.mark) != Some(&wanted), host(), "missing or changed");
        let pod = || format!("interface {}", plan.ifname);
        match self.own_link_of(plan) {
            None => note(true, pod(), "missing"),
            Some(link) => {
                note(!link.up, pod(), "down");
                note(link.mtu != mtu, pod(), "its MTU is another one");
                note(link.addresses != [address], format!("address {address}"), "missing");
                note(!link.routes().contains(&default_route()), "default route".to_owned(), "missing");
            }
        }
        drift
    }

    pub(super) fn veths(&self) -> Vec<MarkedVeth> {
        let nics: Vec<_> = self.host.values().filter(|(_, nic)| matches!(nic.part, Part::Nic(_))).collect();
        let pods = self.pod_ends();
        let of_nics = nics.iter().filter_map(|(_, nic)| nic.mark.clone());
        let of_pods = pods.iter().map(|end| end.mark.clone());
        let mut marks: std::collections::BTreeSet<AttachmentMark> =
            of_nics.chain(self.ends.keys().cloned()).chain(of_pods).collect();
        marks.retain(|mark| self.ends.get(mark).is_none_or(|end| end.shares.is_none()));
        let veth = |mark: AttachmentMark| {
            let nic = nics.iter().find(|(_, nic)| nic.mark.as_ref() == Some(&mark));
            let end = self.ends.get(&mark);
            let side = nic.and_then(|(_, nic)| match &nic.part {
                Part::Nic(side) => Some(side),
                _ => None,
            });
            MarkedVeth {
                nic: nic.map(|(_, nic)| nic.mac),
                table: nic.and_then(|(name, _)| NicTable::of_link(name)),
                addresses: nic
                    .map_or_else(Vec::new, |(_, nic)| nic.addresses.iter().map(IpNet::addr).collect()),
                subnet: side.map(|side| side.subnet),
                gateway: side.map(|side| side.gateway),
                routes: side.map_or_else(Vec::new, |side| side.routes.clone()),
                host_ifname: end.map(|end| end.name.clone()),
                mtu: end.map(|end| end.mtu),
                pod: pods.iter().find(|end| end.mark == mark).cloned(),
                silenced: nic.is_some_and(|(_, nic)| nic.silenced) || end.is_some_and(|end| end.silenced),
                mark,
            }
        };
        marks.into_iter().map(veth).collect()
    }

    /// The ends of veths in namespaces that have a path.
    pub(super) fn pod_ends(&self) -> Vec<MarkedVethEnd> {
        let links = self.links_in_pods().filter(|(.., link)| link.part == Part::PodEnd);
        let end = |(sandbox, netns, ifname, link): (_, _, _, &super::state::Link)| {
            Some(MarkedVethEnd { mark: link.mark.clone()?, mac: link.mac, ifname, netns, sandbox })
        };
        links.filter_map(end).collect()
    }
}

fn side(plan: &PodPlan, veth: &VethPlan) -> NicSide {
    let (gateway, routes) = (plan.gateway, plan.routes.clone());
    NicSide { table: veth.table, subnet: plan.address.trunc(), gateway, routes, hairpin: veth.hairpin }
}

fn default_route() -> Route {
    Route { destination: IpNet::V4(ipnet::Ipv4Net::default()), next_hop: Some(NEXT_HOP) }
}

/// The MAC of a veth's end in its pod: the attachment's own.
fn pod_mac(mark: &AttachmentMark) -> Result<MacAddr> {
    let mut mac = [0x0a, 0, 0, 0, 0, 0];
    mac.iter_mut().skip(1).zip(mark.as_str().bytes()).for_each(|(byte, of_mark)| *byte = of_mark);
    Ok(MacAddr::new(mac)?)
}
