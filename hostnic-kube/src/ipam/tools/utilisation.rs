//! How much of the cluster's addresses is whose, as the Go version's `ipam-client` told it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::inventory::Inventory;
use crate::ipam::block::Usage;
use crate::ipam::name::BlockName;

/// How many addresses are whose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// All that there are.
    pub capacity: u32,
    /// Nobody's.
    pub unallocated: u32,
    /// Pods', or in a node's stock.
    pub allocate: u32,
    /// The cloud's own.
    pub reserved: u32,
}

impl Numbers {
    fn add(&mut self, usage: Usage) {
        self.capacity += usage.capacity;
        self.unallocated += usage.free;
        self.allocate += usage.allocated;
        self.reserved += usage.reserved;
    }
}

/// One vxnet, or one of its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How much of it is whose.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// The blocks of a vxnet; empty for a block.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Part>,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Utilisation {
    /// By vxnet.
    pub vxnets: Vec<Part>,
    /// The blocks of each namespace.
    pub namespaces: BTreeMap<String, Vec<String>>,
    /// The vxnets of all namespaces without blocks.
    pub default: Vec<String>,
    /// The blocks that no namespace has.
    pub free: Vec<String>,
    /// What is wrong with the ConfigMap that says which namespace has what; what is told of namespaces is nothing then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistake: Option<String>,
}

impl Inventory {
    /// How much of it is whose.
    pub fn utilisation(&self) -> Utilisation {
        let mut vxnets: BTreeMap<&str, Part> = BTreeMap::new();
        let part =
            |name: &str| Part { name: name.to_owned(), numbers: Numbers::default(), blocks: Vec::new() };
        for pool in self.pools.keys() {
            vxnets.insert(pool, part(pool));
        }
        let mut blocks: Vec<_> =
            self.blocks.values().filter_map(|seen| Some((&seen.pool, seen.block.as_ref()?))).collect();
        blocks.sort_by_key(|(_, block)| block.name());
        for (pool, block) in blocks {
            let vxnet = vxnets.entry(pool).or_insert_with(|| part(pool));
            let mut own = part(&block.name().to_string());
            own.numbers.add(block.usage());
            vxnet.numbers.add(block.usage());
            vxnet.blocks.push(own);
        }
        let owned: BTreeSet<BlockName> = self.mapping.namespaces.values().flatten().copied().collect();
        let names = |blocks: &Vec<BlockName>| blocks.iter().map(ToString::to_string).collect();
        let made = self.blocks.values().filter_map(|seen| Some(seen.block.as_ref()?.name()));
        let mut free: Vec<BlockName> = made.filter(|name| !owned.contains(name)).collect();
        free.sort();
        Utilisation {
            vxnets: vxnets.into_values().collect(),
            namespaces: self
                .mapping
                .namespaces
                .iter()
                .map(|(name, blocks)| (name.clone(), names(blocks)))
                .collect(),
            default: self.mapping.default.clone(),
            free: names(&free),
            mistake: self.mistake.clone(),
        }
    }
}
