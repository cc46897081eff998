//! CNI's result: the interfaces, addresses and routes of a container.
//!
//! One model, that of the newest version. Older forms are read into it and written from it, so that what the plugins
//! before this one have answered goes on whole.

mod forms;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostnic_core::attachment::{IfName, NetnsPath};
use hostnic_core::route::Route;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::contract::{Interface, PreviousInterface};

/// A result, of this plugin or of a whole chain.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CniResult {
    /// The interfaces, in the container and on the host.
    pub interfaces: Vec<InterfaceEntry>,
    /// The addresses.
    pub ips: Vec<IpEntry>,
    /// The routes.
    pub routes: Vec<RouteEntry>,
    /// Name service, of which this plugin knows nothing; kept as it came.
    pub dns: Map<String, Value>,
}

/// An interface of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InterfaceEntry {
    /// Its name.
    pub name: String,
    /// Its link address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU in bytes (since 1.1.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The path of the namespace it is in; empty for one on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The socket of one that is no kernel interface (since 1.1.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// Its PCI device (since 1.1.0).
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// An address of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpEntry {
    /// `4` or `6`; only 0.3.0 to 0.4.0 have it, and it says nothing that the address does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The interface that has it, as an index into the result's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<i64>,
    /// The address with its prefix length.
    pub address: IpNet,
    /// The default gateway in its subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A route of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// Where to.
    pub dst: IpNet,
    /// By whom; `None` leaves it to the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// The largest packet (since 1.1.0, as are all below).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The largest TCP segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The metric; lower wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// The routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<i64>,
    /// The kernel's number of the scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<i64>,
}

impl RouteEntry {
    fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// The destination of a default route.
fn everywhere(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

impl CniResult {
    /// Adds what the daemon made; all that is there already stays.
    pub fn push(&mut self, ifname: &IfName, netns: &NetnsPath, made: &Interface) {
        // No list is longer than a machine word counts, and far shorter than 2^63.
        let index = i64::try_from(self.interfaces.len()).unwrap_or(i64::MAX);
        self.interfaces.push(InterfaceEntry {
            name: ifname.to_string(),
            mac: made.mac.to_string(),
            mtu: Some(made.mtu),
            sandbox: netns.to_string(),
            ..InterfaceEntry::default()
        });
        self.ips.push(IpEntry {
            version: None,
            interface: Some(index),
            address: made.address,
            gateway: Some(made.gateway),
        });
        let default = everywhere(made.gateway);
        if made.routes.iter().all(|route| route.destination != default) {
            self.routes.push(RouteEntry::new(default, Some(made.gateway)));
        }
        let entry = |route: &Route| RouteEntry::new(route.destination, route.next_hop);
        self.routes.extend(made.routes.iter().map(entry));
    }

    /// The interface of that name in that namespace, with its addresses; `None` where the result has none.
    pub fn interface(&self, ifname: &IfName, netns: &NetnsPath) -> Option<PreviousInterface> {
        let sandbox = netns.to_string();
        let ours = |entry: &InterfaceEntry| entry.name == ifname.as_str() && entry.sandbox == sandbox;
        let index = self.interfaces.iter().position(ours)?;
        let entry = self.interfaces.get(index)?;
        let has = |ip: &&IpEntry| ip.interface.and_then(|i| usize::try_from(i).ok()) == Some(index);
        Some(PreviousInterface {
            mac: entry.mac.parse().ok(),
            mtu: entry.mtu,
            addresses: self.ips.iter().filter(has).map(|ip| ip.address).collect(),
        })
    }
}
