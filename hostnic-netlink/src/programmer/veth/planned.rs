//! A plan, and all that follows from it.

use std::net::{IpAddr, Ipv4Addr};

use hostnic_core::route::{Hairpin, PodPlan, VethPlan};
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::IpNet;

use super::super::alias::{Part, own_mtu};
use super::super::nic::{self, NO_HOST_ROUTE, Nic, Owner};
use super::super::order::{FROM_POD, TO_POD};
use super::super::pair::{End, Pair, macs};
use crate::link::Link;
use crate::route::KernelRoute;
use crate::rule::Rule;

/// The plan of a pod behind a veth, checked as far as the kernel's side can.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct Planned<'a> {
    pub(in crate::programmer) plan: &'a PodPlan,
    pub(super) veth: &'a VethPlan,
    /// The pod's address.
    pub(super) address: Ipv4Addr,
    pub(super) nic: Nic<'a>,
    pub(super) pair: Pair<'a>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// `Unsupported` for an address of IPv6, `Invalid` for one table that is the pods' and the NIC's.
    pub(in crate::programmer) fn new(plan: &'a PodPlan, veth: &'a VethPlan) -> Result<Self> {
        let refused = |kind| Error::new(kind, "program veth", format!("{} in {}", plan.ifname, plan.netns));
        let IpAddr::V4(address) = plan.address.addr() else {
            return Err(refused(ErrorKind::Unsupported)
                .detail(format!("{} is of IPv6; pods behind a veth have addresses of IPv4", plan.address)));
        };
        if veth.table.number() == veth.pods.number() {
            return Err(refused(ErrorKind::Invalid).detail(format!(
                "table {} cannot be the NIC's and that of all pods; choose another one",
                veth.pods.number()
            )));
        }
        let (host_mac, pod_mac) = macs(&plan.mark)?;
        let pair = Pair {
            mark: &plan.mark,
            host: End { part: Part::HostEnd, name: veth.host_ifname.as_str(), mac: host_mac },
            pod: End { part: Part::PodEnd, name: plan.ifname.as_str(), mac: pod_mac },
            group: None,
            address,
            has_address: true,
            table: veth.pods.number(),
            source: Some(veth.source),
            destinations: vec![KernelRoute::everywhere(IpAddr::V4(address))],
        };
        Ok(Self { plan, veth, address, nic: nic(plan, veth, address), pair })
    }

    /// What is set up, for people.
    pub(super) fn subject(&self) -> String {
        format!("{} in {}", self.plan.ifname, self.plan.netns)
    }

    pub(super) fn absent(&self) -> Error {
        Error::new(ErrorKind::NotFound, "find NIC", self.plan.mac)
            .detail("no link of the node has this MAC address")
    }

    /// The MTU of the pod's interface.
    pub(super) fn mtu(&self, nic: &Link) -> u32 {
        let own = own_mtu(nic);
        self.plan.mtu.unwrap_or_else(|| self.veth.mtu_at_most.map_or(own, |most| own.min(most)))
    }
}

/// The pod's NIC, which asks by ARP in the pod's name.
fn nic<'a>(plan: &'a PodPlan, veth: &'a VethPlan, pod: Ipv4Addr) -> Nic<'a> {
    let (name, host_end) = (veth.table.link(), veth.host_ifname.as_str());
    let destination = IpNet::from(IpAddr::V4(pod));
    let mut rules = vec![nic::drops_strays(&name)];
    let from = Rule::from(destination, FROM_POD, veth.table.number());
    match veth.hairpin {
        Hairpin::Off => rules.push(from),
        Hairpin::On => {
            let to = Rule::to(destination, TO_POD, veth.pods.number());
            rules.push(to.came_in_by(&name).longer_than(NO_HOST_ROUTE));
            rules.push(from.came_in_by(host_end));
        }
    }
    Nic {
        owner: Owner::Pod(&plan.mark),
        name,
        settings: match veth.hairpin {
            Hairpin::Off => &nic::ALONE,
            Hairpin::On => &nic::HAIRPIN,
        },
        sender: Some(pod),
        table: veth.table,
        routes: nic::routes(plan.address, plan.gateway, &plan.routes),
        vlan: None,
        rules,
        from: destination,
        veth: Some(host_end),
    }
}
