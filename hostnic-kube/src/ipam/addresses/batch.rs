//! What a node wants done to one block, and what comes of it. Pure: a write of the block carries out all of it or nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::handle::ADDRESS;
use super::stock::{NODE, NodeStock, is_stock, share};
use crate::ipam::block::{Block, Holder, Refusal};

/// One thing that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Any address for this holder, and more for the node's stock if it may have some.
    Any { holder: Holder },
    /// This address.
    This { holder: Holder, address: Ipv4Addr },
    /// An address of the stock comes to be a pod's, who uses it already.
    HandOver { holder: Holder, address: Ipv4Addr },
    /// A holder's addresses are free again.
    Release { handle: String },
    /// An address is free again that some holder of this node has: who, nobody knows any more.
    Give { address: Ipv4Addr, node: String },
    /// These addresses of the stock are free again.
    Return { addresses: Vec<Ipv4Addr> },
    /// The stock is filled up.
    Restock,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The holder has this address.
    Claimed(Ipv4Addr),
    /// There is none. Whether other nodes have some in stock.
    None { in_stock: bool },
    /// The address cannot be had.
    Refused(Refusal),
    /// The address is free; it was this handle's, if it was anybody's.
    Given { handle: Option<String> },
    /// It is as wanted.
    Done,
}

/// What a batch does to a block, and what it leaves of the block's other notes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// In the order of the wishes.
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the other nodes are to return their stock.
    pub(super) wanted: bool,
}

/// Carries out the wishes, one after the other; the stock is filled at the end. `wanted` says whether some node waits for an
/// address of the block already.
pub(super) fn apply(block: &mut Block, wishes: &[Wish], stock: &NodeStock, wanted: bool) -> Applied {
    let mut short = false;
    let mut restock = false;
    let outcomes = wishes
        .iter()
        .map(|wish| match wish {
            Wish::Any { holder } => {
                restock = true;
                let outcome = any(block, holder, stock);
                short |= matches!(outcome, Outcome::None { .. });
                outcome
            }
            Wish::This { holder, address } => match block.claim_this(*address, &with(holder, *address)) {
                Ok(()) => Outcome::Claimed(*address),
                Err(refusal) => {
                    short |= matches!(&refusal, Refusal::Taken(handle) if is_stock(handle));
                    Outcome::Refused(refusal)
                }
            },
            Wish::HandOver { holder, address } => {
                hand_over(block, holder, *address, stock);
                Outcome::Done
            }
            Wish::Release { handle } => {
                block.release(handle);
                Outcome::Done
            }
            Wish::Give { address, node } => Outcome::Given { handle: give(block, *address, node) },
            Wish::Return { addresses } => {
                for address in addresses {
                    block.release_this(*address, stock.handle());
                }
                Outcome::Done
            }
            Wish::Restock => {
                restock = true;
                Outcome::Done
            }
        })
        .collect();
    let is_over = share::is_at_ease(block) && block.usage().free > 0;
    // Of a closed one nobody keeps anything: what is in stock would hold it for ever.
    let wanted = block.is_closed() || short || (wanted && !is_over);
    if restock && !wanted {
        fill(block, stock);
    }
    Applied { outcomes, wanted }
}

/// Any address. Who has one already, as after an answer that was lost, gets that.
fn any(block: &mut Block, holder: &Holder, stock: &NodeStock) -> Outcome {
    if let Some(present) = block.held_by(&holder.handle).next() {
        return Outcome::Claimed(present);
    }
    match block.claim(holder) {
        Some(address) => {
            block.hand_over(address, &holder.handle, &with(holder, address));
            Outcome::Claimed(address)
        }
        None => Outcome::None { in_stock: stock.of_others(block) },
    }
}

/// A holder with its address among its attributes.
fn with(holder: &Holder, address: Ipv4Addr) -> Holder {
    let mut holder = holder.clone();
    holder.attributes.insert(ADDRESS.to_owned(), address.to_string());
    holder
}

/// The pod uses the address: even one that somebody took out of the stock by hand becomes its own, unless it is another's by now.
fn hand_over(block: &mut Block, holder: &Holder, address: Ipv4Addr, stock: &NodeStock) {
    let told = with(holder, address);
    if block.hand_over(address, stock.handle(), &told) || block.claim_this(address, &told).is_ok() {
        return;
    }
    tracing::error!(
        %address, block = %block.name(), holder = holder.handle,
        "a pod of this node uses an address that the block says is somebody else's; run hostnic-daemon ipam check"
    );
}

