//! The pool and the gateways in JSON.

use hostnic_cni::contract::v1;
use serde::Serialize;

/// The settings of the pool and what it has.
#[derive(Debug, Serialize)]
pub(crate) struct Pool {
    pub(crate) policy: String,
    pub(crate) low: u32,
    pub(crate) high: u32,
    pub(crate) max_nics: u32,
    pub(crate) subnets: Vec<Subnet>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Subnet {
    pub(crate) subnet: String,
    pub(crate) nics: Nics,
    pub(crate) addresses: Addresses,
    /// How many more NICs it takes, of all nodes; `null` where the cloud does not tell.
    pub(crate) room: Option<u32>,
}

/// NICs by state.
#[derive(Debug, Serialize)]
pub(crate) struct Nics {
    pub(crate) attaching: u32,
    pub(crate) ready: u32,
    pub(crate) detaching: u32,
    pub(crate) deleting: u32,
    pub(crate) lost: u32,
    pub(crate) quarantined: u32,
}

/// Addresses by state.
#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) coming: u32,
    pub(crate) free: u32,
    pub(crate) leased: u32,
    pub(crate) cooling: u32,
}

impl Pool {
    pub(crate) fn new(settings: v1::PoolSettings, subnets: Vec<v1::SubnetState>) -> Self {
        Self {
            policy: settings.policy,
            low: settings.low,
            high: settings.high,
            max_nics: settings.max_nics,
            subnets: subnets.into_iter().map(Subnet::from).collect(),
        }
    }
}

impl From<v1::SubnetState> for Subnet {
    fn from(state: v1::SubnetState) -> Self {
        let (nics, addresses) = (state.nics.unwrap_or_default(), state.addresses.unwrap_or_default());
        Self {
            subnet: state.subnet,
            nics: Nics {
                attaching: nics.attaching,
                ready: nics.ready,
                detaching: nics.detaching,
                deleting: nics.deleting,
                lost: nics.lost,
                quarantined: nics.quarantined,
            },
            addresses: Addresses {
                coming: addresses.coming,
                free: addresses.free,
                leased: addresses.leased,
                cooling: addresses.cooling,
            },
            room: state.room,
        }
    }
}

/// A NIC of the node's own that routes of pods go by.
#[derive(Debug, Serialize)]
pub(crate) struct Gateway {
    pub(crate) subnet: String,
    pub(crate) address: Option<String>,
    pub(crate) mac: String,
    /// `hostnic` or `operator`.
    pub(crate) owner: &'static str,
    /// The cloud's id of ours.
    pub(crate) nic: Option<String>,
    /// The name of the link of ours.
    pub(crate) link: Option<String>,
    pub(crate) state: &'static str,
    /// What went wrong last on its way.
    pub(crate) trouble: Option<String>,
}

impl From<v1::GatewayState> for Gateway {
    fn from(gateway: v1::GatewayState) -> Self {
        let state = match gateway.progress() {
            v1::GatewayProgress::Unspecified => "unknown",
            v1::GatewayProgress::Ready => "ready",
            v1::GatewayProgress::Coming => "coming",
            v1::GatewayProgress::Leaving => "leaving",
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            subnet: gateway.subnet,
            address: some(gateway.address),
            mac: gateway.mac,
            owner: if gateway.operators { "operator" } else { "hostnic" },
            nic: some(gateway.nic),
            link: some(gateway.link),
            state,
            trouble: some(gateway.trouble),
        }
    }
}
