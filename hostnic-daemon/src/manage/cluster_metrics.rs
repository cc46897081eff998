//! The metrics of hostnic-cni 1.x, with its names, types and labels, so that its dashboards and alert rules go on.

use std::collections::BTreeSet;
use std::fmt;

use hostnic_core::agent::{SharedNicPhase, SharedNicStatus};
use hostnic_core::ledger::{NicRecord, NicState};
use hostnic_kube::ipam::{AddressUsage, Usage};
use prometheus_client::encoding::DescriptorEncoder;

use super::metrics::gauge;
use crate::facts::Facts;
use crate::observe::{AddressBook, Operation};

/// What stands in the place of a namespace for blocks that no namespace has.
const UNMAPPED: &str = "Dummy-ns-for-unmapped-subnets";

/// A gauge's name, what it says, and how that is found.
type Gauge = (&'static str, &'static str, fn(&Usage) -> u32);

/// Which addresses, by the names and labels of the Go version.
#[derive(Debug, Clone, Copy)]
enum Part {
    Vxnet,
    Subnet,
    Namespace,
}

impl Part {
    const ALL: [Self; 3] = [Self::Vxnet, Self::Subnet, Self::Namespace];

    fn label(self) -> &'static str {
        match self {
            Self::Vxnet => "vxnet_name",
            Self::Subnet => "subnet_name",
            Self::Namespace => "ns_name",
        }
    }

    /// Reserved addresses are no pod's ever, and in none of them.
    fn gauges(self) -> [Gauge; 3] {
        let names = match self {
            Self::Vxnet => {
                ["hostnic_ipam_vxnet_allocator", "hostnic_ipam_vxnet_unallocator", "hostnic_ipam_vxnet_total"]
            }
            Self::Subnet => [
                "hostnic_ipam_subnet_allocator",
                "hostnic_ipam_subnet_unallocator",
                "hostnic_ipam_subnet_total",
            ],
            Self::Namespace => [
                "hostnic_ipam_namespace_allocator",
                "hostnic_ipam_namespace_unallocator",
                "hostnic_ipam_namespace_total",
            ],
        };
        let [allocated, free, total] = names;
        [
            (allocated, "Addresses that pods have, or a node has in stock", |usage| usage.allocated),
            (free, "Addresses that nobody has", |usage| usage.free),
            (total, "Addresses that pods can have", |usage| usage.allocated + usage.free),
        ]
    }

    fn of(self, usage: &AddressUsage) -> Vec<(&str, &Usage)> {
        match self {
            Self::Vxnet => usage.vxnets.iter().map(|(name, usage)| (name.as_str(), usage)).collect(),
            Self::Subnet => usage.blocks.iter().map(|(name, usage)| (name.as_str(), usage)).collect(),
            Self::Namespace => {
                let named = |(name, usage)| (Option::as_deref(name).unwrap_or(UNMAPPED), usage);
                usage.namespaces.iter().map(named).collect()
            }
        }
    }
}

/// All of them.
pub(super) fn encode(facts: &Facts, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    nics(facts, encoder)?;
    pods(facts, encoder)?;
    match &facts.addresses {
        Some(book) => {
            failures(facts, &**book, encoder)?;
            book.usage().map_or(Ok(()), |usage| addresses(facts, &usage, encoder))
        }
        None => Ok(()),
    }
}

fn nics(facts: &Facts, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    // Each once: two of one vxnet that are being created have no link address yet to tell them apart.
    let mut known = BTreeSet::new();
    for nic in facts.agent.shared_nics() {
        let Some(phase) = phase_of_shared(&nic) else { continue };
        let mac = nic.nic.map(|(_, mac)| mac.to_string()).unwrap_or_default();
        known.insert((nic.subnet.to_string(), phase, mac));
    }
    for nic in facts.agent.nics().iter().filter(|nic| !nic.role.is_shared()) {
        let Some(phase) = phase_of_pods(nic) else { continue };
        known.insert((nic.subnet.id.to_string(), phase, nic.mac.to_string()));
    }
    let mut nics = gauge(encoder, "hostnic_vxnet_count", "One for each NIC, by how far it is")?;
    for (vxnet, phase, mac) in &known {
        let labels = [
            ("node_name", facts.observer.node()),
            ("vxnet_name", vxnet.as_str()),
            ("phase", *phase),
            ("mac", mac.as_str()),
        ];
        nics.encode_family(&labels)?.encode_gauge(&1_u32)?;
    }
    Ok(())
}

