//! The blocks of the cluster, as a watch tells them: of each so little that many can be known.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};
use tokio::sync::{Notify, watch};

use super::super::block::{Block, Usage};
use super::super::name::BlockName;
use super::super::resources::{IpamBlock, label};
use super::store::{PAGE, Store};
use crate::follow::events_of;

/// What is known of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: BlockName,
    pub(super) usage: Usage,
    /// Whether no address of it is given to anybody any more.
    pub(super) closed: bool,
    /// Whether nobody has ever had an address of it.
    pub(super) fresh: bool,
}

impl Seen {
    /// `None` for an object that tells of no block.
    fn of(object: &IpamBlock) -> Option<Self> {
        let (block, _) = Block::read(&object.spec)?;
        Some(Self {
            name: block.name(),
            usage: block.usage(),
            closed: object.spec.deleted,
            fresh: object.metadata.generation == Some(1),
        })
    }
}

/// All blocks, by pool.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    known: Mutex<Known>,
    listed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    /// By the name of the object. `None` for one that cannot be read, which may be anybody's.
    blocks: BTreeMap<Box<str>, (Arc<str>, Option<Seen>)>,
    /// The names of the pools, each kept once.
    pools: BTreeSet<Arc<str>>,
    /// The names that a list under way has told so far.
    listing: Option<BTreeSet<Box<str>>>,
}

impl Blocks {
    fn known(&self) -> MutexGuard<'_, Known> {
        // It is changed by single inserts and removals only.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all blocks were listed once.
    pub(super) async fn listed(&self) {
        // The sender lives as long as this.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// The blocks of a pool. `None` in the place of those that cannot be read.
    pub(super) fn of_pool(&self, pool: &str) -> Vec<Option<Seen>> {
        let known = self.known();
        known.blocks.values().filter(|(of, _)| &**of == pool).map(|(_, seen)| *seen).collect()
    }

    /// All blocks that can be read, each with its pool.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Seen)> {
        let known = self.known();
        known.blocks.values().filter_map(|(of, seen)| Some((of.clone(), (*seen)?))).collect()
    }

    /// Notes a block that was read or written by ourselves. Says whether a namespace may need another one now.
    pub(super) fn note(&self, object: &IpamBlock) -> bool {
        let Some(name) = object.metadata.name.as_deref() else { return false };
        let pool = object.labels().get(label::POOL).map_or("", String::as_str);
        let mut known = self.known();
        let pool = known.pool(pool);
        let seen = Seen::of(object);
        let before = known.blocks.insert(name.into(), (pool, seen)).and_then(|(_, seen)| seen);
        let is_full = |seen: Option<Seen>| seen.is_none_or(|seen| seen.usage.free == 0);
        is_full(seen) && !is_full(before)
    }

    /// Forgets a block that is gone.
    pub(super) fn forget(&self, name: &str) {
        self.known().blocks.remove(name);
    }

    fn hear(&self, event: Event<IpamBlock>) -> bool {
        match event {
            Event::Init => self.known().listing = Some(BTreeSet::new()),
            Event::InitApply(object) => {
                let name: Box<str> = object.name_any().into();
                if let Some(listing) = &mut self.known().listing {
                    listing.insert(name);
                }
                self.note(&object);
            }
            Event::InitDone => {
                let mut known = self.known();
                if let Some(listing) = known.listing.take() {
                    known.blocks.retain(|name, _| listing.contains(name));
                }
                drop(known);
                self.listed.send_replace(true);
                return true;
            }
            Event::Apply(object) => return self.note(&object),
            Event::Delete(object) => {
                self.forget(&object.name_any());
                return true;
            }
        }
        false
    }
}

impl Known {
    fn pool(&mut self, name: &str) -> Arc<str> {
        if let Some(pool) = self.pools.get(name) {
            return pool.clone();
        }
        let pool: Arc<str> = name.into();
        self.pools.insert(pool.clone());
        pool
    }
}

/// Follows the blocks, and tells when one is gone or full. Never ends.
pub(super) async fn follow(store: Store, blocks: Arc<Blocks>, changed: Arc<Notify>) {
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(events_of(store.all::<IpamBlock>(), config, "IPAMBlocks"));
    while let Some(event) = events.next().await {
        if blocks.hear(event) {
            changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::block::Holder;

    fn object(number: u8, pool: &str, taken: usize) -> IpamBlock {
        let name = BlockName::new(4100, format!("10.0.0.{}/30", number * 4).parse().unwrap());
        let mut block =
            Block::new(name, &("10.0.0.0".parse().unwrap()..="10.0.0.255".parse().unwrap())).unwrap();
        let holder = Holder { handle: "h".to_owned(), attributes: BTreeMap::new() };
        for _ in 0..taken {
            block.claim(&holder).unwrap();
        }
        let mut object = IpamBlock::new(&name.to_string(), block.write());
        object.metadata.labels = Some([(label::POOL.to_owned(), pool.to_owned())].into());
        object.metadata.generation = Some(if taken == 0 { 1 } else { 2 });
        object
    }

    #[test]
    fn a_list_replaces_what_was_known_and_news_are_told_where_somebody_must_act() {
        let blocks = Blocks::default();
        assert!(!blocks.hear(Event::Apply(object(9, "vxnet-a", 1))));
        blocks.hear(Event::Init);
        blocks.hear(Event::InitApply(object(0, "vxnet-a", 0)));
        blocks.hear(Event::InitApply(object(1, "vxnet-b", 0)));
        assert!(blocks.hear(Event::InitDone));
        let of_a = blocks.of_pool("vxnet-a");
        assert_eq!(of_a.len(), 1);
        assert!(of_a[0].is_some_and(|seen| seen.fresh && seen.usage.free == 4));
        assert!(!blocks.hear(Event::Apply(object(0, "vxnet-a", 3))));
        assert!(blocks.hear(Event::Apply(object(0, "vxnet-a", 4))), "it is full");
        assert!(!blocks.hear(Event::Apply(object(0, "vxnet-a", 4))), "that is no news");
        assert!(blocks.hear(Event::Delete(object(1, "vxnet-b", 0))));
        assert_eq!(blocks.of_pool("vxnet-b"), []);
        let mut unreadable = object(2, "vxnet-b", 0);
        unreadable.spec.cidr = "nothing".to_owned();
        blocks.note(&unreadable);
        assert_eq!(blocks.of_pool("vxnet-b"), [None]);
        assert_eq!(blocks.all().iter().map(|(pool, _)| &**pool).collect::<Vec<_>>(), ["vxnet-a"]);
    }
}
