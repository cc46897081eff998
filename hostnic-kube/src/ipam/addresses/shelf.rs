//! What this node has: addresses of its pods, and its stock. In memory; the blocks and the node's records say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hostnic_core::attachment::{AttachmentMark, PodRef};

use super::choose::Owner;
use super::handle::POD;
use super::stock::NAMESPACE;
use crate::ipam::block::Holder;
use crate::ipam::mapping::Mapping;
use crate::ipam::name::BlockName;

/// An attachment that has an address, is about to, or is about to give it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// `None` where it is of an earlier run, until a block tells.
    pub(super) handle: Option<String>,
    /// The block, and in it the address once there is one.
    pub(super) block: Option<BlockName>,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) leaving: bool,
}

/// What it has of the stock in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stock {
    owner: Owner,
    addresses: BTreeSet<Ipv4Addr>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<AttachmentMark, Held>,
    stock: BTreeMap<BlockName, Stock>,
    /// Addresses of the stock that are on their way out of it, in the block's object.
    going: BTreeSet<Ipv4Addr>,
    /// How many addresses were free when a block was seen last.
    free: HashMap<BlockName, u32>,
    /// The blocks of which nobody is to keep any.
    wanted: BTreeSet<BlockName>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<State>);

impl Shelf {
    fn state(&self) -> MutexGuard<'_, State> {
        // It is changed by single inserts and removals only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an attachment has.
    pub(super) fn held(&self, mark: &AttachmentMark) -> Option<Held> {
        self.state().held.get(mark).cloned()
    }

    /// Notes what an attachment has, or is about to have.
    pub(super) fn hold(&self, mark: &AttachmentMark, held: Held) {
        self.state().held.insert(mark.clone(), held);
    }

    /// The attachment, which was about to have an address, has this one; false where it is about to give back whatever it has.
    pub(super) fn got(&self, mark: &AttachmentMark, address: Ipv4Addr) -> bool {
        match self.state().held.get_mut(mark) {
            Some(held) if !held.leaving => {
                held.address = Some(address);
                true
            }
            _ => false,
        }
    }

    /// The attachment is about to give its address back.
    pub(super) fn leave(&self, mark: &AttachmentMark) -> Option<Held> {
        let mut state = self.state();
        let held = state.held.get_mut(mark)?;
        held.leaving = true;
        Some(held.clone())
    }

    /// The attachment has nothing any more.
    pub(super) fn forget(&self, mark: &AttachmentMark) {
        let mut state = self.state();
        if let Some(address) = state.held.remove(mark).and_then(|held| held.address) {
            state.going.remove(&address);
        }
    }

    /// Gives an attachment an address of the stock, if there is one in any of the blocks.
    pub(super) fn take(
        &self,
        mark: &AttachmentMark,
        owner: &Owner,
        blocks: &[BlockName],
        held: impl FnOnce(BlockName, Ipv4Addr) -> Held,
    ) -> Option<(BlockName, Ipv4Addr)> {
        let mut state = self.state();
        let (block, address) = blocks.iter().find_map(|block| {
            let stock = state.stock.get_mut(block).filter(|stock| stock.owner == *owner)?;
            stock.addresses.pop_first().map(|address| (*block, address))
        })?;
        state.going.insert(address);
        state.held.insert(mark.clone(), held(block, address));
        Some((block, address))
    }

    /// Gives an attachment this address of a block, if it is in stock, and answers whether it was.
    pub(super) fn take_this(
        &self,
        mark: &AttachmentMark,
        owner: &Owner,
        (block, address): (BlockName, Ipv4Addr),
        held: Held,
    ) -> bool {
        let mut state = self.state();
        let stock = state.stock.get_mut(&block).filter(|stock| stock.owner == *owner);
        let had = stock.is_some_and(|stock| stock.addresses.remove(&address));
        if had {
            state.going.insert(address);
            state.held.insert(mark.clone(), held);
        }
        had
    }

    /// An address that was taken out of the stock is out of it in the block's object, too.
    pub(super) fn gone(&self, addresses: &[Ipv4Addr]) {
        let mut state = self.state();
        for address in addresses {
            state.going.remove(address);
        }
    }

