//! How a node joins its pods to NICs that stay in it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachment::IfName;
use crate::id::text_type;
use crate::route::{Hairpin, NatMark, NicTable, PodDatapath, PodPlan, PodsTable, SharedPlan, VethPlan};

/// What all pods behind veths of one node have in common. Make one with [`VethConfig::new`] and change what is to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethConfig {
    /// The addresses of services, which pods reach by the node.
    pub services: Vec<IpNet>,
    /// Whether pods of the node reach each other by their NICs. Default off.
    pub hairpin: Hairpin,
    /// The lowest number that a NIC's routing table may have. Default 260.
    pub first_table: NicTable,
    /// The table of the routes to pods. Default [`PodsTable::OWN`].
    pub pods: PodsTable,
    /// The mark of flows that go by the node's own routes. Default 0x10000.
    pub nat_mark: NatMark,
    /// What the names of the veths' ends in the node begin with. Default `vnic`.
    pub prefix: VethPrefix,
    /// The MTU of pods' interfaces where the request names none. Default 1500, or the NIC's own where that is smaller.
    pub mtu: PodMtu,
    /// The node's primary link, whose address the node sends to pods from. Default `None`: the one of the default route.
    pub primary: Option<IfName>,
}

/// The MTU of pods' interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodMtu {
    /// That of the pod's NIC.
    Nics,
    /// This many bytes, or that of the pod's NIC where it is smaller.
    AtMost(u32),
    /// This many bytes.
    Exactly(u32),
}

/// What the plans of all pods behind veths of a node have in common, and what may change while they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VethCommon {
    /// The table of the routes to pods.
    pub pods: PodsTable,
    /// The node's address: the source of what the node itself sends to pods.
    pub source: IpAddr,
    /// Whether pods of the node reach each other by their NICs.
    pub hairpin: Hairpin,
}

text_type!(
    /// What the names of the veths' ends in the node begin with.
    VethPrefix, "prefix of veths' names", "1 to 4 bytes, not '.' or '..', without '/', ':' or white space",
    |s: &str| s.len() <= 4 && IfName::new(s).is_ok()
);

impl VethConfig {
    /// The defaults, for services with these addresses.
    pub fn new(services: Vec<IpNet>) -> Self {
        Self {
            services,
            hairpin: Hairpin::Off,
            first_table: NicTable::FIRST,
            pods: PodsTable::OWN,
            nat_mark: NatMark::USUAL,
            prefix: VethPrefix::usual(),
            mtu: PodMtu::default(),
            primary: None,
        }
    }
}

impl VethCommon {
    /// How a pod is joined, with this in common; `None` for one that its NIC is moved into.
    pub(super) fn of_pod(&self, plan: &PodPlan) -> Option<PodDatapath> {
        let Self { pods, source, hairpin } = *self;
        match &plan.datapath {
            PodDatapath::Veth(veth) => {
                Some(PodDatapath::Veth(VethPlan { pods, source, hairpin, ..veth.clone() }))
            }
            PodDatapath::Shared(shared) => {
                Some(PodDatapath::Shared(SharedPlan { pods, source, ..shared.clone() }))
            }
            PodDatapath::Passthrough | PodDatapath::PassthroughWithServices(_) => None,
        }
    }
}

impl VethPrefix {
    /// `vnic`, which Felix is told to look for.
    pub fn usual() -> Self {
        Self("vnic".to_owned())
    }
}

impl Default for PodMtu {
    fn default() -> Self {
        Self::AtMost(1500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_what_their_types_take() {
        let usual = VethConfig::new(Vec::new());
        assert_eq!(NicTable::new(usual.first_table.number()).unwrap(), usual.first_table);
        assert_eq!(PodsTable::new(usual.pods.number()).unwrap(), usual.pods);
        assert_eq!(VethPrefix::new("vnic").unwrap(), usual.prefix);
        for refused in ["", "vnics", "a/b", "."] {
            VethPrefix::new(refused).unwrap_err();
        }
    }
}
