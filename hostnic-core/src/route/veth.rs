//! Pods behind a veth whose NIC stays in the node's own namespace.

use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachment::{AttachmentMark, IfName, NetnsPath, Sandbox};
use crate::id::{InvalidValue, MacAddr};

use super::Route;

/// The routing tables that the kernel has by itself: default, main and local.
const KERNEL_TABLES: std::ops::RangeInclusive<u32> = 253..=255;
const MAIN_TABLE: u32 = 254;

/// The routing table of one pod's NIC; the NIC's link is named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct NicTable(u32);

impl NicTable {
    /// The lowest unless told otherwise, as in the Go versions.
    pub const FIRST: Self = Self(260);
    /// The highest: its number still fits the name of a link.
    pub const MAX: u32 = 9_999_999;
    const PREFIX: &'static str = "hostnic_";

    /// Checks and takes a number.
    ///
    /// # Errors
    /// [`InvalidValue`] for 0, for the tables that the kernel has by itself, and above [`NicTable::MAX`].
    pub fn new(number: u32) -> Result<Self, InvalidValue> {
        if (1..=Self::MAX).contains(&number) && !KERNEL_TABLES.contains(&number) {
            return Ok(Self(number));
        }
        let rule = "1 to 9999999, but for 253 to 255, which are the kernel's";
        Err(InvalidValue::new("routing table of a NIC", number.to_string(), rule))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The name of the NIC's link: `hostnic_260`.
    pub fn link(self) -> String {
        format!("{}{}", Self::PREFIX, self.0)
    }

    /// The table that a link is named after; `None` for any other name.
    pub fn of_link(name: &str) -> Option<Self> {
        let table = Self::new(name.strip_prefix(Self::PREFIX)?.parse().ok()?).ok()?;
        (table.link() == name).then_some(table)
    }
}

impl TryFrom<u32> for NicTable {
    type Error = InvalidValue;
    fn try_from(number: u32) -> Result<Self, InvalidValue> {
        Self::new(number)
    }
}

impl From<NicTable> for u32 {
    fn from(table: NicTable) -> u32 {
        table.0
    }
}

/// The routing table that has a node's routes to its pods. It may be the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PodsTable(u32);

impl PodsTable {
    /// One that is no NIC's, whatever their first is.
    pub const OWN: Self = Self(NicTable::MAX + 1);
    /// Numbers that the pods cannot have, as others' routes are there: those to veths for services, and those to VLANs.
    pub const TAKEN: [u32; 2] = [NicTable::MAX + 2, NicTable::MAX + 3];

    /// Checks and takes a number.
    ///
    /// # Errors
    /// [`InvalidValue`] for 0, 253 and 255, for those that are [`TAKEN`](PodsTable::TAKEN), and for the highest number, which
    /// stands for none.
    pub fn new(number: u32) -> Result<Self, InvalidValue> {
        let kernels = KERNEL_TABLES.contains(&number) && number != MAIN_TABLE;
        if number != 0 && number != u32::MAX && !kernels && !Self::TAKEN.contains(&number) {
            return Ok(Self(number));
        }
        let rule = "1 to 4294967294, but for 253 and 255, which are the kernel's, and for 10000001 and 10000002, which \
                    hostnic has for services and for VLANs";
        Err(InvalidValue::new("routing table of the pods", number.to_string(), rule))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for PodsTable {
    type Error = InvalidValue;
    fn try_from(number: u32) -> Result<Self, InvalidValue> {
        Self::new(number)
    }
}

impl From<PodsTable> for u32 {
    fn from(table: PodsTable) -> u32 {
        table.0
    }
}

/// The bits of a packet's mark by which flows to the node's own addresses and to services are known, so that they go by
/// the node's own routes. They are set beside what others have in the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NatMark(NonZeroU32);

impl NatMark {
    /// 0x10000, as in the Go versions.
    pub const USUAL: Self = Self(NonZeroU32::MIN.saturating_add(0xffff));

    /// Takes the bits; `None` for no bits at all.
    pub fn new(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0.get()
    }
}

/// Whether what pods of one node send to each other leaves the node by their NICs and comes back, so that the cloud sees
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Hairpin {
    /// It stays in the node.
    #[default]
    Off,
    /// It goes round.
    On,
}

/// What a node needs once for pods behind veths.
///
/// To switch hairpin on while pods run, set the pods up with their new plans first and the node then; to switch it off,
/// the node first. So each packet finds its way all the while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethNode {
    /// Whether pods of the node reach each other by their NICs.
    pub hairpin: Hairpin,
    /// The table of the routes to pods.
    pub pods: PodsTable,
    /// The mark of flows that go by the node's own routes.
    pub nat_mark: NatMark,
    /// The addresses of services.
    pub services: Vec<IpNet>,
    /// The node's own addresses, to which others send for its node ports.
    pub addresses: Vec<IpAddr>,
}

/// What a pod behind a veth needs beside what every pod needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VethPlan {
    /// The table of what the pod sends. No other pod of the node has it.
    pub table: NicTable,
    /// The table of the routes to pods: the node's.
    pub pods: PodsTable,
    /// The name of the veth's end in the node.
    pub host_ifname: IfName,
    /// The node's address: the source of what the node itself sends to the pod.
    pub source: IpAddr,
    /// As for the node.
    pub hairpin: Hairpin,
    /// Where the pod's plan names no MTU: the highest that its interface gets, though its NIC may take more. `None` for
    /// the NIC's own.
    pub mtu_at_most: Option<u32>,
}

/// What a pod that its NIC is moved into needs besides, where its node serves services: a veth that leads to nothing else.
///
/// It is for nodes that were set up for pods behind veths. What comes by it leaves the node in the node's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceVeth {
    /// The name of the veth's end in the node.
    pub host_ifname: IfName,
    /// The addresses of services: all that the pod sends by the veth. The node's plan has them, too.
    pub services: Vec<IpNet>,
}