    /// Learns what the stock in a block is, by the block's object, and how many of its addresses are free. An address that an
    /// attachment has is no stock, whatever the object says: a daemon may have ended before it wrote whose the address came to be.
    pub(super) fn learn(&self, block: BlockName, owner: Owner, stock: Vec<Ipv4Addr>, free: u32) {
        let mut state = self.state();
        state.free.insert(block, free);
        let held: BTreeSet<Ipv4Addr> = state.held.values().filter_map(|held| held.address).collect();
        let is_stock = |address: &Ipv4Addr| !state.going.contains(address) && !held.contains(address);
        let addresses: BTreeSet<Ipv4Addr> = stock.into_iter().filter(is_stock).collect();
        if addresses.is_empty() {
            state.stock.remove(&block);
        } else {
            state.stock.insert(block, Stock { owner, addresses });
        }
    }

    /// Takes all of the stock in a block off, so that it can be returned.
    pub(super) fn clear(&self, block: BlockName) -> Vec<Ipv4Addr> {
        let mut state = self.state();
        let cleared: Vec<Ipv4Addr> =
            state.stock.remove(&block).into_iter().flat_map(|stock| stock.addresses).collect();
        state.going.extend(&cleared);
        cleared
    }

    /// Of these blocks nobody is to keep any, and of others one may.
    pub(super) fn are_wanted(&self, blocks: BTreeSet<BlockName>) {
        self.state().wanted = blocks;
    }

    /// Of this block nobody is to keep any, or one may again.
    pub(super) fn is_wanted(&self, block: BlockName, wanted: bool) {
        let mut state = self.state();
        if wanted {
            state.wanted.insert(block);
        } else {
            state.wanted.remove(&block);
        }
    }

    /// The blocks of the stock that is not to be kept: that are another's now, or wanted, or of whose owner the node has no pods.
    pub(super) fn superfluous(&self, mapping: &Mapping) -> Vec<BlockName> {
        let state = self.state();
        let in_use: BTreeSet<Owner> =
            state.held.values().map(|held| Owner::of_pods(&held.namespace, mapping)).collect();
        let goes = |(block, stock): (&BlockName, &Stock)| {
            let is_owners = stock.owner == Owner::of_block(*block, mapping) && in_use.contains(&stock.owner);
            (!is_owners || state.wanted.contains(block)).then_some(*block)
        };
        state.stock.iter().filter_map(goes).collect()
    }

    /// Whether there is any stock.
    pub(super) fn has_stock(&self) -> bool {
        !self.state().stock.is_empty()
    }

    /// Whether the node has pods of this owner beside the attachment.
    pub(super) fn has_pods(&self, owner: &Owner, mapping: &Mapping, beside: Option<&AttachmentMark>) -> bool {
        let state = self.state();
        let is_another = |mark: &AttachmentMark| beside != Some(mark);
        state.held.iter().any(|(mark, held)| {
            is_another(mark) && !held.leaving && Owner::of_pods(&held.namespace, mapping) == *owner
        })
    }

    /// The blocks in the order in which they are to be tried: those that were full when they were seen last come last.
    pub(super) fn in_order(&self, blocks: &[BlockName]) -> Vec<BlockName> {
        let state = self.state();
        let (full, promising): (Vec<_>, Vec<_>) =
            blocks.iter().copied().partition(|block| state.free.get(block) == Some(&0));
        promising.into_iter().chain(full).collect()
    }

    /// Whether anything of this node's has the address under that handle, as far as is known.
    pub(super) fn knows(&self, handle: &str, address: Ipv4Addr) -> bool {
        let state = self.state();
        let has = |held: &Held| held.handle.as_deref() == Some(handle) || held.address == Some(address);
        state.going.contains(&address) || state.held.values().any(has)
    }

    /// A block says under which handle an attachment of an earlier run has its address, and for which pod.
    pub(super) fn identify(&self, block: BlockName, address: Ipv4Addr, holder: &Holder) {
        let told = |name: &str| holder.attributes.get(name).cloned().unwrap_or_default();
        let (namespace, pod) = (told(NAMESPACE), told(POD));
        let mut state = self.state();
        let nameless = |held: &&mut Held| held.address == Some(address) && held.handle.is_none();
        if let Some(held) = state.held.values_mut().find(nameless) {
            let is_known = !held.pod.is_empty();
            // The block may be behind.
            if is_known && (&held.namespace, &held.pod) != (&namespace, &pod) {
                return;
            }
            (held.namespace, held.pod) = (namespace, pod);
            (held.handle, held.block) = (Some(holder.handle.clone()), Some(block));
        }
    }

