//! The agent's settings.

use std::time::Duration;

use crate::gateway::GatewayConfig;
use crate::pool::PoolConfig;
use crate::route::Datapath;

use super::veth::VethConfig;

/// The settings of an [`Agent`](super::Agent).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// The pool's.
    pub pool: PoolConfig,
    /// How pods are joined to their NICs that ask for neither way. Default passthrough.
    pub datapath: Datapath,
    /// What pods behind veths have in common, those that share NICs included. Default `None`: there are none, and whoever asks
    /// to be one is refused.
    pub veth: Option<VethConfig>,
    /// Whether, and how, the node keeps NICs in the subnets of its pods for them to send by. Default `None`: a request
    /// that asks for such a NIC is refused.
    pub gateways: Option<GatewayConfig>,
    /// How long one operation on the kernel may take. Default 10 s.
    pub kernel_deadline: Duration,
    /// How long whoever gives addresses to pods that share NICs may take, for all but the wait for a free one. Default 30 s.
    pub source_deadline: Duration,
    /// How long an ADD waits, beside what the kernel takes, for whoever enforces policies to be told the pod's address. Default 5 s.
    pub policy_deadline: Duration,
    /// Whether an ADD succeeds all the same where that was in vain, and it is told later. Default no: it fails, and is tried again.
    pub policy_fail_open: bool,
    /// The time between two comparisons with the kernel. Default 60 s.
    pub node_sync: Duration,
    /// The time between two comparisons with the cloud while nothing differs, up to a tenth more. Default 30 min: the
    /// account's calls are for all nodes.
    pub cloud_sync: Duration,
    /// How long a comparison waits for the cloud to describe this node. Default 5 s.
    pub survey_patience: Duration,
    /// How long a NIC that nobody knows must have been seen before it is deleted. Default 60 s.
    pub grace: Duration,
}

impl AgentConfig {
    /// The defaults around this pool.
    pub fn new(pool: PoolConfig) -> Self {
        Self {
            pool,
            datapath: Datapath::Passthrough,
            veth: None,
            gateways: None,
            kernel_deadline: Duration::from_secs(10),
            source_deadline: Duration::from_secs(30),
            policy_deadline: Duration::from_secs(5),
            policy_fail_open: false,
            node_sync: Duration::from_secs(60),
            cloud_sync: Duration::from_secs(30 * 60),
            survey_patience: Duration::from_secs(5),
            grace: Duration::from_secs(60),
        }
    }
}
