//! From which blocks a pod's address may be, by its namespace.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use hostnic_core::Refusal;
use hostnic_core::id::SubnetId;
use ipnet::Ipv4Net;

use crate::ipam::cut;
use crate::ipam::mapping::Mapping;
use crate::ipam::name::{BlockName, LOCAL};
use crate::ipam::resources::IpPool;

/// A vxnet's pool, as far as an address of it must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) subnet: SubnetId,
    pub(super) cidr: Ipv4Net,
    pub(super) gateway: Ipv4Addr,
    /// In the order of their addresses.
    blocks: Vec<BlockName>,
}

impl Place {
    /// `None` for a pool that was not made of a vxnet.
    pub(super) fn of(pool: &IpPool) -> Option<Self> {
        let cidr: Ipv4Net = pool.spec.cidr.parse().ok()?;
        let first = pool.spec.range_start.parse().unwrap_or(cidr.network());
        let last = pool.spec.range_end.parse().unwrap_or(cidr.broadcast());
        let blocks = cut::blocks(LOCAL, cidr, pool.spec.block_size?, &(first..=last)).ok()?;
        Some(Self {
            subnet: pool.metadata.name.as_deref()?.parse().ok()?,
            cidr: cidr.trunc(),
            gateway: pool.spec.gateway.parse().ok()?,
            blocks: blocks.iter().map(|block| block.name()).collect(),
        })
    }
}

/// Whose a block is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// A namespace's.
    Namespace(String),
    /// Everybody's who has no block.
    Everybody,
}

impl Owner {
    /// Whose addresses pods of a namespace have.
    pub(super) fn of_pods(namespace: &str, mapping: &Mapping) -> Self {
        match mapping.namespaces.get(namespace) {
            Some(blocks) if !blocks.is_empty() => Self::Namespace(namespace.to_owned()),
            _ => Self::Everybody,
        }
    }

    /// Whose a block is.
    pub(super) fn of_block(block: BlockName, mapping: &Mapping) -> Self {
        mapping.owner(block).map_or(Self::Everybody, |namespace| Self::Namespace(namespace.to_owned()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => f.write_str(namespace),
            Self::Everybody => f.write_str("Default"),
        }
    }
}

/// The blocks that an address may be of, in the order in which they are to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) owner: Owner,
    pub(super) blocks: Vec<BlockName>,
    /// Those that are said to be the namespace's, and that nobody makes.
    pub(super) missing: Vec<BlockName>,
}

/// Chooses for a pod of `namespace`. `start` differs from node to node, so that nodes begin with different blocks.
///
/// # Errors
/// Why there is no block.
pub(super) fn choose(
    namespace: &str,
    mapping: &Mapping,
    places: &[Place],
    start: u64,
) -> Result<Choice, Refusal> {
    let owner = Owner::of_pods(namespace, mapping);
    let is_made = |block: &BlockName| places.iter().any(|place| place.blocks.binary_search(block).is_ok());
    let (mut blocks, missing): (Vec<BlockName>, Vec<BlockName>) = match &owner {
        Owner::Namespace(namespace) => {
            let own = mapping.namespaces.get(namespace).cloned().unwrap_or_default();
            own.into_iter().partition(is_made)
        }
        Owner::Everybody => {
            let named = |place: &&Place| mapping.default.iter().any(|name| name == place.subnet.as_str());
            let all = places.iter().filter(named).flat_map(|place| place.blocks.iter().copied());
            (all.filter(|block| mapping.owner(*block).is_none()).collect(), Vec::new())
        }
    };
    if blocks.is_empty() && !missing.is_empty() {
        let blocks = missing.iter().map(ToString::to_string).collect();
        return Err(Refusal::MissingBlocks { namespace: namespace.to_owned(), blocks });
    }
    if blocks.is_empty() && mapping.default.is_empty() {
        return Err(Refusal::NoBlock { namespace: namespace.to_owned() });
    }
    if blocks.is_empty() {
        let blocks = mapping.default.iter().map(|vxnet| format!("vxnet {vxnet}")).collect();
        return Err(Refusal::MissingBlocks { namespace: namespace.to_owned(), blocks });
    }
    let count = u64::try_from(blocks.len()).unwrap_or(1);
    blocks.rotate_left(usize::try_from(start % count).unwrap_or_default());
    Ok(Choice { owner, blocks, missing })
}

