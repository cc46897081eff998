//! NICs that stay in the node's own namespace and that many pods, each behind a veth, share.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentMark, IfName};
use crate::id::MacAddr;

use super::{MarkedVethEnd, NicTable, PodsTable, Route};

/// A NIC that pods share: one for all pods of a subnet on a node.
///
/// The node is to be set up for pods behind veths ([`NodePlan::Veth`](super::NodePlan::Veth)) without hairpin: pods that
/// share a NIC reach each other in the node, as no cloud brings a packet back to the NIC that sent it. Beside them the node
/// may have pods with NICs of their own, also in the same subnet, behind veths or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedNicPlan {
    /// The NIC.
    pub mac: MacAddr,
    /// The addresses of the subnet. What pods send from them leaves by the NIC, but for pods that have a NIC of their own.
    pub subnet: IpNet,
    /// The address in the subnet that the node asks by ARP from, which no pod and no other node has: clouds drop
    /// questions in the name of an address that is not the NIC's. Nothing else is sent from it, and nobody is heard at it.
    pub sender: IpAddr,
    /// The name of the NIC's link.
    pub ifname: IfName,
    /// The table of what pods send by the NIC. No pod and no other NIC of the node has it.
    pub table: NicTable,
    /// What is in that table.
    pub routes: SharedRoutes,
}

/// Who fills the table of a NIC that pods share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedRoutes {
    /// We do. What is in the table of ours besides is taken away.
    Ours {
        /// The VPC router's address in the subnet, which the default route goes by.
        gateway: IpAddr,
        /// Routes beside that one and that to the subnet.
        others: Vec<Route>,
    },
    /// The node's operator does, as in VLANs. The table is not touched.
    Operators,
}

/// What a pod behind a veth needs that shares a NIC, beside what every pod needs.
///
/// The pod's plan names the NIC by its MAC address, and it has to be set up for sharing. The plan's routes are to be
/// empty: those of the NIC are in its own plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPlan {
    /// The NIC's table.
    pub table: NicTable,
    /// The table of the routes to pods: the node's.
    pub pods: PodsTable,
    /// The name of the veth's end in the node.
    pub host_ifname: IfName,
    /// The node's address: the source of what the node itself sends to the pod.
    pub source: IpAddr,
    /// Where the pod's plan names no MTU: the highest that its interface gets, though its NIC may take more. `None` for
    /// the NIC's own.
    pub mtu_at_most: Option<u32>,
}

/// A link of the node that is marked as a NIC that pods share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedSharedNic {
    /// Its link address.
    pub mac: MacAddr,
    /// Its name at this moment.
    pub name: String,
    /// Its table, as is written on it.
    pub table: NicTable,
    /// The subnet, by the rule that leads from there to that table.
    pub subnet: Option<IpNet>,
    /// The addresses of the NIC, none of which is the node's own: the sender of what is asked by ARP.
    pub senders: Vec<IpAddr>,
    /// The addresses that it answers ARP for on behalf of pods.
    pub answers_for: Vec<IpAddr>,
}

/// What a node has of a pod that shares a NIC, found by the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedSharedPod {
    /// The mark.
    pub mark: AttachmentMark,
    /// The pod's address, as is written on the veth's end in the node.
    pub address: IpAddr,
    /// The NIC that answers for it; `None` where none does.
    pub nic: Option<MacAddr>,
    /// The name of the veth's end in the node.
    pub host_ifname: IfName,
    /// The MTU of the veth.
    pub mtu: u32,
    /// The veth's end in the pod, where its namespace was found.
    pub pod: Option<MarkedVethEnd>,
    /// Whether it was [silenced](super::RouteProgrammer::silence_pod): its DEL was answered.
    pub silenced: bool,
}

#[cfg(test)]
mod tests {
    use crate::route::PodDatapath;

    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let datapath = PodDatapath::Shared(SharedPlan {
            table: NicTable::FIRST,
            pods: PodsTable::OWN,
            host_ifname: IfName::new("vnic0123456789a").unwrap(),
            source: "10.0.0.10".parse().unwrap(),
            mtu_at_most: Some(1400),
        });
        let written = concat!(
            r#"{"Shared":{"table":260,"pods":10000000,"host_ifname":"vnic0123456789a","#,
            r#""source":"10.0.0.10","mtu_at_most":1400}}"#
        );
        assert_eq!(serde_json::to_string(&datapath).unwrap(), written);
        assert_eq!(serde_json::from_str::<PodDatapath>(written).unwrap(), datapath);
    }
}
