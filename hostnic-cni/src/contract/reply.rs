//! What the daemon answers, in checked types.

use std::net::IpAddr;

use hostnic_core::id::MacAddr;
use hostnic_core::route::Route;
use ipnet::IpNet;

use crate::error::{CniError, Code};

use super::v1;

/// A pod's interface, as the daemon made it or has it on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its link address.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its address, with the prefix length that it has on the interface.
    pub address: IpNet,
    /// Where its default route goes.
    pub gateway: IpAddr,
    /// Its routes beside the default one, all next hops decided.
    pub routes: Vec<Route>,
}

/// What a GC did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freed {
    /// How many attachments were freed.
    pub freed: u32,
    /// One error per attachment that could not be freed. The others were.
    pub failures: Vec<CniError>,
}

/// What cleaning the pool came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// NICs that are gone from the cloud.
    pub given_back: u32,
    /// NICs that were to go and are not gone yet.
    pub left: u32,
    /// NICs of pods, which stay.
    pub held: u32,
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeStatus {
    /// Why an ADD would not be served now; `None` when it would.
    pub not_ready: Option<NotReady>,
    /// The node in few words, for people, as far as it is known.
    pub state: v1::NodeState,
}

/// Why an ADD would not be served now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// Whether containers that run may have lost their network too.
    pub running_affected: bool,
    /// What is missing, and what to do.
    pub reason: String,
}

impl NotReady {
    /// As STATUS prints it.
    pub fn to_error(&self) -> CniError {
        let code = if self.running_affected { Code::LimitedConnectivity } else { Code::NotAvailable };
        CniError::new(code, &self.reason)
    }
}
