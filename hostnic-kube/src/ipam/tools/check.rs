//! What is wrong with blocks, handles and pods, each compared with the others. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::inventory::Inventory;
use crate::ipam::addresses::{NAMESPACE, NODE, POD, UID, is_stock};
use crate::ipam::block::Holder;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// A block's object tells of no addresses. Nobody can repair that but who knows whose they are.
    Unreadable {
        /// The block.
        block: String,
    },
    /// A block contradicts itself.
    Broken {
        /// The block.
        block: String,
        /// How, and what becomes of it.
        flaw: String,
    },
    /// An address belongs to a pod, or a stock, of which there is nothing any more.
    Leaked {
        /// The block.
        block: String,
        /// The address.
        address: Ipv4Addr,
        /// Whose it was.
        handle: String,
        /// What there is no more.
        because: String,
    },
    /// Two blocks have the same address, and both gave it away.
    Doubled {
        /// The address.
        address: Ipv4Addr,
        /// Who has it, and in which block.
        holders: Vec<(String, String)>,
    },
    /// A handle whose addresses no block knows of.
    HandleAlone {
        /// The handle.
        handle: String,
    },
    /// A pod's addresses that no handle tells of.
    HandleMissing {
        /// The handle.
        handle: String,
        /// The block that knows of them.
        block: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { block } => {
                write!(
                    f,
                    "block {block} tells of no addresses; see what it was, and write that by hand, or delete it when no pod uses it"
                )
            }
            Self::Broken { block, flaw } => write!(f, "block {block} contradicts itself: {flaw}"),
            Self::Leaked { block, address, handle, because } => {
                write!(f, "{address} of block {block} belongs to {handle}, and {because}")
            }
            Self::Doubled { address, holders } => {
                write!(f, "{address} was given away twice:")?;
                for (n, (block, handle)) in holders.iter().enumerate() {
                    write!(f, "{} to {handle} by block {block}", if n > 0 { "," } else { "" })?;
                }
                f.write_str("; delete one of these pods, and the block that should not be there")
            }
            Self::HandleAlone { handle } => write!(f, "handle {handle} has no address in any block"),
            Self::HandleMissing { handle, block } => {
                write!(f, "no handle tells that {handle} has an address of block {block}")
            }
        }
    }
}

impl Finding {
    /// Whether [`repair`](super::IpamTools::repair) can do something about it.
    pub fn can_be_repaired(&self) -> bool {
        !matches!(self, Self::Unreadable { .. } | Self::Doubled { .. })
    }
}

