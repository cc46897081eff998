//! Gateways: NICs that stay in the node's own namespace, with an address in a subnet, so that pods there have the node as
//! a next hop.
//!
//! A passthrough pod reaches the VPC without its node. What the node must see, such as the addresses of services, which
//! nobody in the VPC knows, the pod sends to the node's gateway in its own subnet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of a node's gateways it is. The number is in the alias, the name and the routing table of the gateway's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayNumber(pub u32);

impl GatewayNumber {
    const PREFIX: &'static str = "hostnic-gateway:";

    /// The alias of the link of that gateway.
    pub fn alias(self) -> String {
        format!("{}{}", Self::PREFIX, self.0)
    }

    /// The number in a link's alias; `None` where the alias is not one of ours.
    pub fn from_alias(alias: &str) -> Option<Self> {
        alias.strip_prefix(Self::PREFIX)?.parse().ok().map(Self)
    }
}

impl fmt::Display for GatewayNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
