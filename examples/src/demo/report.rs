//! What happened, for people and for programs.

use serde::Serialize;

/// What the demo did and found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The pods and what they had.
    pub pods: Vec<Pod>,
    /// Every ordered pair of pods.
    pub pings: Vec<Ping>,
    /// Calls to the cloud's API, by action.
    pub cloud_calls: Vec<Calls>,
    /// What each daemon told before it was stopped.
    pub last_words: Vec<LastWord>,
    /// Frames that the fabric's ports dropped because they broke a rule: NIC, reason and number.
    pub police_drops: Vec<String>,
    /// What was there after the clean-up and not before: NICs, links, addresses, routes, rules, leases, namespaces and
    /// processes.
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

/// How often an action of the cloud's API was called, by both nodes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// The action.
    pub action: String,
    /// While the daemons started and filled their pools.
    pub start: u64,
    /// While pods came, talked and went.
    pub pods: u64,
    /// While the NICs were given back.
    pub end: u64,
}

/// What a daemon listed before it was told to stop.
#[derive(Debug, Clone, Serialize)]
pub struct LastWord {
    /// Its node.
    pub node: String,
    /// How many NICs it had in its pool.
    pub nics: usize,
    /// How many leases there were.
    pub leases: usize,
}

impl Report {
    /// Whether all went well.
    pub fn is_good(&self) -> bool {
        self.police_drops.is_empty()
            && self.leftovers.is_empty()
            && self.last_words.iter().all(|word| word.leases == 0)
            && self.pings.iter().all(|ping| ping.ms.is_some())
    }
}