impl ServiceVeth {
    /// The name of the veth's end in the pod, as in the Go versions.
    pub const POD_IFNAME: &str = "veth1";
}

/// What a node has of a pod behind a veth, found by the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedVeth {
    /// The mark.
    pub mark: AttachmentMark,
    /// The NIC that carries it; `None` where the NIC is gone, or was never set up.
    pub nic: Option<MacAddr>,
    /// The table that the NIC's link is named after.
    pub table: Option<NicTable>,
    /// The addresses of the NIC: the pod's.
    pub addresses: Vec<IpAddr>,
    /// The subnet, by the route to it in that table.
    pub subnet: Option<IpNet>,
    /// Whom the default route of that table goes to.
    pub gateway: Option<IpAddr>,
    /// The other routes of that table.
    pub routes: Vec<Route>,
    /// The name of the veth's end in the node. `None` when it is gone, as it is when the pod's namespace has ended.
    pub host_ifname: Option<IfName>,
    /// The MTU of the veth, where that end is there.
    pub mtu: Option<u32>,
    /// The veth's end in the pod, where its namespace was found.
    pub pod: Option<MarkedVethEnd>,
    /// Whether it was [silenced](super::RouteProgrammer::silence_pod): its DEL was answered.
    pub silenced: bool,
}

/// The end of a veth in a pod's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedVethEnd {
    /// The mark on it.
    pub mark: AttachmentMark,
    /// Its link address.
    pub mac: MacAddr,
    /// Its name there.
    pub ifname: IfName,
    /// The namespace's path.
    pub netns: NetnsPath,
    /// The namespace.
    pub sandbox: Sandbox,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_tables_are_no_table_of_a_nic_and_only_the_main_one_is_the_pods() {
        for (number, nic, pods) in [
            (0, false, false),
            (1, true, true),
            (252, true, true),
            (253, false, false),
            (254, false, true),
            (255, false, false),
            (256, true, true),
            (9_999_999, true, true),
            (10_000_000, false, true),
            (10_000_001, false, false),
            (10_000_002, false, false),
            (10_000_003, false, true),
            (u32::MAX, false, false),
        ] {
            assert_eq!(NicTable::new(number).is_ok(), nic, "{number}");
            assert_eq!(PodsTable::new(number).is_ok(), pods, "{number}");
        }
    }

    #[test]
    fn datapaths_are_written_as_they_were_when_there_was_only_one() {
        use crate::route::PodDatapath;
        let services = ServiceVeth {
            host_ifname: IfName::new("vnic0123456789a").unwrap(),
            services: vec!["10.96.0.0/16".parse().unwrap()],
        };
        for (datapath, written) in [
            (PodDatapath::Passthrough, r#""Passthrough""#),
            (
                PodDatapath::PassthroughWithServices(services),
                r#"{"PassthroughWithServices":{"host_ifname":"vnic0123456789a","services":["10.96.0.0/16"]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&datapath).unwrap(), written);
            assert_eq!(serde_json::from_str::<PodDatapath>(written).unwrap(), datapath);
        }
    }

    #[test]
    fn a_nics_link_is_named_after_its_table_and_no_other_link_is() {
        let table = NicTable::new(NicTable::MAX).unwrap();
        assert!(IfName::new(table.link()).is_ok());
        assert_eq!(NicTable::of_link(&table.link()), Some(table));
        for name in
            ["hostnic_", "hostnic_0260", "hostnic_+260", "hostnic_254", "hostnic_x", "hostnic0", "eth260"]
        {
            assert_eq!(NicTable::of_link(name), None, "{name}");
        }
    }
}