/// The block of `blocks` that an address is in.
pub(super) fn block_of(address: IpAddr, blocks: &[BlockName]) -> Option<(BlockName, Ipv4Addr)> {
    let IpAddr::V4(address) = address else { return None };
    blocks.iter().find(|block| block.cidr().contains(&address)).map(|block| (*block, address))
}

/// The block that an address is in, whosever it is.
pub(super) fn made_block_of(address: Ipv4Addr, places: &[Place]) -> Option<BlockName> {
    block_of(address.into(), &place_of(address, places)?.blocks).map(|(block, _)| block)
}

/// The pool that an address is in.
pub(super) fn place_of(address: Ipv4Addr, places: &[Place]) -> Option<&Place> {
    places.iter().find(|place| place.cidr.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::resources::IpPoolSpec;

    fn place(vxnet: &str, cidr: &str) -> Place {
        let spec = IpPoolSpec {
            cidr: cidr.to_owned(),
            block_size: Some(26),
            gateway: cidr.replace(".0/24", ".1"),
            ..IpPoolSpec::default()
        };
        Place::of(&IpPool::new(vxnet, spec)).unwrap()
    }

    fn mapping(ipam: serde_json::Value) -> Mapping {
        Mapping::read(&[("ipam".to_owned(), ipam.to_string())].into()).unwrap()
    }

    fn chosen(namespace: &str, ipam: serde_json::Value, start: u64) -> Result<Vec<String>, Refusal> {
        let places = [place("vxnet-a", "172.16.3.0/24"), place("vxnet-b", "172.16.4.0/24")];
        let choice = choose(namespace, &mapping(ipam), &places, start)?;
        Ok(choice.blocks.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_namespace_has_its_own_blocks_and_others_have_what_is_nobodys() {
        let ipam = serde_json::json!({
            "Default": ["vxnet-a"], "test": ["4100-172-16-3-64-26", "4100-172-16-4-0-26"], "empty": [],
        });
        let own = ["4100-172-16-3-64-26", "4100-172-16-4-0-26"];
        assert_eq!(chosen("test", ipam.clone(), 0).unwrap(), own);
        assert_eq!(chosen("test", ipam.clone(), 1).unwrap(), [own[1], own[0]]);
        let all = ["4100-172-16-3-0-26", "4100-172-16-3-128-26", "4100-172-16-3-192-26"];
        assert_eq!(chosen("other", ipam.clone(), 0).unwrap(), all);
        assert_eq!(chosen("empty", ipam, 5).unwrap(), [all[2], all[0], all[1]]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let wrong = serde_json::json!({ "test": ["4100-172-16-3-0-27"] });
        let Err(Refusal::MissingBlocks { blocks, .. }) = chosen("test", wrong, 0) else { panic!() };
        assert_eq!(blocks, ["4100-172-16-3-0-27"]);
        let half = serde_json::json!({ "test": ["4100-172-16-3-0-27", "4100-172-16-3-0-26"] });
        assert_eq!(chosen("test", half, 0).unwrap(), ["4100-172-16-3-0-26"]);
        assert!(matches!(chosen("test", serde_json::json!({}), 0), Err(Refusal::NoBlock { .. })));
        let unmade = chosen("test", serde_json::json!({ "Default": ["vxnet-c"] }), 0);
        let Err(Refusal::MissingBlocks { blocks, .. }) = unmade else { panic!() };
        assert_eq!(blocks, ["vxnet vxnet-c"]);
    }

    #[test]
    fn an_address_is_found_in_its_block() {
        let places = [place("vxnet-a", "172.16.3.0/24")];
        let found = made_block_of("172.16.3.70".parse().unwrap(), &places).unwrap();
        assert_eq!(found.to_string(), "4100-172-16-3-64-26");
        assert_eq!(made_block_of("172.16.5.70".parse().unwrap(), &places), None);
    }
}
