//! NICs that pods share in the simulated kernel, and those pods, each change as one netlink message could make it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::state::{Links, Part, no_nic, refuse};
use super::veth::{Beginning, Behind};
use crate::error::{Error, ErrorKind, Result};
use crate::id::MacAddr;
use crate::route::{Drift, MarkedSharedNic, MarkedSharedPod, PodPlan, SharedNicPlan, SharedPlan};

/// What the node has for a NIC that pods share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedSide {
    plan: SharedNicPlan,
    answers_for: BTreeSet<IpAddr>,
}

fn senders(plan: &SharedNicPlan) -> Vec<IpNet> {
    plan.sender.map(IpNet::from).into_iter().collect()
}

impl Links {
    /// The NIC becomes one that pods share, or nothing changes.
    pub(super) fn set_shared(&mut self, plan: &SharedNicPlan) -> Result<()> {
        let refuse = |kind| Error::new(kind, "set up shared NIC", plan.mac);
        if let Some(outside) = plan.sender.filter(|sender| !plan.subnet.contains(sender)) {
            let detail = format!("{outside} is not in {}", plan.subnet);
            return Err(refuse(ErrorKind::Invalid).detail(detail));
        }
        let name = plan.ifname.as_str();
        if self.host.iter().any(|(mac, (named, _))| *mac != plan.mac && named == name) {
            return Err(refuse(ErrorKind::Conflict).detail(format!("{name} is another link")));
        }
        let answers_for = self.sharing(plan);
        let (named, nic) = self.host.get_mut(&plan.mac).ok_or_else(|| refuse(ErrorKind::NotFound))?;
        if nic.mark.is_some() || nic.is_gateway() {
            return Err(refuse(ErrorKind::Conflict).detail("it is a pod's NIC, or a gateway"));
        }
        *named = name.to_owned();
        nic.up = true;
        nic.addresses = senders(plan);
        nic.part = Part::Shared(Box::new(SharedSide { plan: plan.clone(), answers_for }));
        Ok(())
    }

    pub(super) fn shared_drift(&self, plan: &SharedNicPlan) -> Vec<Drift> {
        let one = |difference: &str| {
            vec![Drift { object: format!("NIC {}", plan.ifname), difference: difference.to_owned() }]
        };
        let Some((name, nic)) = self.host.get(&plan.mac) else { return one("missing") };
        let whole = name == plan.ifname.as_str() && nic.up && nic.addresses == senders(plan);
        match &nic.part {
            Part::Shared(side) if side.plan != *plan || !whole => one("changed"),
            Part::Shared(side) if side.answers_for != self.sharing(plan) => one("answers for other pods"),
            Part::Shared(_) => Vec::new(),
            _ => one("it is not shared"),
        }
    }

    /// The NIC becomes one like any other.
    pub(super) fn end_shared(&mut self, mac: MacAddr) {
        if self.host.get(&mac).is_some_and(|(_, nic)| matches!(nic.part, Part::Shared(_)))
            && let Some((_, mut nic)) = self.host.remove(&mac)
        {
            nic.strip();
            nic.part = Part::Whole;
            self.put_on_host(nic);
        }
    }

    /// The pods that a NIC is to answer for.
    fn sharing(&self, plan: &SharedNicPlan) -> BTreeSet<IpAddr> {
        let ends = self.ends.values().filter(|end| end.leads_to_pod());
        ends.filter_map(|end| end.shares).filter(|address| plan.subnet.contains(address)).collect()
    }

    /// First step of a pod's set-up: its NIC is shared, and the names are free or its own.
    pub(super) fn find_shared(&mut self, plan: &PodPlan, shared: &SharedPlan) -> Result<Beginning> {
        if !plan.routes.is_empty() {
            return Err(refuse(ErrorKind::Invalid, plan).detail("routes are the shared NIC's, not the pod's"));
        }
        let beginning = self.names_are_free(plan, &shared.host_ifname)?;
        let (_, nic) = self.host.get(&plan.mac).ok_or_else(|| no_nic(plan))?;
        if !matches!(nic.part, Part::Shared(_)) {
            let detail = format!("NIC {} is not set up to be shared", plan.mac);
            return Err(refuse(ErrorKind::Conflict, plan).detail(detail));
        }
        self.put_aside(plan, &shared.host_ifname);
        Ok(beginning)
    }

    /// The NIC answers ARP for the pod.
    pub(super) fn answer_for(&mut self, plan: &PodPlan) {
        if let Some((_, nic)) = self.host.get_mut(&plan.mac)
            && let Part::Shared(side) = &mut nic.part
        {
            side.answers_for.insert(plan.address.addr());
        }
    }

    /// No NIC answers ARP for the address any more.
    pub(super) fn answer_no_more(&mut self, address: IpAddr) {
        for (_, nic) in self.host.values_mut() {
            if let Part::Shared(side) = &mut nic.part {
                side.answers_for.remove(&address);
            }
        }
    }

    /// Sets the pod's veth down and its name free; whether that is there. Nothing answers for it any more in any case.
    pub(super) fn silence_sharing(&mut self, plan: &PodPlan) -> bool {
        self.answer_no_more(plan.address.addr());
        self.silence_veth(&plan.mark)
    }

    pub(super) fn shared_pod_drift(&self, plan: &PodPlan, shared: &SharedPlan) -> Vec<Drift> {
        let missing = |object: String| Drift { object, difference: "missing".to_owned() };
        let Some((_, nic)) = self.host.get(&plan.mac) else {
            return vec![missing(format!("NIC {}", plan.mac))];
        };
        let Part::Shared(side) = &nic.part else {
            return vec![missing(format!("NIC {} that is shared", plan.mac))];
        };
        let mut drift = self.pair_drift(plan, &Behind::sharing(plan, shared), nic.mtu);
        let address = plan.address.addr();
        if !side.answers_for.contains(&address) {
            drift.push(missing(format!("answers to ARP for {address}")));
        }
        drift
    }

    pub(super) fn shared_nics(&self) -> Vec<MarkedSharedNic> {
        let shared = self.host.values().filter_map(|(name, nic)| match &nic.part {
            Part::Shared(side) => Some(MarkedSharedNic {
                mac: nic.mac,
                name: name.clone(),
                table: side.plan.table,
                subnet: Some(side.plan.subnet),
                senders: nic.addresses.iter().map(IpNet::addr).collect(),
                answers_for: side.answers_for.iter().copied().collect(),
            }),
            _ => None,
        });
        shared.collect()
    }

    pub(super) fn shared_pods(&self) -> Vec<MarkedSharedPod> {
        let nics = self.shared_nics();
        let pods = self.pod_ends();
        let ends = self.ends.iter().filter_map(|(mark, end)| {
            let address = end.shares?;
            Some(MarkedSharedPod {
                mark: mark.clone(),
                address,
                nic: nics.iter().find(|nic| nic.answers_for.contains(&address)).map(|nic| nic.mac),
                host_ifname: end.name.clone(),
                mtu: end.mtu,
                pod: pods.iter().find(|pod| pod.mark == *mark).cloned(),
                silenced: end.silenced,
            })
        });
        ends.collect()
    }
}