    /// Who has this address of the stock since an earlier run, which did not write it; from here on it is had by the `holder`.
    pub(super) fn heir(
        &self,
        block: BlockName,
        address: Ipv4Addr,
        holder: impl FnOnce(&AttachmentMark, &PodRef) -> Holder,
    ) -> Option<Holder> {
        let mut state = self.state();
        let (mark, held) = state.held.iter_mut().find(|(_, held)| {
            let is_nameless = held.handle.is_none() && !held.pod.is_empty() && !held.leaving;
            held.address == Some(address) && is_nameless
        })?;
        let pod = PodRef { namespace: held.namespace.clone(), name: held.pod.clone(), uid: None };
        let holder = holder(mark, &pod);
        (held.handle, held.block) = (Some(holder.handle.clone()), Some(block));
        Some(holder)
    }

    /// Whether a pod has an address under another handle.
    pub(super) fn has_pod(&self, namespace: &str, pod: &str) -> bool {
        self.state().held.values().any(|held| held.namespace == namespace && held.pod == pod && !held.leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(text: &str) -> AttachmentMark {
        format!("{text:a<20}").parse().unwrap()
    }

    fn held(namespace: &str, address: Option<Ipv4Addr>) -> Held {
        let (namespace, pod) = (namespace.to_owned(), "p".to_owned());
        Held { namespace, pod, handle: Some("h".to_owned()), block: None, address, leaving: false }
    }

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[test]
    fn an_address_that_is_leaving_the_stock_is_not_learnt_back_into_it() {
        let (shelf, block): (Shelf, BlockName) = (Shelf::default(), "4100-10-0-0-0-27".parse().unwrap());
        let owner = Owner::Namespace("test".to_owned());
        shelf.learn(block, owner.clone(), vec![at(1), at(2)], 5);
        let take =
            |name: &str| shelf.take(&mark(name), &owner, &[block], |_, address| held("test", Some(address)));
        assert_eq!(take("b"), Some((block, at(1))));
        // The object still says that it is stock.
        shelf.learn(block, owner.clone(), vec![at(1), at(2)], 5);
        assert_eq!(shelf.take(&mark("c"), &Owner::Everybody, &[block], |_, _| held("x", None)), None);
        assert_eq!((take("c"), take("d")), (Some((block, at(2))), None));
        // The pod goes before anybody wrote that it was there.
        shelf.leave(&mark("b"));
        shelf.learn(block, owner.clone(), vec![at(1), at(2)], 5);
        assert_eq!(take("d"), None);
        shelf.forget(&mark("b"));
        shelf.learn(block, owner.clone(), vec![at(1)], 5);
        assert_eq!(take("d"), Some((block, at(1))));
        assert_eq!((shelf.clear(block), shelf.has_stock()), (vec![], false));
    }

    #[test]
    fn what_a_pod_of_an_earlier_run_took_of_the_stock_is_given_to_nobody_else() {
        let (shelf, block): (Shelf, BlockName) = (Shelf::default(), "4100-10-0-0-0-27".parse().unwrap());
        let owner = Owner::Namespace("test".to_owned());
        // As it is restored: its daemon was killed before it wrote that the pod has it.
        shelf.hold(&mark("b"), Held { handle: None, ..held("test", Some(at(1))) });
        shelf.learn(block, owner.clone(), vec![at(1), at(2)], 5);
        let take =
            |name: &str| shelf.take(&mark(name), &owner, &[block], |_, address| held("test", Some(address)));
        assert_eq!((take("c"), take("d")), (Some((block, at(2))), None));
        shelf.forget(&mark("b"));
        shelf.learn(block, owner.clone(), vec![at(1)], 5);
        assert_eq!(take("d"), Some((block, at(1))));
    }

    #[test]
    fn stock_of_another_of_who_has_no_pods_and_of_what_is_wanted_is_superfluous() {
        let (shelf, block): (Shelf, BlockName) = (Shelf::default(), "4100-10-0-0-0-27".parse().unwrap());
        let mapping = |namespace: &str| Mapping {
            namespaces: [(namespace.to_owned(), vec![block])].into(),
            ..Mapping::default()
        };
        shelf.learn(block, Owner::Namespace("a".to_owned()), vec![at(1)], 5);
        assert_eq!(shelf.superfluous(&mapping("a")), [block]);
        shelf.hold(&mark("b"), held("a", Some(at(9))));
        assert_eq!(shelf.superfluous(&mapping("a")), []);
        assert_eq!(shelf.superfluous(&mapping("b")), [block]);
        shelf.is_wanted(block, true);
        assert_eq!(shelf.superfluous(&mapping("a")), [block]);
        shelf.are_wanted(BTreeSet::new());
        assert_eq!(shelf.superfluous(&mapping("a")), []);
        assert_eq!(shelf.clear(block), [at(1)]);
        assert!(shelf.knows("other", at(1)) && !shelf.knows("other", at(2)) && shelf.knows("h", at(2)));
        shelf.gone(&[at(1)]);
        assert!(!shelf.knows("other", at(1)));
    }

    #[test]
    fn what_a_block_says_of_pods_of_an_earlier_run_is_learnt() {
        let (shelf, block): (Shelf, BlockName) = (Shelf::default(), "4100-10-0-0-0-27".parse().unwrap());
        let restored = |address| Held { handle: None, ..held("test", Some(address)) };
        shelf.hold(&mark("b"), restored(at(1)));
        shelf.hold(&mark("c"), restored(at(2)));
        let nobody = Held { namespace: String::new(), pod: String::new(), ..restored(at(3)) };
        shelf.hold(&mark("d"), nobody);
        let holder = |pod: &str| {
            let told = [(NAMESPACE.to_owned(), "test".to_owned()), (POD.to_owned(), pod.to_owned())];
            Holder { handle: format!("test-{pod}-c1"), attributes: told.into() }
        };
        for (address, pod) in [(at(1), "other"), (at(1), "p"), (at(1), "late"), (at(3), "q")] {
            shelf.identify(block, address, &holder(pod));
        }
        let found = |name: &str| shelf.held(&mark(name)).map(|held| (held.handle, held.pod, held.block));
        let had = |pod: &str| Some((Some(format!("test-{pod}-c1")), pod.to_owned(), Some(block)));
        assert_eq!((found("b"), found("d")), (had("p"), had("q")));
        // One whose address is in stock, by the block.
        let heir = |address| shelf.heir(block, address, |_, pod| holder(&pod.name));
        assert_eq!((heir(at(1)), heir(at(2)), heir(at(2))), (None, Some(holder("p")), None));
        assert_eq!(found("c"), had("p"));
    }

    #[test]
    fn who_names_an_address_of_the_stock_has_it_and_no_other() {
        let (shelf, block): (Shelf, BlockName) = (Shelf::default(), "4100-10-0-0-0-27".parse().unwrap());
        let owner = Owner::Namespace("test".to_owned());
        shelf.learn(block, owner.clone(), vec![at(1), at(2)], 5);
        let take = |name: &str, owner: &Owner, address: Ipv4Addr| {
            let held = held("test", Some(address));
            shelf.take_this(&mark(name), owner, (block, address), held)
        };
        assert!(!take("b", &owner, at(3)) && !take("b", &Owner::Everybody, at(2)));
        assert!(take("b", &owner, at(2)) && !take("c", &owner, at(2)));
        shelf.learn(block, owner.clone(), vec![at(1), at(2)], 5);
        assert!(!take("c", &owner, at(2)), "whose it is is not written yet");
        assert_eq!(shelf.clear(block), [at(1)]);
    }

    #[test]
    fn what_comes_too_late_for_who_left_is_not_his() {
        let shelf = Shelf::default();
        shelf.hold(&mark("b"), held("a", None));
        assert!(shelf.got(&mark("b"), at(1)));
        shelf.leave(&mark("b"));
        assert!(!shelf.got(&mark("b"), at(1)));
        assert!(!shelf.got(&mark("c"), at(1)));
    }
}
