//! Pods that the kernel has and no lease names: what they hold, as far as their links tell. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::attachment::{AttachmentMark, IfName, NetnsPath, Sandbox};
use crate::clock::BootTime;
use crate::cloud::{Carrier, Nic, NicAttachment};
use crate::id::MacAddr;
use crate::ipam::Lease;
use crate::ledger::{
    AddressRecord, AddressState, LeaseRecord, LeaseState, NicRecord, NicRole, NicState, SubnetRange,
};
use crate::route::{
    Hairpin, KernelView, MarkedLink, MarkedVeth, MarkedVethEnd, NicTable, PodDatapath, PodLink, PodPlan,
    PodsTable, VethPlan,
};

use super::compare::{Evidence, Finding, Observation};
use super::veth::VethCommon;

/// Whose a NIC is, by its mark.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// It is in the pod.
    Link(&'a MarkedLink),
    /// It is in the node, and the pod behind a veth.
    Veth(&'a MarkedVeth),
}

impl<'a> Holder<'a> {
    fn mark(&self) -> &'a AttachmentMark {
        match self {
            Self::Link(link) => &link.mark,
            Self::Veth(veth) => &veth.mark,
        }
    }

    /// The NIC's subnet with the VPC router, as the pod's routes show it.
    fn subnet(&self) -> Option<(IpNet, IpAddr)> {
        match self {
            // A link that has its address alone does not tell.
            Self::Link(link) => link.addresses.iter().map(IpNet::trunc).find_map(|prefix| {
                link.gateway.filter(|gateway| prefix.contains(gateway)).map(|to| (prefix, to))
            }),
            Self::Veth(veth) => veth.subnet.zip(veth.gateway),
        }
    }

    /// Whether the NIC is in the node's own namespace.
    pub(super) fn is_in_node(&self) -> bool {
        matches!(self, Self::Veth(_))
    }
}

/// What becomes of a pod behind a veth of which no lease knows.
enum Fate<'a> {
    /// It runs, behind the veth of that name.
    Runs(&'a MarkedVethEnd, &'a IfName, NicTable),
    /// Its DEL was answered, or its namespace has ended and its veth with it.
    Ends,
    /// Its veth is there, and its namespace is not in sight.
    Unknown,
}

impl<'a> Fate<'a> {
    fn of(veth: &'a MarkedVeth) -> Self {
        match (&veth.pod, &veth.host_ifname, veth.table) {
            _ if veth.silenced => Self::Ends,
            (Some(end), Some(name), Some(table)) => Self::Runs(end, name, table),
            (None, None, _) => Self::Ends,
            _ => Self::Unknown,
        }
    }
}

/// Pods whose NIC is recorded as nobody's. The records may be of before, or were made when the pod could not be seen: the
/// pod is there, so they are wrong.
pub(super) fn unleased(seen: &Observation<'_>) -> Vec<Finding> {
    let idle = |record: &&NicRecord| {
        matches!(record.state, NicState::Ready | NicState::Quarantined)
            && !record.role.is_gateway()
            && !record.role.is_shared()
            && !record.has_holder()
            && !seen.busy_nics.contains(&record.id)
    };
    let owner = |record: &NicRecord| {
        let holder = holder(seen.kernel, record.mac)?;
        let mark = holder.mark();
        if seen.state.leases.contains_key(mark) || !record.role.serves(mark) {
            return None;
        }
        let ready = record.clone().in_state(NicState::Ready, seen.now);
        // What the node has of a pod would be in the way of the next one that gets the NIC.
        let in_the_way = holder.is_in_node() && record.state == NicState::Ready;
        rebuild(seen, ready, holder).or_else(|| in_the_way.then(|| set_aside(record, seen.now)))
    };
    seen.state.nics.values().filter(idle).filter_map(owner).collect()
}

fn set_aside(record: &NicRecord, now: BootTime) -> Finding {
    let mut aside = record.clone().in_state(NicState::Quarantined, now);
    aside.addresses.iter_mut().for_each(|own| own.state = AddressState::Claimed);
    Finding::Quarantine(Box::new(aside))
}