impl Inventory {
    /// All that is wrong, in order. What is under way at the moment may look wrong: what is still so a while later is.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut handles: BTreeMap<&str, &str> = BTreeMap::new();
        let mut addresses: BTreeMap<Ipv4Addr, Vec<(String, String)>> = BTreeMap::new();
        for (name, seen) in &self.blocks {
            let Some(block) = &seen.block else {
                findings.push(Finding::Unreadable { block: name.clone() });
                continue;
            };
            let broken = |flaw: &crate::ipam::block::Flaw| Finding::Broken {
                block: name.clone(),
                flaw: flaw.to_string(),
            };
            findings.extend(seen.flaws.iter().map(broken));
            for (address, holder) in block.held() {
                addresses.entry(address).or_default().push((name.clone(), holder.handle.clone()));
                if !is_stock(&holder.handle) && !holder.handle.is_empty() {
                    handles.insert(&holder.handle, name);
                }
                findings.extend(self.gone(holder).map(|because| Finding::Leaked {
                    block: name.clone(),
                    address,
                    handle: holder.handle.clone(),
                    because,
                }));
            }
        }
        let twice = addresses.into_iter().filter(|(_, holders)| holders.len() > 1);
        findings.extend(twice.map(|(address, holders)| Finding::Doubled { address, holders }));
        let leaked: BTreeSet<String> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Leaked { handle, .. } => Some(handle.clone()),
                _ => None,
            })
            .collect();
        let alone = self.handles.keys().filter(|handle| !handles.contains_key(handle.as_str()));
        findings.extend(alone.map(|handle| Finding::HandleAlone { handle: handle.clone() }));
        let missing = handles
            .iter()
            .filter(|(handle, _)| !self.handles.contains_key(**handle) && !leaked.contains(**handle));
        findings.extend(missing.map(|(handle, block)| Finding::HandleMissing {
            handle: (*handle).to_owned(),
            block: (*block).to_owned(),
        }));
        findings.sort();
        findings
    }

    /// What there is no more of a holder; `None` for one that is as it should be, and for one that says too little.
    fn gone(&self, holder: &Holder) -> Option<String> {
        let told = |name: &str| holder.attributes.get(name);
        let node = told(NODE)?;
        if is_stock(&holder.handle) {
            return match self.nodes.get(node) {
                None => Some(format!("there is no node {node}")),
                Some(uid) if told(UID).is_some_and(|told| told != uid) => {
                    Some(format!("node {node} is another one by now"))
                }
                Some(_) => None,
            };
        }
        let (namespace, pod) = (told(NAMESPACE)?, told(POD)?);
        match self.pods.get(&(namespace.clone(), pod.clone())) {
            None => Some(format!("there is no pod {namespace}/{pod}")),
            Some(Some(other)) if other != node => {
                Some(format!("pod {namespace}/{pod} is on node {other}, not {node}"))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::SeenBlock;
    use super::*;
    use crate::ipam::block::Block;

    fn holder(handle: &str, attributes: &[(&str, &str)]) -> Holder {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Holder { handle: handle.to_owned(), attributes: attributes.collect() }
    }

    fn pod(name: &str, node: &str) -> Holder {
        holder(&format!("test-{name}-c"), &[(NAMESPACE, "test"), (POD, name), (NODE, node)])
    }

    fn inventory(holders: &[Holder]) -> Inventory {
        let name = "4100-10-0-0-0-28";
        let mut block =
            Block::new(name.parse().unwrap(), &("10.0.0.2".parse().unwrap()..="10.0.0.14".parse().unwrap()))
                .unwrap();
        for holder in holders {
            block.claim(holder).unwrap();
        }
        let handles = holders.iter().filter(|holder| !is_stock(&holder.handle));
        Inventory {
            handles: handles.map(|holder| (holder.handle.clone(), 1)).collect(),
            blocks: [(
                name.to_owned(),
                SeenBlock { pool: "vxnet-a".into(), block: Some(block), flaws: vec![] },
            )]
            .into(),
            pods: [("a", "node1"), ("b", "node2")]
                .map(|(pod, node)| (("test".to_owned(), pod.to_owned()), Some(node.to_owned())))
                .into(),
            nodes: [("node1".to_owned(), "u1".to_owned())].into(),
            ..Inventory::default()
        }
    }

    fn said(inventory: &Inventory) -> Vec<String> {
        inventory.check().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_not_told() {
        let stock = holder("hostnic-stock-u1", &[(NODE, "node1"), (UID, "u1"), (NAMESPACE, "test")]);
        // Of this one the Go version said nothing but whose it is.
        let silent = holder("test-silent-c", &[]);
        assert_eq!(said(&inventory(&[pod("a", "node1"), stock, silent])), [""; 0]);
    }

    #[test]
    fn addresses_of_what_is_no_more_are_leaked() {
        let stale = holder("hostnic-stock-u0", &[(NODE, "node1"), (UID, "u0")]);
        let away = holder("hostnic-stock-u3", &[(NODE, "node3"), (UID, "u3")]);
        let found = said(&inventory(&[pod("b", "node1"), pod("c", "node1"), stale, away]));
        let expected = [
            "10.0.0.2 of block 4100-10-0-0-0-28 belongs to test-b-c, and pod test/b is on node node2, not node1",
            "10.0.0.3 of block 4100-10-0-0-0-28 belongs to test-c-c, and there is no pod test/c",
            "10.0.0.4 of block 4100-10-0-0-0-28 belongs to hostnic-stock-u0, and node node1 is another one by now",
            "10.0.0.5 of block 4100-10-0-0-0-28 belongs to hostnic-stock-u3, and there is no node node3",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn handles_and_blocks_that_overlap_are_compared_too() {
        let mut inventory = inventory(&[pod("a", "node1")]);
        inventory.handles = [("test-gone-c".to_owned(), 1)].into();
        let mut other = Block::new(
            "4100-10-0-0-0-29".parse().unwrap(),
            &("10.0.0.2".parse().unwrap()..="10.0.0.14".parse().unwrap()),
        )
        .unwrap();
        other.claim(&pod("a", "node1")).unwrap();
        let seen = SeenBlock { pool: "vxnet-a".into(), block: Some(other), flaws: vec![] };
        inventory.blocks.insert("4100-10-0-0-0-29".to_owned(), seen);
        inventory
            .blocks
            .insert("x".to_owned(), SeenBlock { pool: String::new(), block: None, flaws: vec![] });
        let kinds: Vec<_> =
            inventory.check().into_iter().map(|finding| (finding.can_be_repaired(), finding)).collect();
        assert!(
            matches!(
                &kinds[..],
                [
                    (false, Finding::Unreadable { .. }),
                    (false, Finding::Doubled { .. }),
                    (true, Finding::HandleAlone { .. }),
                    (true, Finding::HandleMissing { .. })
                ]
            ),
            "{kinds:?}"
        );
    }
}
