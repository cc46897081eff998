//! NICs that stay in the node's own namespace and that many pods, each behind a veth, share.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::attachment::{AttachmentMark, IfName};
use crate::id::{InvalidValue, MacAddr, SubnetId};

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
    /// The address in the subnet that the node asks by ARP from: that of one of the pods, or one that nobody else has.
    /// Clouds drop questions in the name of an address that is not the NIC's, and who hears one remembers that the NIC has
    /// the address. Nothing else is sent from it, and the node itself is not heard at it. `None` where no pod is there:
    /// then nothing is to be asked for.
    pub sender: Option<IpAddr>,
    /// The name of the NIC's link.
    pub ifname: IfName,
    /// The table of what pods send by the NIC. No pod and no other NIC of the node has it.
    pub table: NicTable,
    /// What is in that table.
    pub routes: SharedRoutes,
}

impl SharedNicPlan {
    const PREFIX: &str = "hostnic_";
    /// How many characters of a subnet's hash are in a name that cannot be the subnet's own.
    const HASHED: usize = 6;

    /// The name of the link of the NIC that pods share in a subnet: `hostnic_` and what comes after the first `-` of the
    /// subnet's id, as in the Go versions. Where that is too long, or the name of a NIC with a routing table of one pod, it
    /// is a hash of the id instead. Always the same for a subnet.
    ///
    /// # Errors
    /// [`InvalidValue`] never, as far as is known: a hash always fits.
    pub fn link_of(subnet: &SubnetId) -> Result<IfName, InvalidValue> {
        let id = subnet.as_str();
        let own = id.split_once('-').map_or(id, |(_, own)| own);
        let name = format!("{}{own}", Self::PREFIX);
        if !own.is_empty() && NicTable::of_link(&name).is_none() && IfName::new(&name).is_ok() {
            return IfName::new(name);
        }
        let hash = data_encoding::HEXLOWER.encode(&Sha1::digest(id.as_bytes()));
        // The letter is no digit of a hash, nor of a table.
        IfName::new(format!("{}s{}", Self::PREFIX, hash.get(..Self::HASHED).unwrap_or(&hash)))
    }

    /// Whether a link of the node has a name of ours: that of a NIC that pods behind veths send by, one pod or many. No
    /// address of such a link is the node's own.
    pub fn is_link_of_ours(name: &str) -> bool {
        name.starts_with(Self::PREFIX)
    }
}

/// By which routes pods leave that share a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedRoutes {
    /// Ours, in the NIC's table. What is in it of ours besides is taken away.
    Ours {
        /// The VPC router's address in the subnet, which the default route goes by.
        gateway: IpAddr,
        /// Routes beside that one and that to the subnet.
        others: Vec<Route>,
    },
    /// Those of a VLAN, as in the Go versions: none of ours in the NIC's table, which is left to the node's operator. What
    /// has no route there goes to the subnet by the NIC, whatever the node's own routes say, and everywhere else as what
    /// the node itself sends.
    ///
    /// On such a NIC the node has an address of its own, by DHCP: asked for and kept from the moment that the NIC is set up
    /// until it is torn down. No pod depends on it. Setting up does not wait for it, and fails for no want of it; nothing
    /// else that a DHCP server says is followed, routers and routes least of all.
    Vlan,
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
    /// The sender of what is asked by ARP: addresses of the NIC that are not the node's own.
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
    fn the_link_is_named_after_the_subnet_where_that_can_be() {
        let name = |id: &str| SharedNicPlan::link_of(&id.parse().unwrap()).unwrap().to_string();
        assert_eq!(name("vxnet-a1b2c3d"), "hostnic_a1b2c3d");
        assert_eq!(name("vxnet-a-b"), "hostnic_a-b");
        assert_eq!(name("plain"), "hostnic_plain");
        let hashed =
            ["vxnet-toolong1", "vxnet-260", "vxnet-", "vxnet-a:b", "subnet-0123456789abcdef"].map(name);
        for (n, name) in hashed.iter().enumerate() {
            assert!(name.starts_with("hostnic_s") && name.len() == 15, "{name}");
            assert_eq!(NicTable::of_link(name), None);
            assert!(SharedNicPlan::is_link_of_ours(name) && !hashed[..n].contains(name), "{name}");
        }
        assert!(!SharedNicPlan::is_link_of_ours("hostnic0") && !SharedNicPlan::is_link_of_ours("eth0"));
    }

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