/// The Go version's word for the step that a NIC is at; it had none for what leaves, and its bridges are no more.
fn phase_of_shared(nic: &SharedNicStatus) -> Option<&'static str> {
    match nic.phase {
        SharedNicPhase::Creating => Some("Init"),
        SharedNicPhase::Attaching => Some("CreateAndAttach"),
        SharedNicPhase::SettingUp => Some("SetRouteTable"),
        SharedNicPhase::Ready => Some("Succeeded"),
        SharedNicPhase::Leaving | SharedNicPhase::Astray => None,
    }
}

fn phase_of_pods(nic: &NicRecord) -> Option<&'static str> {
    match nic.state {
        NicState::Attaching { .. } => Some("CreateAndAttach"),
        NicState::Ready => Some("Succeeded"),
        _ => None,
    }
}

fn pods(facts: &Facts, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut pods = gauge(encoder, "hostnic_vxnet_pod_count", "One for each pod")?;
    for lease in facts.agent.leases() {
        let (pod, key) = (lease.pod.as_ref(), lease.key.as_ref());
        let address = lease.lease.address.addr().to_string();
        let labels = [
            ("node_name", facts.observer.node()),
            ("vxnet_name", lease.lease.subnet.as_str()),
            ("pod_namespace", pod.map_or("", |pod| &pod.namespace)),
            ("pod_name", pod.map_or("", |pod| &pod.name)),
            ("pod_containerid", key.map_or(lease.mark.as_str(), |key| key.container.as_str())),
            ("ip", address.as_str()),
        ];
        pods.encode_family(&labels)?.encode_gauge(&1_u32)?;
    }
    Ok(())
}

fn addresses(facts: &Facts, usage: &AddressUsage, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for part in Part::ALL {
        for (name, help, of) in part.gauges() {
            let mut numbers = gauge(encoder, name, help)?;
            for (whose, usage) in part.of(usage) {
                let labels = [(part.label(), whose), ("node_name", facts.observer.node())];
                numbers.encode_family(&labels)?.encode_gauge(&of(usage))?;
            }
        }
    }
    Ok(())
}

/// They only grow, and are gauges all the same: the Go version's were.
fn failures(facts: &Facts, book: &dyn AddressBook, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let addresses = book.failures();
    let failed = [
        (
            "hostnic_ipam_alloc_from_block_failed",
            "Tries to have an address of a namespace's own blocks that failed",
            addresses.from_blocks,
        ),
        (
            "hostnic_ipam_alloc_from_pool_failed",
            "Tries to have an address of the vxnets of Default that failed",
            addresses.from_pools,
        ),
        (
            "hostnic_ipam_alloc_resource_notfound",
            "Tries to have an address for a namespace that has neither blocks nor Default",
            addresses.from_nowhere,
        ),
        (
            "hostnic_ipam_alloc_from_host_failed",
            "ADDs that had an address and failed on the node",
            facts.agent.counts().claimed_in_vain,
        ),
        (
            "hostnic_ipam_free_from_pool_failed",
            "Tries to give an address back that failed",
            facts.agent.releases().failures,
        ),
        (
            "hostnic_ipam_free_from_host_failed",
            "DELs that failed on the node",
            facts.observer.operations().failed(Operation::Del),
        ),
    ];
    for (name, help, count) in failed {
        let labels = [("node_name", facts.observer.node())];
        gauge(encoder, name, help)?.encode_family(&labels)?.encode_gauge(&count)?;
    }
    Ok(())
}
