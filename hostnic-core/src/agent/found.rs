//! Pods that the kernel has and no lease names: what they hold, as far as their links tell. Pure.

use std::net::IpAddr;

use crate::clock::BootTime;
use crate::cloud::{Nic, NicAttachment};
use crate::id::MacAddr;
use crate::ipam::Lease;
use crate::ledger::{
    AddressRecord, AddressState, LeaseRecord, LeaseState, NicRecord, NicRole, NicState, SubnetRange,
};
use crate::route::{KernelView, MarkedLink, PodDatapath, PodLink, PodPlan};

use super::compare::{Evidence, Finding, Observation};

/// Pods whose NIC is recorded as nobody's. The records may be of before, or were made when the pod could not be seen: the
/// pod is there, so they are wrong.
pub(super) fn unleased(seen: &Observation<'_>) -> Vec<Finding> {
    let idle = |record: &&NicRecord| {
        matches!(record.state, NicState::Ready | NicState::Quarantined)
            && !record.role.is_gateway()
            && !record.has_holder()
            && !seen.busy_nics.contains(&record.id)
    };
    let owner = |record: &NicRecord| {
        let link = in_pod(seen.kernel, record.mac)?;
        let new = !seen.state.leases.contains_key(&link.mark) && record.role.serves(&link.mark);
        new.then(|| rebuild(seen, record.clone().in_state(NicState::Ready, seen.now), link)).flatten()
    };
    seen.state.nics.values().filter(idle).filter_map(owner).collect()
}

/// The pod's link that a NIC is. A MAC that is also somewhere else is not ours alone (another daemon's pods may be in sight,
/// in a cloud of its own), and tells nothing.
pub(super) fn in_pod(kernel: &KernelView, mac: MacAddr) -> Option<&MarkedLink> {
    let mut found = kernel.pods.iter().filter(|link| link.mac == mac);
    let link = found.next()?;
    let elsewhere = found.next().is_some() || kernel.host.iter().any(|link| link.mac == mac);
    (!elsewhere).then_some(link)
}

/// Somebody else's NIC that is in a pod of ours: it was lent to it. Of such a NIC only the pod's link, which carries our
/// mark, tells that.
pub(super) fn lent(seen: &Observation<'_>, cloud: &Evidence, nic: &Nic) -> Option<Finding> {
    let here = NicAttachment::Attached { instance: cloud.instance.clone(), primary: false };
    let link = in_pod(seen.kernel, nic.mac).filter(|_| nic.attachment == here)?;
    let range = cloud.subnets.get(&nic.subnet).cloned().or_else(|| range_of(nic, link))?;
    let claimed = |address: &IpAddr| AddressRecord { address: *address, state: AddressState::Claimed };
    let record = NicRecord {
        id: nic.id.clone(),
        mac: nic.mac,
        subnet: range,
        token: None,
        role: NicRole::Lent(link.mark.clone()),
        state: NicState::Ready,
        since: seen.now,
        addresses: nic.addresses.iter().map(claimed).collect(),
    };
    rebuild(seen, record, link)
}

/// The subnet of a NIC, as its link shows it: nobody else need be asked about the subnets of others.
fn range_of(nic: &Nic, link: &MarkedLink) -> Option<SubnetRange> {
    let own = link.addresses.iter().find(|own| nic.addresses.contains(&own.addr()))?;
    let prefix = own.trunc();
    // A link that has its address alone does not tell.
    let gateway = link.gateway.filter(|gateway| prefix.contains(gateway))?;
    Some(SubnetRange { id: nic.subnet.clone(), prefix, gateway })
}

/// What a NIC that a pod has is to be recorded as.
pub(super) fn rebuild(seen: &Observation<'_>, record: NicRecord, link: &MarkedLink) -> Option<Finding> {
    let lease = rebuilt(&record, link, seen.now)?;
    let leased = AddressState::Leased { mark: link.mark.clone() };
    let record = record.with_address(lease.lease.address.addr(), leased);
    Some(Finding::Rebuild(Box::new(record), Box::new(lease)))
}

/// The lease of a pod, as far as the kernel knows it: the key is lost, its mark is enough for the DEL.
fn rebuilt(nic: &NicRecord, link: &MarkedLink, now: BootTime) -> Option<LeaseRecord> {
    let on_link = |own: &&AddressRecord| link.addresses.iter().any(|a| a.addr() == own.address);
    let own = nic.addresses.iter().find(on_link).or(nic.addresses.first())?;
    let address = ipnet::IpNet::new(own.address, nic.subnet.prefix.prefix_len()).ok()?;
    Some(LeaseRecord {
        mark: link.mark.clone(),
        key: None,
        pod: None,
        started: BootTime::default(),
        state: if link.silenced { LeaseState::Releasing } else { LeaseState::Active },
        lease: Lease {
            nic: nic.id.clone(),
            mac: nic.mac,
            subnet: nic.subnet.id.clone(),
            address,
            gateway: nic.subnet.gateway,
        },
        plan: PodPlan {
            datapath: PodDatapath::Passthrough,
            mark: link.mark.clone(),
            netns: link.netns.clone(),
            sandbox: link.sandbox,
            ifname: link.ifname.clone(),
            mac: nic.mac,
            address,
            // It may be the node's own.
            gateway: link.gateway.unwrap_or(nic.subnet.gateway),
            routes: Vec::new(),
            mtu: None,
        },
        link: Some(PodLink { mac: nic.mac, mtu: 0 }),
        since: now,
    })
}
