//! What is to be done for one vxnet of `v-pool`, as the cloud and the cluster have it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use hostnic_core::cloud::Subnet;
use ipnet::{IpNet, Ipv4Net};

use super::super::block::Block;
use super::super::cut::{self, Uncuttable};
use super::super::name::{BlockName, LOCAL};
use super::super::resources::{IpPoolSpec, VxNetPoolSpec};

/// The type of all pools that are made of `v-pool`.
pub(super) const TYPE: &str = "local";

/// Why a vxnet cannot serve pods.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "the cloud does not know it in this zone, or it is bound to no VPC router; correct its name in v-pool, or bind it to the cluster's VPC"
    )]
    Unknown,
    #[error("DHCP is off in it; switch it on in the VPC's settings")]
    DhcpOff,
    #[error("its addresses {0} are not IPv4; choose another vxnet")]
    NotIpv4(IpNet),
    #[error(
        "its addresses are {cloud}, and its IPPool was made for {pool}; delete the IPPool when no pod uses it any more"
    )]
    Moved { cloud: Ipv4Net, pool: String },
    #[error("{0}")]
    Uncuttable(Uncuttable),
}

impl Problem {
    /// In one word, for programs.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "UnknownVxnet",
            Self::DhcpOff => "DhcpOff",
            Self::NotIpv4(_) => "NotIpv4",
            Self::Moved { .. } => "VxnetChanged",
            Self::Uncuttable(_) => "CannotBeCut",
        }
    }
}

/// What the cluster has of a vxnet.
#[derive(Debug, Clone, Default)]
pub(super) struct InCluster {
    pub(super) pool: Option<IpPoolSpec>,
    pub(super) blocks: BTreeSet<BlockName>,
}

/// What is still to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Addresses to be claimed from the cloud.
    pub(super) reserve: Vec<RangeInclusive<Ipv4Addr>>,
    /// From where the security group must let everything in.
    pub(super) cidr: Ipv4Net,
    /// The pool to be made.
    pub(super) pool: Option<IpPoolSpec>,
    /// The blocks to be made.
    pub(super) blocks: Vec<Block>,
    /// The names of all blocks.
    pub(super) names: Vec<BlockName>,
}

/// What is to be done. What a pool says that is there already counts, as it may not change.
///
/// # Errors
/// Why it cannot be done, in words for who wrote `v-pool`.
pub(super) fn plan(
    spec: &VxNetPoolSpec,
    subnet: Option<&Subnet>,
    reserved: &BTreeSet<Ipv4Addr>,
    cluster: &InCluster,
) -> Result<Plan, Problem> {
    let subnet = subnet.ok_or(Problem::Unknown)?;
    let IpNet::V4(cidr) = subnet.prefix else { return Err(Problem::NotIpv4(subnet.prefix)) };
    if let Some(pool) = cluster.pool.as_ref().filter(|pool| pool.cidr.parse() != Ok(cidr)) {
        return Err(Problem::Moved { cloud: cidr, pool: pool.cidr.clone() });
    }
    let usable = match cluster.pool.as_ref().and_then(range) {
        Some(usable) => usable,
        None => claimed(subnet, spec.custom_reserved_ip_count)?,
    };
    let prefix = cluster.pool.as_ref().and_then(|pool| pool.block_size).unwrap_or(spec.block_size);
    let mut blocks = cut::blocks(LOCAL, cidr, prefix, &usable).map_err(Problem::Uncuttable)?;
    let names = blocks.iter().map(Block::name).collect();
    blocks.retain(|block| !cluster.blocks.contains(&block.name()));
    let pool = cluster.pool.is_none().then(|| IpPoolSpec {
        kind: TYPE.to_owned(),
        cidr: cidr.to_string(),
        range_start: usable.start().to_string(),
        range_end: usable.end().to_string(),
        block_size: Some(prefix),
        gateway: subnet.gateway.to_string(),
        ..IpPoolSpec::default()
    });
    Ok(Plan { reserve: missing(&usable, reserved), cidr, pool, blocks, names })
}

fn claimed(subnet: &Subnet, more: u32) -> Result<RangeInclusive<Ipv4Addr>, Problem> {
    let dhcp = subnet.dhcp.as_ref().ok_or(Problem::DhcpOff)?;
    let (IpAddr::V4(first), IpAddr::V4(last)) = (*dhcp.start(), *dhcp.end()) else {
        return Err(Problem::NotIpv4(subnet.prefix));
    };
    cut::claimed(first, last, subnet.carrier, more).map_err(Problem::Uncuttable)
}

