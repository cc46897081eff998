//! How many of the cluster's addresses are whose, for metrics, and how often a pod of this node got none.
//!
//! Blocks are followed only while somebody asks: a node needs no others' blocks for its pods, and each change of a block is told to
//! all who follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use hostnic_core::{Error, Refusal};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::choose::Owner;
use super::view::View;
use crate::client::Asker;
use crate::follow::events_of;
use crate::ipam::block::{Block, Usage};
use crate::ipam::mapping::Mapping;
use crate::ipam::name::BlockName;
use crate::ipam::resources::{IpamBlock, label};

/// For how long blocks are followed after somebody asked: longer than any who asks regularly is away.
const ASKED: Duration = Duration::from_secs(5 * 60);
/// How many blocks are listed at a time.
const PAGE: u32 = 100;

/// How many addresses are whose, in parts of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressUsage {
    /// By vxnet.
    pub vxnets: BTreeMap<String, Usage>,
    /// By block.
    pub blocks: BTreeMap<String, Usage>,
    /// Of the blocks of each namespace; of those that no namespace has by `None`.
    pub namespaces: BTreeMap<Option<String>, Usage>,
}

/// How often something could not be had or given back, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressFailures {
    /// A try to have an address of a namespace's own blocks.
    pub from_blocks: u64,
    /// A try to have one of the vxnets of `Default`.
    pub from_pools: u64,
    /// A try for a namespace that has neither.
    pub from_nowhere: u64,
}

/// The same, counted. A pod that waits for an address tries about once a second, and each of these tries counts.
#[derive(Debug, Default)]
pub(super) struct Failures {
    from_blocks: AtomicU64,
    from_pools: AtomicU64,
    from_nowhere: AtomicU64,
}

impl Failures {
    /// A try was in vain. Those of pods that ask for certain addresses are not counted, of which there may be plenty besides.
    pub(super) fn note(&self, error: &Error, namespace: &str, mapping: &Mapping) {
        let counter = match error.refusal() {
            Some(Refusal::CandidatesForeign { .. } | Refusal::CandidatesTaken { .. }) => return,
            Some(Refusal::NoBlock { .. }) => &self.from_nowhere,
            _ => match Owner::of_pods(namespace, mapping) {
                Owner::Namespace(_) => &self.from_blocks,
                Owner::Everybody => &self.from_pools,
            },
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> AddressFailures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AddressFailures {
            from_blocks: read(&self.from_blocks),
            from_pools: read(&self.from_pools),
            from_nowhere: read(&self.from_nowhere),
        }
    }
}

/// What metrics tell of a cluster's addresses. Answers from memory.
#[derive(Clone)]
pub struct AddressFigures {
    known: Arc<Known>,
    failures: Arc<Failures>,
    view: View,
}

impl fmt::Debug for AddressFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressFigures").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl AddressFigures {
    pub(super) fn new(failures: Arc<Failures>, view: View) -> Self {
        Self { known: Arc::default(), failures, view }
    }

    /// How many addresses are whose; `None` while that is not known, as it is for a moment after the first question, and after one
    /// that comes long after the one before.
    pub fn usage(&self) -> Option<AddressUsage> {
        self.known.asked.send_replace(Some(Instant::now()));
        let mapping = self.view.known()?;
        let blocks = self.known.blocks();
        let listed = blocks.listed.as_ref()?;
        let owned = mapping
            .namespaces
            .iter()
            .flat_map(|(namespace, blocks)| blocks.iter().map(move |block| (*block, namespace)));
        let owners: BTreeMap<BlockName, &String> = owned.collect();
        let mut usage = AddressUsage::default();
        for (name, (pool, of_block)) in listed {
            add(usage.vxnets.entry(pool.to_string()).or_default(), *of_block);
            usage.blocks.insert(name.to_string(), *of_block);
            let namespace = owners.get(name).map(|namespace| (*namespace).clone());
            add(usage.namespaces.entry(namespace).or_default(), *of_block);
        }
        Some(usage)
    }

    /// How often a pod of this node got no address.
    pub fn failures(&self) -> AddressFailures {
        self.failures.read()
    }

    /// Follows the blocks while somebody asks. Never ends.
    pub(super) async fn follow(self, asker: Asker) {
        let mut asked = self.known.asked.subscribe();
        loop {
            // The sender lives as long as this.
            let _ = asked.wait_for(|at| at.is_some_and(|at| at.elapsed() < ASKED)).await;
            let blocks: Api<IpamBlock> = Api::all(asker.client.clone());
            let config = watcher::Config::default().page_size(PAGE);
            let mut events = pin!(events_of(blocks, config, "IPAMBlocks"));
            tokio::select! {
                () = self.known.hear_all(&mut events) => {}
                () = until_nobody_asks(asked.clone()) => {}
            }
            *self.known.blocks() = Blocks::default();
        }
    }
}

