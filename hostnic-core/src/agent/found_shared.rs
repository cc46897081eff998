//! Pods that share a NIC, that the kernel has and no lease names: what they hold, as far as the kernel tells. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::attachment::{AttachmentMark, IfName, NetnsPath, Sandbox};
use crate::ipam::{ClaimedAddress, Lease};
use crate::ledger::{LeaseRecord, LeaseState, NicRecord, NicState, State};
use crate::route::{
    KernelView, MarkedSharedPod, MarkedVethEnd, NicTable, PodDatapath, PodLink, PodPlan, SharedPlan,
};

use super::compare::{Finding, Observation};
use super::found::{NOTHING, record};

/// What to record of pods that no lease names. A NIC may be among those that are only adopted now.
pub(super) fn sharing(seen: &Observation<'_>, findings: &[Finding]) -> Vec<Finding> {
    let adopted = findings.iter().filter_map(|finding| match finding {
        Finding::Adopt(nic) if nic.role.is_shared() => Some(nic.as_ref()),
        _ => None,
    });
    let nics: Vec<&NicRecord> = seen.state.nics.values().chain(adopted).collect();
    let unknown = seen.kernel.shared_pods.iter().filter(|pod| is_unknown(seen, pod));
    let idle = |nic: &&NicRecord| !seen.busy_nics.contains(&nic.id);
    let rebuilt = unknown.filter_map(|pod| rebuild(seen, nic_of(&nics, pod).filter(idle)?, pod));
    rebuilt.map(|lease| Finding::RebuildShared(Box::new(lease))).collect()
}

fn is_unknown(seen: &Observation<'_>, pod: &MarkedSharedPod) -> bool {
    !seen.state.leases.contains_key(&pod.mark) && !seen.busy_leases.contains(&pod.mark)
}

/// The NIC that carries the pod, or would.
fn nic_of<'a>(nics: &[&'a NicRecord], pod: &MarkedSharedPod) -> Option<&'a NicRecord> {
    let can = |nic: &&&NicRecord| {
        let there = matches!(
            nic.state,
            NicState::Ready | NicState::Attaching { .. } | NicState::Lost | NicState::Quarantined
        );
        nic.role.is_shared() && there && nic.subnet.prefix.contains(&pod.address)
    };
    let mut candidates = nics.iter().filter(can);
    let answers = candidates.clone().find(|nic| pod.nic == Some(nic.mac));
    answers.or_else(|| candidates.next()).copied()
}

fn rebuild(seen: &Observation<'_>, nic: &NicRecord, pod: &MarkedSharedPod) -> Option<LeaseRecord> {
    let (state, common, end) = match &pod.pod {
        _ if pod.silenced => {
            (LeaseState::Releasing, seen.veth.unwrap_or(NOTHING), pod.pod.clone().or_else(|| gone(pod, nic))?)
        }
        Some(end) => (LeaseState::Active, seen.veth?, end.clone()),
        // Its veth is there, and its namespace is not in sight.
        None => return None,
    };
    let address = IpNet::new(pod.address, nic.subnet.prefix.prefix_len()).ok()?;
    let lease = Lease {
        nic: nic.id.clone(),
        mac: nic.mac,
        subnet: nic.subnet.id.clone(),
        address,
        gateway: nic.subnet.gateway,
    };
    let plan = PodPlan {
        datapath: PodDatapath::Shared(SharedPlan {
            // The record's is chosen when this is recorded, where it has none.
            table: nic.role.shared_table().unwrap_or(NicTable::FIRST),
            pods: common.pods,
            host_ifname: pod.host_ifname.clone(),
            source: common.source,
            mtu_at_most: None,
        }),
        mark: pod.mark.clone(),
        netns: end.netns,
        sandbox: end.sandbox,
        ifname: end.ifname,
        mac: nic.mac,
        address,
        gateway: nic.subnet.gateway,
        routes: Vec::new(),
        mtu: Some(pod.mtu),
    };
    Some(record(lease, plan, state, PodLink { mac: end.mac, mtu: pod.mtu }, seen.now))
}

/// What stands for the end of a veth in a namespace that is not in sight: what is left of such a pod is in the node.
fn gone(pod: &MarkedSharedPod, nic: &NicRecord) -> Option<MarkedVethEnd> {
    Some(MarkedVethEnd {
        mark: pod.mark.clone(),
        mac: nic.mac,
        ifname: IfName::new("gone").ok()?,
        netns: NetnsPath::new("/gone").ok()?,
        sandbox: Sandbox { device: 0, inode: 0 },
    })
}

/// What pods hold that no lease names: of those that are not in sight that is all that can be known. `None` in the place of a
/// pod whose subnet cannot be told.
pub(super) fn held(kernel: &KernelView, state: &State) -> Vec<Option<(AttachmentMark, ClaimedAddress)>> {
    let nics: Vec<&NicRecord> = state.nics.values().collect();
    let unknown = kernel.shared_pods.iter().filter(|pod| !state.leases.contains_key(&pod.mark));
    let held = unknown.map(|pod| {
        let nic = nic_of(&nics, pod)?;
        let address: IpAddr = pod.address;
        let claimed = ClaimedAddress {
            address: IpNet::new(address, nic.subnet.prefix.prefix_len()).ok()?,
            subnet: nic.subnet.id.clone(),
            gateway: nic.subnet.gateway,
        };
        Some((pod.mark.clone(), claimed))
    });
    held.collect()
}