/// Says whose the address was.
fn give(block: &mut Block, address: Ipv4Addr, node: &str) -> Option<String> {
    let of_node = |holder: &Holder| holder.attributes.get(NODE).is_some_and(|told| told == node);
    let found = block.held().find(|(held, holder)| *held == address && of_node(holder));
    let handle = found.map(|(_, holder)| holder.handle.clone())?;
    block.release_this(address, &handle).then_some(handle)
}

/// Claims for the stock what it may have.
fn fill(block: &mut Block, stock: &NodeStock) {
    let present: BTreeSet<Ipv4Addr> = block.held_by(stock.handle()).collect();
    let target = share::target(block, stock);
    let missing = target.saturating_sub(u32::try_from(present.len()).unwrap_or(u32::MAX));
    for _ in 0..missing {
        if block.claim(stock.holder()).is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(prefix: u8) -> Block {
        let name = format!("4100-10-0-0-0-{prefix}").parse().unwrap();
        Block::new(name, &("10.0.0.2".parse().unwrap()..="10.0.0.255".parse().unwrap())).unwrap()
    }

    fn pod(number: u32) -> Holder {
        let attributes =
            [("namespace".to_owned(), "test".to_owned()), ("node".to_owned(), "node1".to_owned())];
        Holder { handle: format!("test-pod-{number}"), attributes: attributes.into() }
    }

    fn stock(node: &str, several: bool) -> NodeStock {
        NodeStock::new(node, &format!("uid-of-{node}"), "test", several)
    }

    fn any_of(number: u32) -> Wish {
        Wish::Any { holder: pod(number) }
    }

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[test]
    fn the_first_pod_gets_one_and_the_next_brings_a_stock() {
        let mut block = block(27);
        let first = apply(&mut block, &[any_of(1)], &stock("node1", false), false);
        assert_eq!(first.outcomes, [Outcome::Claimed(at(2))]);
        assert_eq!(block.usage().allocated, 1);
        let second = apply(&mut block, &[any_of(2)], &stock("node1", true), false);
        assert_eq!(second.outcomes, [Outcome::Claimed(at(3))]);
        assert_eq!(block.usage().allocated, 6);
        // An answer that was lost changes nothing when it is asked for again.
        let again = apply(&mut block, &[any_of(2)], &stock("node1", true), false);
        assert_eq!((again.outcomes, block.usage().allocated), (second.outcomes, 6));
        let held: Vec<_> = block.held_by("hostnic-stock-uid-of-node1").collect();
        assert_eq!(held, [at(4), at(5), at(6), at(7)]);
        // One of them comes to be a pod's, and the stock is filled up again.
        let wishes = [Wish::HandOver { holder: pod(3), address: at(5) }, Wish::Restock];
        apply(&mut block, &wishes, &stock("node1", true), false);
        assert_eq!(block.held_by("test-pod-3").collect::<Vec<_>>(), [at(5)]);
        assert_eq!(block.held_by("hostnic-stock-uid-of-node1").count(), 4);
    }

    #[test]
    fn who_finds_none_has_the_others_return_theirs_and_then_nobody_keeps_any() {
        let mut block = block(28);
        apply(&mut block, &[any_of(1)], &stock("node1", true), false);
        let in_stock = block.held_by("hostnic-stock-uid-of-node1").count();
        assert!(in_stock > 0);
        let free = block.usage().free;
        let wishes: Vec<Wish> = (10..=10 + free).map(any_of).collect();
        let applied = apply(&mut block, &wishes, &stock("node2", true), false);
        assert_eq!(applied.outcomes.last(), Some(&Outcome::None { in_stock: true }));
        assert!(applied.wanted);
        let mine: Vec<_> = block.held_by("hostnic-stock-uid-of-node1").collect();
        let returned = apply(&mut block, &[Wish::Return { addresses: mine }], &stock("node1", true), true);
        assert!(!returned.wanted, "there are some for whoever waits");
        apply(&mut block, &[Wish::Restock], &stock("node1", true), false);
        assert!(block.usage().free > 0, "and nobody takes the last ones into stock");
        let got = apply(&mut block, &[any_of(10 + free)], &stock("node2", true), true);
        assert!(matches!(got.outcomes[..], [Outcome::Claimed(_)]));
        assert_eq!(block.held_by("hostnic-stock-uid-of-node2").count(), 0);
        // When most have gone, stocks are kept again.
        let leave: Vec<Wish> =
            (10..10 + free).map(|n| Wish::Release { handle: format!("test-pod-{n}") }).collect();
        assert!(!apply(&mut block, &leave, &stock("node2", true), true).wanted);
    }

    #[test]
    fn who_asks_for_an_address_that_is_in_stock_has_it_returned() {
        let mut block = block(27);
        for number in 1..3 {
            apply(&mut block, &[any_of(number)], &stock("node1", true), false);
        }
        let (mine, pods) = (block.held_by("hostnic-stock-uid-of-node1").collect::<Vec<_>>(), at(2));
        let this = |address| [Wish::This { holder: pod(9), address }];
        assert!(!apply(&mut block, &this(pods), &stock("node2", false), false).wanted, "a pod's is a pod's");
        let refused = apply(&mut block, &this(mine[0]), &stock("node2", false), false);
        assert!(matches!(refused.outcomes[..], [Outcome::Refused(Refusal::Taken(_))]) && refused.wanted);
        apply(&mut block, &[Wish::Return { addresses: mine.clone() }], &stock("node1", true), true);
        let had = apply(&mut block, &this(mine[0]), &stock("node2", false), false);
        assert_eq!((had.outcomes, had.wanted), (vec![Outcome::Claimed(mine[0])], false));
    }

    #[test]
    fn who_gives_an_address_hears_whose_it_was() {
        let mut block = block(27);
        apply(&mut block, &[any_of(1)], &stock("node1", false), false);
        let give = |node: &str| Wish::Give { address: at(2), node: node.to_owned() };
        let given = |handle: Option<&str>| Outcome::Given { handle: handle.map(str::to_owned) };
        let wishes = [give("node2"), give("node1"), give("node1")];
        let applied = apply(&mut block, &wishes, &stock("node1", false), false);
        assert_eq!(applied.outcomes, [given(None), given(Some("test-pod-1")), given(None)]);
    }

    #[test]
    fn nobody_keeps_any_of_a_closed_block_and_what_a_pod_took_is_its_own() {
        let mut open = block(27);
        apply(&mut open, &[any_of(1)], &stock("node1", true), false);
        let mut spec = open.write();
        spec.deleted = true;
        let (mut closed, _) = Block::read(&spec).unwrap();
        let taken = at(4);
        let wishes = [Wish::HandOver { holder: pod(2), address: taken }, Wish::Restock, any_of(3)];
        let applied = apply(&mut closed, &wishes, &stock("node1", true), false);
        assert_eq!(applied.outcomes.last(), Some(&Outcome::None { in_stock: false }));
        assert!(applied.wanted, "all return what they have");
        assert_eq!(closed.held_by("test-pod-2").collect::<Vec<_>>(), [taken]);
        let mine: Vec<_> = closed.held_by("hostnic-stock-uid-of-node1").collect();
        assert_eq!(mine.len(), 3);
        let returned = apply(&mut closed, &[Wish::Return { addresses: mine }], &stock("node1", true), true);
        assert!(returned.wanted && closed.held_by("hostnic-stock-uid-of-node1").next().is_none());
    }

    fn wish() -> impl Strategy<Value = Wish> {
        let address = (0_u8..32).prop_map(at);
        prop_oneof![
            4 => (0_u32..30).prop_map(any_of),
            1 => (0_u32..30, address.clone()).prop_map(|(n, address)| Wish::This { holder: pod(n), address }),
            2 => (0_u32..30).prop_map(|n| Wish::Release { handle: format!("test-pod-{n}") }),
            1 => address.prop_map(|address| Wish::Return { addresses: vec![address] }),
            1 => Just(Wish::Restock),
        ]
    }

    proptest! {
        #[test]
        fn nobody_ever_loses_an_address_to_somebody_else(
            rounds in prop::collection::vec((0_u8..3, prop::collection::vec(wish(), 1..6)), 1..40),
        ) {
            let mut block = block(27);
            let mut wanted = false;
            let mut held: std::collections::BTreeMap<String, BTreeSet<Ipv4Addr>> = Default::default();
            for (node, wishes) in rounds {
                let applied = apply(&mut block, &wishes, &stock(&format!("node{node}"), true), wanted);
                wanted = applied.wanted;
                for (wish, outcome) in wishes.iter().zip(&applied.outcomes) {
                    match (wish, outcome) {
                        (Wish::Any { holder } | Wish::This { holder, .. }, Outcome::Claimed(address)) => {
                            held.entry(holder.handle.clone()).or_default().insert(*address);
                        }
                        (Wish::Release { handle }, _) => { held.remove(handle); }
                        _ => {}
                    }
                }
                for (handle, addresses) in &held {
                    prop_assert_eq!(&block.held_by(handle).collect::<BTreeSet<_>>(), addresses);
                }
                let usage = block.usage();
                prop_assert_eq!(usage.allocated + usage.free + usage.reserved, usage.capacity);
                prop_assert!(Block::read(&block.write()).is_some_and(|(read, flaws)| read == block && flaws.is_empty()));
            }
        }
    }
}