/// Waits until nobody has asked for long.
async fn until_nobody_asks(mut asked: watch::Receiver<Option<Instant>>) {
    loop {
        let until = asked.borrow_and_update().map_or_else(Instant::now, |at| at + ASKED);
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

fn add(sum: &mut Usage, of_block: Usage) {
    sum.capacity += of_block.capacity;
    sum.reserved += of_block.reserved;
    sum.allocated += of_block.allocated;
    sum.free += of_block.free;
}

/// The blocks, as far as is told of them.
#[derive(Debug, Default)]
struct Known {
    blocks: Mutex<Blocks>,
    asked: watch::Sender<Option<Instant>>,
}

/// Each block's vxnet, and how much of it is whose.
type Listed = BTreeMap<BlockName, (Arc<str>, Usage)>;

#[derive(Debug, Default)]
struct Blocks {
    /// `None` before all were listed once.
    listed: Option<Listed>,
    /// What a list under way has told so far.
    listing: Listed,
    /// The names of the vxnets, each kept once.
    vxnets: BTreeSet<Arc<str>>,
}

impl Known {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        // It is changed by single steps that leave it whole.
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear_all(&self, mut events: impl futures::Stream<Item = Event<IpamBlock>> + Unpin) {
        while let Some(event) = events.next().await {
            self.blocks().hear(event);
        }
    }
}

impl Blocks {
    fn hear(&mut self, event: Event<IpamBlock>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                if let Some((name, seen)) = self.seen(&object) {
                    self.listing.insert(name, seen);
                }
            }
            Event::InitDone => self.listed = Some(std::mem::take(&mut self.listing)),
            Event::Apply(object) => {
                if let (Some((name, seen)), Some(listed)) = (self.seen(&object), &mut self.listed) {
                    listed.insert(name, seen);
                }
            }
            Event::Delete(object) => {
                let name = object.name_any().parse::<BlockName>();
                if let (Ok(name), Some(listed)) = (name, &mut self.listed) {
                    listed.remove(&name);
                }
            }
        }
    }

    /// `None` for an object that tells of no addresses.
    fn seen(&mut self, object: &IpamBlock) -> Option<(BlockName, (Arc<str>, Usage))> {
        let (block, _) = Block::read(&object.spec)?;
        let vxnet = object.labels().get(label::POOL).map_or("", String::as_str);
        let vxnet = match self.vxnets.get(vxnet) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = vxnet.into();
                self.vxnets.insert(new.clone());
                new
            }
        };
        Some((block.name(), (vxnet, block.usage())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::block::Holder;

    fn object(number: u8, vxnet: &str, taken: usize) -> IpamBlock {
        let name = BlockName::new(4100, format!("10.0.0.{}/30", number * 4).parse().unwrap());
        let mut block =
            Block::new(name, &("10.0.0.1".parse().unwrap()..="10.0.0.255".parse().unwrap())).unwrap();
        for _ in 0..taken {
            block.claim(&Holder { handle: "h".to_owned(), attributes: BTreeMap::new() }).unwrap();
        }
        let mut object = IpamBlock::new(&name.to_string(), block.write());
        object.metadata.labels = Some([(label::POOL.to_owned(), vxnet.to_owned())].into());
        object
    }

    fn told(blocks: &Blocks) -> Vec<(String, String, u32, u32)> {
        let listed = blocks.listed.iter().flatten();
        listed
            .map(|(name, (vxnet, usage))| (name.to_string(), vxnet.to_string(), usage.allocated, usage.free))
            .collect()
    }

    #[test]
    fn blocks_are_told_when_all_were_listed_and_as_they_change() {
        let mut blocks = Blocks::default();
        blocks.hear(Event::Init);
        blocks.hear(Event::InitApply(object(0, "vxnet-a", 1)));
        assert!(blocks.listed.is_none(), "half of it would look like a cluster that is nearly full");
        blocks.hear(Event::InitApply(object(1, "vxnet-b", 0)));
        blocks.hear(Event::InitDone);
        let first = ("4100-10-0-0-0-30".to_owned(), "vxnet-a".to_owned(), 1, 2);
        let second = ("4100-10-0-0-4-30".to_owned(), "vxnet-b".to_owned(), 0, 4);
        assert_eq!(told(&blocks), [first.clone(), second.clone()]);
        blocks.hear(Event::Apply(object(1, "vxnet-b", 3)));
        assert_eq!(told(&blocks)[1].2, 3);
        // A list that begins anew takes nothing away before it is whole.
        blocks.hear(Event::Init);
        blocks.hear(Event::InitApply(object(1, "vxnet-b", 0)));
        assert_eq!(told(&blocks).len(), 2);
        blocks.hear(Event::InitDone);
        assert_eq!(told(&blocks), [second]);
        blocks.hear(Event::Delete(object(1, "vxnet-b", 0)));
        assert_eq!(told(&blocks), []);
    }
}
