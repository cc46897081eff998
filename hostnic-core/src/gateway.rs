//! Gateways: NICs that stay in the node's own namespace, with an address in a subnet, so that pods there have the node as
//! a next hop.
//!
//! A passthrough pod reaches the VPC without its node. What the node must see, such as the addresses of services, which
//! nobody in the VPC knows, the pod sends to the node's gateway in its own subnet.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::agent::Evidence;
use crate::attachment::IfName;
use crate::cloud::Nic;
use crate::id::{InvalidValue, MacAddr, SubnetId};
use crate::ledger::{NicRole, NicState, State};
use crate::pool::PoolConfig;
use crate::route::{GatewayPlan, HostLink, KernelView, Masquerade, OwnGateway};

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

/// The settings of a node's gateways. Make one with [`GatewayConfig::new`] and change what is to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// What the names of the links of our gateways begin with; a number follows. Default "hostnic".
    pub name: String,
    /// The lowest of the routing tables for what leaves by our gateways, one for each. Default 25600.
    pub first_table: u32,
    /// Links of the node whose NICs we leave alone whatever their names in the cloud are, as we do with that of the
    /// node's default route. They may serve as gateways all the same: nothing about them is changed for that.
    pub spare_links: Vec<IfName>,
}

impl GatewayConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self { name: "hostnic".to_owned(), first_table: 25600, spare_links: Vec::new() }
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`InvalidValue`] naming the setting, its value and what it must be.
    pub fn validate(&self) -> Result<(), InvalidValue> {
        let rule = "1 to 13 bytes of an interface's name";
        let named = self.link(GatewayNumber(PoolConfig::NIC_LIMIT - 1));
        if self.name.is_empty() || named.is_err() {
            return Err(InvalidValue::new("name of the gateways", self.name.clone(), rule));
        }
        // The kernel's own tables are 253 to 255, and the highest number stands for none.
        if !(256..=u32::MAX - PoolConfig::NIC_LIMIT).contains(&self.first_table) {
            let rule = "at least 256, and less than the kernel's highest";
            return Err(InvalidValue::new("table of the gateways", self.first_table.to_string(), rule));
        }
        Ok(())
    }

    /// The name of the link of a gateway.
    fn link(&self, number: GatewayNumber) -> Result<IfName, InvalidValue> {
        IfName::new(format!("{}{number}", self.name))
    }

    /// Whether the NIC of a link is left alone.
    pub fn spares(&self, link: &HostLink) -> bool {
        link.default_route || self.spare_links.iter().any(|name| name.as_str() == link.name)
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A NIC of the operator's that can serve as the gateway of its subnet as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The NIC.
    pub mac: MacAddr,
    /// Its address, with its subnet's prefix length.
    pub address: IpNet,
}

/// The candidates of a node, one for each subnet.
pub type Candidates = BTreeMap<SubnetId, Candidate>;

/// The operator's NICs that can serve: up in the node's namespace, with the address that the cloud gave them, in one of
/// our subnets. Where several are in one, the kernel's first.
pub fn candidates(state: &State, kernel: &KernelView, cloud: &Evidence) -> Candidates {
    let mut found = Candidates::new();
    for link in kernel.host.iter().filter(|link| link.in_use && link.gateway.is_none()) {
        let here = |nic: &&Nic| nic.mac == link.mac && nic.attachment.instance() == Some(&cloud.instance);
        let Some(nic) = cloud.nics.iter().find(here).filter(|nic| !state.nics.contains_key(&nic.id)) else {
            continue;
        };
        let Some(range) = cloud.subnets.get(&nic.subnet) else { continue };
        let own = nic.addresses.iter().find(|own| link.addresses.iter().any(|a| a.addr() == **own));
        if let Some(address) = own.and_then(|own| IpNet::new(*own, range.prefix.prefix_len()).ok()) {
            found.entry(nic.subnet.clone()).or_insert(Candidate { mac: nic.mac, address });
        }
    }
    found
}

/// What the kernel has to be made to have. Ours come first: pods that use one go on using it when the operator adds a
/// NIC of the same subnet.
pub fn plans(config: &GatewayConfig, state: &State, candidates: &Candidates) -> Vec<GatewayPlan> {
    let masquerade = |address: IpNet| {
        let everything = state.leases.values().any(|lease| lease.plan.gateway == address.addr());
        if everything { Masquerade::Everything } else { Masquerade::Services }
    };
    let own = state.nics.values().filter(|nic| nic.state == NicState::Ready).filter_map(|nic| {
        let NicRole::Gateway(number) = nic.role else { return None };
        let address = nic.addresses.first()?.address;
        let address = IpNet::new(address, nic.subnet.prefix.prefix_len()).ok()?;
        let own = OwnGateway {
            number,
            ifname: config.link(number).ok()?,
            table: config.first_table.checked_add(number.0)?,
            router: nic.subnet.gateway,
        };
        Some(GatewayPlan { mac: nic.mac, address, masquerade: masquerade(address), own: Some(own) })
    });
    let theirs = candidates.values().map(|candidate| GatewayPlan {
        mac: candidate.mac,
        address: candidate.address,
        masquerade: masquerade(candidate.address),
        own: None,
    });
    own.chain(theirs).collect()
}

/// The gateway for a pod with this address.
pub fn gateway_for(plans: &[GatewayPlan], pod: IpNet) -> Option<&GatewayPlan> {
    plans.iter().find(|plan| plan.address.trunc() == pod.trunc() && plan.address.addr() != pod.addr())
}
