//! Which namespace gets which block, where `subnet-auto-assign` is on.

use std::collections::BTreeSet;

use super::block::Usage;
use super::mapping::Mapping;
use super::name::BlockName;

/// A block as the cluster has it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: BlockName,
    pub(crate) vxnet: String,
    pub(crate) usage: Usage,
    /// Whether it has been nobody's for long enough, if it is nobody's.
    pub(crate) rested: bool,
    /// Whether no address of it is given to anybody any more.
    pub(crate) closed: bool,
    /// Whether its vxnet is ready for namespaces that have no block of it yet. Those that have one keep it in any case.
    pub(crate) may_be_given: bool,
}

/// Who is to have which block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) mapping: Mapping,
    /// Namespaces that should have one, and none is left.
    pub(crate) wanting: Vec<String>,
}

/// Gives each namespace without a block, or whose blocks are all full, one more. Namespaces that are not there any more have none.
///
/// All blocks count that the cluster has: one whose vxnet is in trouble for a moment is as full or empty as it was. One that is not
/// there, or is closed, is as good as full. A block goes to another namespace only when nobody of the former one has an address of it.
/// Blocks of the vxnets that are everybody's are given to nobody.
pub(crate) fn assign(mapping: &Mapping, namespaces: &BTreeSet<String>, blocks: &[Candidate]) -> Assignment {
    let mut next = mapping.clone();
    next.namespaces.retain(|namespace, _| namespaces.contains(namespace));
    let mut free = blocks
        .iter()
        .filter(|block| block.may_be_given && block.rested && !block.closed)
        .filter(|block| block.usage.allocated == 0 && block.usage.free > 0)
        .filter(|block| !mapping.default.contains(&block.vxnet) && next.owner(block.name).is_none())
        .map(|block| block.name)
        .collect::<BTreeSet<_>>();
    let is_full = |name: &BlockName| {
        let block = blocks.iter().find(|block| block.name == *name);
        block.is_none_or(|block| block.closed || block.usage.free == 0)
    };
    let mut wanting = Vec::new();
    for namespace in namespaces {
        let own = next.namespaces.entry(namespace.clone()).or_default();
        if own.iter().all(is_full) {
            match free.pop_first() {
                Some(block) => own.push(block),
                None => wanting.push(namespace.clone()),
            }
        }
    }
    next.namespaces.retain(|_, blocks| !blocks.is_empty());
    Assignment { mapping: next, wanting }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u8, allocated: u32, free: u32) -> Candidate {
        let name = BlockName::new(4100, format!("10.0.0.{}/27", number * 32).parse().unwrap());
        let vxnet = if number < 7 { "vxnet-own" } else { "vxnet-all" };
        let usage = Usage { capacity: 32, reserved: 0, allocated, free };
        Candidate { name, vxnet: vxnet.into(), usage, rested: true, closed: false, may_be_given: true }
    }

    fn mapping(lists: &[(&str, &[u8])]) -> Mapping {
        let namespaces = lists.iter().map(|(namespace, numbers)| {
            ((*namespace).to_owned(), numbers.iter().map(|number| block(*number, 0, 0).name).collect())
        });
        Mapping { auto: true, default: vec!["vxnet-all".into()], namespaces: namespaces.collect() }
    }

    fn assigned(before: &[(&str, &[u8])], namespaces: &[&str], blocks: &[Candidate]) -> Assignment {
        let namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        assign(&mapping(before), &namespaces, blocks)
    }

    #[test]
    fn each_namespace_gets_a_block_of_its_own_and_none_that_is_everybodys() {
        let blocks = [block(0, 0, 32), block(1, 0, 32), block(7, 0, 32)];
        let first = assigned(&[], &["a", "b", "c"], &blocks);
        assert_eq!(first.mapping, mapping(&[("a", &[0]), ("b", &[1])]));
        assert_eq!(first.wanting, ["c"]);
        let again = assign(&first.mapping, &["a", "b"].map(str::to_owned).into(), &blocks);
        assert_eq!((again.mapping, again.wanting), (first.mapping, vec![]));
    }

    #[test]
    fn who_outgrows_a_block_gets_another() {
        let blocks = [block(0, 32, 0), block(1, 31, 1), block(2, 0, 32)];
        let grown = assigned(&[("a", &[0]), ("b", &[1])], &["a", "b"], &blocks);
        assert_eq!(grown.mapping, mapping(&[("a", &[0, 2]), ("b", &[1])]));
        // One that the cluster does not have is as good as full.
        assert_eq!(assigned(&[("a", &[5])], &["a"], &blocks).mapping, mapping(&[("a", &[5, 2])]));
    }

    #[test]
    fn a_vxnet_in_trouble_costs_nobody_another_block() {
        let mut blocks = [block(0, 16, 16), block(1, 32, 0), block(2, 0, 32), block(3, 0, 32)];
        for block in &mut blocks[..3] {
            block.may_be_given = false;
        }
        let before: &[(&str, &[u8])] = &[("a", &[0]), ("b", &[1])];
        let assigned = assigned(before, &["a", "b", "c"], &blocks);
        assert_eq!(assigned.mapping, mapping(&[("a", &[0]), ("b", &[1, 3])]));
        assert_eq!(assigned.wanting, ["c"]);
    }

    #[test]
    fn a_closed_block_is_as_good_as_full_and_goes_to_nobody() {
        let mut blocks = [block(0, 16, 16), block(1, 0, 32), block(2, 0, 32)];
        (blocks[0].closed, blocks[1].closed) = (true, true);
        assert_eq!(assigned(&[("a", &[0])], &["a"], &blocks).mapping, mapping(&[("a", &[0, 2])]));
    }

    #[test]
    fn a_block_with_somebodys_pods_waits_for_them_to_go() {
        let gone = assigned(&[("old", &[0])], &["new"], &[block(0, 1, 31)]);
        assert_eq!(gone.mapping, mapping(&[]));
        assert_eq!(gone.wanting, ["new"]);
        let empty = assigned(&[("old", &[0])], &["new"], &[block(0, 0, 32)]);
        assert_eq!(empty.mapping, mapping(&[("new", &[0])]));
        // Nor does one that is no pod's at all go to anybody.
        assert_eq!(assigned(&[], &["new"], &[block(0, 0, 0)]).wanting, ["new"]);
    }
}
