//! What happened, for people and for programs.

use serde::Serialize;

/// What the demo did and found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The pods and what they had.
    pub pods: Vec<Pod>,
    /// Every ordered pair of pods.
    pub pings: Vec<Ping>,
    /// Calls to the cloud, by operation.
    pub cloud_calls: Vec<(String, u64)>,
    /// Frames that the fabric's ports dropped because they broke a rule: NIC, reason and number.
    pub police_drops: Vec<String>,
    /// What was there after the clean-up and not before: NICs, links, addresses, routes, rules and leases.
    pub leftovers: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u128,
}

/// A pod and what it had.
#[derive(Debug, Clone, Serialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its NIC's link address, which is the NIC's id.
    pub mac: String,
    /// Its address.
    pub address: std::net::Ipv4Addr,
    /// Its subnet.
    pub subnet: String,
    /// How long the plugin's process took for its ADD, in milliseconds.
    pub add_ms: f64,
}

/// One ping.
#[derive(Debug, Clone, Serialize)]
pub struct Ping {
    /// From which pod.
    pub from: String,
    /// To which pod.
    pub to: String,
    /// Whether both are on one node.
    pub same_node: bool,
    /// Whether both are in one subnet.
    pub same_subnet: bool,
    /// The time of the reply in milliseconds; `None` when none came.
    pub ms: Option<f64>,
}

impl Report {
    /// Whether all went well.
    pub fn is_good(&self) -> bool {
        self.police_drops.is_empty()
            && self.leftovers.is_empty()
            && self.pings.iter().all(|ping| ping.ms.is_some())
    }
}