/// Whose a NIC is. A MAC that is in more places than one is not ours alone (another daemon's pods may be in sight, in a
/// cloud of its own), and tells nothing.
pub(super) fn holder(kernel: &KernelView, mac: MacAddr) -> Option<Holder<'_>> {
    let in_node = kernel.host.iter().filter(|link| link.mac == mac).count();
    let links = kernel.pods.iter().filter(|link| link.mac == mac).map(Holder::Link);
    let veths = kernel.veths.iter().filter(|veth| veth.nic == Some(mac)).map(Holder::Veth);
    let mut found = links.chain(veths);
    let holder = found.next()?;
    let alone = found.next().is_none() && in_node <= usize::from(holder.is_in_node());
    alone.then_some(holder)
}

/// Whether the interface of a pod that should run is no longer in its namespace. That is a fact of the kernel: a NIC comes
/// back to the node, and a veth ends with its other end. A namespace that is not in sight is none.
pub(super) fn has_left(kernel: &KernelView, lease: &LeaseRecord) -> bool {
    let elsewhere = |end: &MarkedVethEnd| end.sandbox != lease.plan.sandbox;
    match lease.plan.datapath {
        PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) => {
            kernel.host.iter().any(|link| link.mac == lease.lease.mac)
        }
        PodDatapath::Veth(_) => kernel
            .veths
            .iter()
            .find(|veth| veth.mark == lease.mark)
            .is_none_or(|veth| veth.host_ifname.is_none() || veth.pod.as_ref().is_some_and(elsewhere)),
        PodDatapath::Shared(_) => kernel
            .shared_pods
            .iter()
            .find(|pod| pod.mark == lease.mark)
            .is_none_or(|pod| pod.pod.as_ref().is_some_and(elsewhere)),
    }
}

/// Somebody else's NIC that a pod of ours has: it was lent to it. Of such a NIC only our mark, on the pod's link or on the
/// NIC itself, tells that.
pub(super) fn lent(seen: &Observation<'_>, cloud: &Evidence, nic: &Nic) -> Option<Finding> {
    let here = NicAttachment::Attached { instance: cloud.instance.clone(), primary: false };
    let holder = holder(seen.kernel, nic.mac).filter(|_| nic.attachment == here)?;
    let range = cloud.subnets.get(&nic.subnet).cloned().or_else(|| range_of(nic, holder))?;
    let claimed = |address: &IpAddr| AddressRecord { address: *address, state: AddressState::Claimed };
    let record = NicRecord {
        id: nic.id.clone(),
        mac: nic.mac,
        subnet: range,
        token: None,
        role: NicRole::Lent(holder.mark().clone()),
        state: NicState::Ready,
        since: seen.now,
        addresses: nic.addresses.iter().map(claimed).collect(),
    };
    rebuild(seen, record, holder)
}

/// The subnet of a NIC, as the kernel shows it: nobody else need be asked about the subnets of others.
fn range_of(nic: &Nic, holder: Holder<'_>) -> Option<SubnetRange> {
    let (prefix, gateway) = holder.subnet()?;
    let holds = nic.addresses.iter().any(|own| prefix.contains(own));
    holds.then(|| SubnetRange { id: nic.subnet.clone(), prefix, gateway, carrier: Carrier::default() })
}

/// What a NIC that a pod has is to be recorded as; `None` where it cannot be told what the pod holds.
pub(super) fn rebuild(seen: &Observation<'_>, record: NicRecord, holder: Holder<'_>) -> Option<Finding> {
    let lease = match holder {
        Holder::Link(link) => passthrough(&record, link, seen.now)?,
        Holder::Veth(veth) => behind_veth(&record, veth, seen)?,
    };
    let leased = AddressState::Leased { mark: lease.mark.clone() };
    let record = record.with_address(lease.lease.address.addr(), leased);
    Some(Finding::Rebuild(Box::new(record), Box::new(lease)))
}

