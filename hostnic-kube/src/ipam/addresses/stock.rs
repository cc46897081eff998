//! What a node keeps in stock of a block, so that a pod need not wait for the API server.

use std::net::Ipv4Addr;

use crate::ipam::block::{Block, Holder};

/// What the handles of stocks begin with; the uid of the node follows.
const PREFIX: &str = "hostnic-stock-";
/// The attributes of whoever holds an address, as the Go version has them.
pub(in crate::ipam) const NODE: &str = "node";
pub(in crate::ipam) const NAMESPACE: &str = "namespace";
pub(in crate::ipam) const UID: &str = "uid";

/// Whether a handle is that of a node's stock.
pub(in crate::ipam) fn is_stock(handle: &str) -> bool {
    handle.starts_with(PREFIX)
}

/// The stock that one node keeps for one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeStock {
    holder: Holder,
    /// Whether the node has pods of the namespace already.
    several: bool,
}

impl NodeStock {
    pub(super) fn new(node: &str, uid: &str, namespace: &str, several: bool) -> Self {
        let attributes = [(NODE, node), (UID, uid), (NAMESPACE, namespace)];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { holder: Holder { handle: format!("{PREFIX}{uid}"), attributes }, several }
    }

    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    pub(super) fn handle(&self) -> &str {
        &self.holder.handle
    }

    fn node(&self) -> Option<&str> {
        self.holder.attributes.get(NODE).map(String::as_str)
    }

    /// The addresses of the block that it has.
    pub(super) fn of(&self, block: &Block) -> Vec<Ipv4Addr> {
        block.held_by(self.handle()).collect()
    }

    /// Whether other nodes have some of the block.
    pub(super) fn of_others(&self, block: &Block) -> bool {
        block.held().any(|(_, holder)| is_stock(&holder.handle) && holder.handle != self.handle())
    }
}

/// How much of a block a stock may be.
pub(super) mod share {
    use std::collections::BTreeSet;

    use super::{NODE, NodeStock, is_stock};
    use crate::ipam::block::Block;

    /// The most that a node keeps of a block.
    const MOST: u32 = 4;
    /// Which part of a block all nodes together may keep.
    const PART: u32 = 4;
    /// From so many percent on that pods use, nobody keeps any.
    const USED: u32 = 75;

    /// How many addresses the node may keep of the block.
    pub(in super::super) fn target(block: &Block, stock: &NodeStock) -> u32 {
        if !stock.several || !is_at_ease(block) {
            return 0;
        }
        let nodes: BTreeSet<&str> = block
            .held()
            .filter_map(|(_, holder)| holder.attributes.get(NODE).map(String::as_str))
            .chain(stock.node())
            .collect();
        let nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX).max(1);
        let usage = block.usage();
        let own = block.held_by(stock.handle()).count();
        // The last ones are for pods.
        let spare = usage.free.saturating_add(u32::try_from(own).unwrap_or(u32::MAX)).saturating_sub(MOST);
        MOST.min(usage.capacity / PART.saturating_mul(nodes)).min(spare)
    }

    /// Whether pods use so little of the block that stocks are in nobody's way.
    pub(in super::super) fn is_at_ease(block: &Block) -> bool {
        let usage = block.usage();
        let usable = usage.capacity.saturating_sub(usage.reserved);
        let pods = block.held().filter(|(_, holder)| !is_stock(&holder.handle)).count();
        u32::try_from(pods).unwrap_or(u32::MAX).saturating_mul(100) < usable.saturating_mul(USED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(prefix: u8, pods: u32, nodes: u32) -> Block {
        let name = format!("4100-10-0-0-0-{prefix}").parse().unwrap();
        let mut block =
            Block::new(name, &("10.0.0.0".parse().unwrap()..="10.0.3.255".parse().unwrap())).unwrap();
        for pod in 0..pods {
            let node = (NODE.to_owned(), format!("node{}", pod % nodes));
            block.claim(&Holder { handle: format!("pod{pod}"), attributes: [node].into() }).unwrap();
        }
        block
    }

    #[test]
    fn a_stock_is_small_and_smaller_where_many_draw_from_the_block() {
        let stock = |several| NodeStock::new("node0", "u", "test", several);
        let target = |prefix, pods, nodes| share::target(&block(prefix, pods, nodes), &stock(true));
        assert_eq!(share::target(&block(24, 5, 5), &stock(false)), 0);
        assert_eq!((target(24, 1, 1), target(24, 20, 20)), (4, 3));
        assert_eq!((target(27, 1, 1), target(27, 4, 4), target(27, 9, 9)), (4, 2, 0));
        assert_eq!((target(27, 23, 1), target(27, 24, 1)), (4, 0), "three quarters are used");
        assert_eq!((target(29, 0, 1), target(30, 0, 1)), (2, 0), "the last ones are for pods");
        assert_eq!(target(32, 0, 1), 0);
    }
}