/// The addresses for pods, as a pool says them.
pub(super) fn range(pool: &IpPoolSpec) -> Option<RangeInclusive<Ipv4Addr>> {
    Some(pool.range_start.parse().ok()?..=pool.range_end.parse().ok()?)
}

/// The parts of a range that are not reserved yet.
fn missing(
    usable: &RangeInclusive<Ipv4Addr>,
    reserved: &BTreeSet<Ipv4Addr>,
) -> Vec<RangeInclusive<Ipv4Addr>> {
    let mut parts: Vec<RangeInclusive<Ipv4Addr>> = Vec::new();
    for number in u32::from(*usable.start())..=u32::from(*usable.end()) {
        let address = Ipv4Addr::from(number);
        if reserved.contains(&address) {
            continue;
        }
        match parts.last_mut() {
            Some(part) if u32::from(*part.end()).checked_add(1) == Some(number) => {
                *part = *part.start()..=address
            }
            _ => parts.push(address..=address),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use hostnic_core::cloud::Carrier;

    use super::*;

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 16, 3, last)
    }

    fn subnet() -> Subnet {
        Subnet {
            id: "vxnet-a".parse().unwrap(),
            prefix: "172.16.3.0/24".parse().unwrap(),
            gateway: at(1).into(),
            router: "rtr-1".parse().ok(),
            dhcp: Some(at(2).into()..=at(254).into()),
            carrier: Carrier::Vxlan,
            room: None,
        }
    }

    fn spec() -> VxNetPoolSpec {
        VxNetPoolSpec { block_size: 26, ..VxNetPoolSpec::default() }
    }

    fn planned(subnet: &Subnet, cluster: &InCluster) -> Result<Plan, Problem> {
        plan(&spec(), Some(subnet), &BTreeSet::new(), cluster)
    }

    #[test]
    fn a_new_vxnet_is_claimed_and_cut() {
        let plan = planned(&subnet(), &InCluster::default()).unwrap();
        assert_eq!(plan.reserve, [at(2)..=at(242)]);
        let pool = plan.pool.unwrap();
        let told = (pool.kind.as_str(), pool.cidr.as_str(), pool.block_size, pool.gateway.as_str());
        assert_eq!(told, ("local", "172.16.3.0/24", Some(26), "172.16.3.1"));
        assert_eq!((pool.range_start.as_str(), pool.range_end.as_str()), ("172.16.3.2", "172.16.3.242"));
        assert_eq!(plan.blocks.len(), 4);
        assert_eq!(plan.names[0].to_string(), "4100-172-16-3-0-26");
    }

    #[test]
    fn what_is_there_is_not_made_again_and_a_pools_own_range_counts() {
        let pool = planned(&subnet(), &InCluster::default()).unwrap().pool.map(|pool| IpPoolSpec {
            range_end: at(100).to_string(),
            block_size: Some(27),
            ..pool
        });
        let present = "4100-172-16-3-32-27".parse().unwrap();
        let cluster = InCluster { pool, blocks: BTreeSet::from([present]) };
        let reserved = (2..=100).filter(|last| ![2, 50, 51, 100].contains(last)).map(at).collect();
        let plan = plan(&spec(), Some(&subnet()), &reserved, &cluster).unwrap();
        assert_eq!(plan.reserve, [at(2)..=at(2), at(50)..=at(51), at(100)..=at(100)]);
        assert_eq!((plan.pool, plan.blocks.len(), plan.names.len()), (None, 7, 8));
        assert!(plan.names.contains(&present) && plan.blocks.iter().all(|block| block.name() != present));
    }

    #[test]
    fn what_cannot_serve_says_why() {
        let without = |change: fn(&mut Subnet)| {
            let mut subnet = subnet();
            change(&mut subnet);
            planned(&subnet, &InCluster::default()).unwrap_err().reason()
        };
        assert_eq!(without(|subnet| subnet.dhcp = None), "DhcpOff");
        assert_eq!(without(|subnet| subnet.prefix = "fd00::/64".parse().unwrap()), "NotIpv4");
        assert_eq!(without(|subnet| subnet.dhcp = Some(at(2).into()..=at(9).into())), "CannotBeCut");
        assert_eq!(plan(&spec(), None, &BTreeSet::new(), &InCluster::default()), Err(Problem::Unknown));
        let pool = IpPoolSpec { cidr: "10.0.0.0/24".into(), ..IpPoolSpec::default() };
        let moved = planned(&subnet(), &InCluster { pool: Some(pool), ..InCluster::default() });
        assert_eq!(moved.unwrap_err().reason(), "VxnetChanged");
    }
}