/// The lease of a pod, as far as the kernel knows it: the key is lost, its mark is enough for the DEL.
fn passthrough(nic: &NicRecord, link: &MarkedLink, now: BootTime) -> Option<LeaseRecord> {
    let lease = lease(nic, |own| link.addresses.iter().any(|there| there.addr() == own))?;
    let beside = link.services.clone();
    let plan = PodPlan {
        datapath: beside.map_or(PodDatapath::Passthrough, PodDatapath::PassthroughWithServices),
        mark: link.mark.clone(),
        netns: link.netns.clone(),
        sandbox: link.sandbox,
        ifname: link.ifname.clone(),
        mac: nic.mac,
        address: lease.address,
        // It may be the node's own.
        gateway: link.gateway.unwrap_or(nic.subnet.gateway),
        routes: Vec::new(),
        mtu: None,
    };
    let state = if link.silenced { LeaseState::Releasing } else { LeaseState::Active };
    Some(record(lease, plan, state, PodLink { mac: nic.mac, mtu: 0 }, now))
}

/// The same for a pod behind a veth. What is left of one that is gone needs only to be taken down.
fn behind_veth(nic: &NicRecord, veth: &MarkedVeth, seen: &Observation<'_>) -> Option<LeaseRecord> {
    let lease = lease(nic, |own| veth.addresses.contains(&own))?;
    let (state, common, end, name, table) = match Fate::of(veth) {
        Fate::Runs(end, name, table) => (LeaseState::Active, seen.veth?, end.clone(), name.clone(), table),
        Fate::Ends => {
            let name = veth.host_ifname.clone().or_else(|| IfName::new(NicTable::FIRST.link()).ok())?;
            let table = veth.table.unwrap_or(NicTable::FIRST);
            (LeaseState::Releasing, seen.veth.unwrap_or(NOTHING), gone(veth)?, name, table)
        }
        Fate::Unknown => return None,
    };
    let plan = PodPlan {
        datapath: PodDatapath::Veth(VethPlan {
            table,
            pods: common.pods,
            host_ifname: name,
            source: common.source,
            hairpin: common.hairpin,
            mtu_at_most: None,
        }),
        mark: veth.mark.clone(),
        netns: end.netns,
        sandbox: end.sandbox,
        ifname: end.ifname,
        mac: nic.mac,
        address: lease.address,
        gateway: nic.subnet.gateway,
        routes: veth.routes.clone(),
        mtu: veth.mtu,
    };
    Some(record(lease, plan, state, PodLink { mac: end.mac, mtu: veth.mtu.unwrap_or(0) }, seen.now))
}

/// What nobody reads of a plan that is only taken down.
pub(super) const NOTHING: VethCommon =
    VethCommon { pods: PodsTable::OWN, source: IpAddr::V4(Ipv4Addr::UNSPECIFIED), hairpin: Hairpin::Off };

/// The pod's end of a veth, or what stands for one that is gone: what is left of such a pod is in the node.
fn gone(veth: &MarkedVeth) -> Option<MarkedVethEnd> {
    if let Some(end) = &veth.pod {
        return Some(end.clone());
    }
    Some(MarkedVethEnd {
        mark: veth.mark.clone(),
        mac: veth.nic?,
        ifname: IfName::new("gone").ok()?,
        netns: NetnsPath::new("/gone").ok()?,
        sandbox: Sandbox { device: 0, inode: 0 },
    })
}

/// The address of a NIC that a pod has, and the first where none can be seen.
fn lease(nic: &NicRecord, is_there: impl Fn(IpAddr) -> bool) -> Option<Lease> {
    let there = |own: &&AddressRecord| is_there(own.address);
    let own = nic.addresses.iter().find(there).or(nic.addresses.first())?;
    Some(Lease {
        nic: nic.id.clone(),
        mac: nic.mac,
        subnet: nic.subnet.id.clone(),
        address: IpNet::new(own.address, nic.subnet.prefix.prefix_len()).ok()?,
        gateway: nic.subnet.gateway,
    })
}

pub(super) fn record(
    lease: Lease,
    plan: PodPlan,
    state: LeaseState,
    link: PodLink,
    now: BootTime,
) -> LeaseRecord {
    LeaseRecord {
        mark: plan.mark.clone(),
        key: None,
        pod: None,
        started: BootTime::default(),
        state,
        lease,
        plan,
        link: Some(link),
        since: now,
        by_wish: false,
    }
}
