//! Addresses for the pods of one node, out of the cluster's blocks.
//!
//! Of each block a node has one write under way at a time, which does all that was wanted by then, and is tried again when another
//! node was faster. A node with several pods of a namespace keeps some addresses in stock, in the block itself, so that its next pod
//! need not wait for the API server; what a pod took of it is written afterwards.

mod batch;
mod choose;
mod claim;
mod desk;
mod handle;
mod handles;
mod keep;
mod pools;
mod scan;
mod shelf;
mod stock;
mod usage;
mod view;
mod write;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::attachment::{AttachmentMark, PodRef};
use hostnic_core::ipam::{AddressRequest, AddressSource, ClaimedAddress};
use hostnic_core::pods::PodDirectory;
use hostnic_core::{Error, ErrorKind, Result};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::block::Holder;
use super::mapping::Mapping;
use super::name::BlockName;
use crate::client::{Asker, connect};
use crate::config::{Access, NodeName};
use crate::error::ConnectError;
use batch::{Outcome, Wish};
use choose::{Owner, made_block_of};
use desk::{Order, Writer, order, work};
pub(in crate::ipam) use handle::POD;
use handles::Mark;
pub(in crate::ipam) use handles::object as handle_object;
use pools::Pools;
use shelf::{Held, Shelf};
use stock::NodeStock;
pub(in crate::ipam) use stock::{NAMESPACE, NODE, UID, is_stock};
use usage::Failures;
pub use usage::{AddressFailures, AddressFigures, AddressUsage};
use view::View;
use write::Counts;
pub(in crate::ipam) use write::WANTED;

/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(10);
const CLAIM: &str = "claim an address for";

/// How many requests were made for addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressCounts {
    /// Blocks that were read.
    pub reads: u64,
    /// Writes of blocks and handles, those included that somebody else was faster with.
    pub writes: u64,
    /// Writes that somebody else was faster with.
    pub conflicts: u64,
}

/// Addresses for the pods of one node, out of the cluster's IPAMBlocks, as ConfigMap `hostnic-ipam-config` says.
///
/// What it does in the background ends when this is dropped; what was ordered by then is done or not, and found by the next one.
#[derive(Debug)]
pub struct BlockAddresses {
    inner: Arc<Inner>,
    figures: AddressFigures,
    _tasks: JoinSet<()>,
}

/// What all tasks share.
struct Inner {
    writer: Writer,
    view: View,
    pools: Pools,
    failures: Arc<Failures>,
    orders: mpsc::UnboundedSender<Order>,
    handles: mpsc::UnboundedSender<(String, Mark)>,
    /// Where this node begins to look.
    start: u64,
    /// Whether pods hold addresses here that are no attachment's, as far as a scan has seen.
    strangers: watch::Sender<bool>,
    /// Where pods are told at once what only a person can mend.
    pods: Option<Arc<dyn PodDirectory>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockAddresses")
            .field("node", &self.writer.node)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

impl BlockAddresses {
    /// Begins to follow the cluster for the node of this name and uid. Waits for no answer of the API server. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn connect(
        access: &Access,
        node: &NodeName,
        uid: &str,
    ) -> std::result::Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        Ok(Self::begin(asker, node, uid, None))
    }

    pub(crate) fn begin(
        asker: Asker,
        node: &NodeName,
        uid: &str,
        pods: Option<Arc<dyn PodDirectory>>,
    ) -> Self {
        let start = start(uid);
        let writer = Writer {
            asker: asker.clone(),
            node: node.as_str().into(),
            uid: uid.into(),
            counts: Arc::new(Counts::new(start)),
            shelf: Arc::new(Shelf::default()),
        };
        let (orders, ordered) = mpsc::unbounded_channel();
        let (handles, left) = mpsc::unbounded_channel();
        let view = View::new(asker.clone());
        let pools = Pools::new(asker.clone());
        let failures = Arc::new(Failures::default());
        let figures = AddressFigures::new(failures.clone(), view.clone());
        let inner = Arc::new(Inner {
            writer: writer.clone(),
            view: view.clone(),
            pools,
            failures,
            orders,
            handles,
            start,
            strangers: watch::Sender::new(false),
            pods,
        });
        let (counting, heard) = watch::channel(Arc::new(Mapping::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(work(writer.clone(), ordered));
        tasks.spawn(figures.clone().follow(asker.clone()));
        tasks.spawn(handles::write(asker, writer.counts, left));
        tasks.spawn(view.follow(counting));
        tasks.spawn(keep::mapping(inner.clone(), heard));
        tasks.spawn(keep::fresh(inner.clone()));
        tasks.spawn(keep::wanted(inner.clone()));
        tasks.spawn(keep::strangers(inner.clone()));
        Self { inner, figures, _tasks: tasks }
    }

    /// Takes over what this node has of an earlier run, and gives back what it should not have. To be called when all attachments of
    /// the node are known, by [`restore`](AddressSource::restore); may be called again at any time.
    ///
    /// # Errors
    /// `Transient` where the API server does not answer; then part of it may be done.
    pub async fn settle(&self) -> Result<()> {
        self.inner.scan().await
    }

    /// How much of the cluster's addresses is whose, for metrics.
    pub fn figures(&self) -> AddressFigures {
        self.figures.clone()
    }

    /// How many requests were made so far.
    pub fn counts(&self) -> AddressCounts {
        let counts = &self.inner.writer.counts;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        AddressCounts {
            reads: read(&counts.reads),
            writes: read(&counts.writes),
            conflicts: read(&counts.conflicts),
        }
    }
}

/// Unlike that of most other nodes.
fn start(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

#[async_trait]
impl AddressSource for BlockAddresses {
    async fn restore(&self, held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)]) -> Result<()> {
        for (mark, pod, claimed) in held {
            let IpAddr::V4(address) = claimed.address.addr() else { continue };
            let pod = pod.as_ref();
            let held = Held {
                namespace: pod.map(|pod| pod.namespace.clone()).unwrap_or_default(),
                pod: pod.map(|pod| pod.name.clone()).unwrap_or_default(),
                handle: None,
                block: None,
                address: Some(address),
                leaving: false,
            };
            if self.inner.writer.shelf.held(mark).is_none() {
                self.inner.writer.shelf.hold(mark, held);
            }
        }
        Ok(())
    }

    async fn settled(&self) -> Result<()> {
        self.settle().await
    }

    async fn claim(&self, request: &AddressRequest) -> Result<ClaimedAddress> {
        let until = Instant::now() + request.patience;
        let mut trouble = None;
        match timeout_at(until, self.inner.claim(request, &mut trouble)).await {
            Ok(claimed) => claimed,
            Err(_) => Err(trouble.unwrap_or_else(|| {
                Error::new(ErrorKind::Transient, CLAIM, &request.key)
                    .detail("the API server did not answer in time")
            })),
        }
    }

    async fn release(&self, mark: &AttachmentMark) -> Result<()> {
        let Some(held) = self.inner.writer.shelf.leave(mark) else { return Ok(()) };
        self.inner.release(mark, held).await
    }
}

impl Inner {
    /// Gives an order that nobody waits for.
    fn order_later(&self, block: BlockName, wish: Wish, owner: Owner, mapping: &Mapping) {
        let several = self.writer.shelf.has_pods(&owner, mapping, None);
        let (done, _) = oneshot::channel();
        // Where nobody takes orders any more, this ends as well.
        let _ = self.orders.send(Order { block, wish, owner, several, mark: None, done });
    }

    async fn release(&self, mark: &AttachmentMark, held: Held) -> Result<()> {
        let mapping = self.view.last();
        let block = match (held.block, held.address) {
            (Some(block), _) => Some(block),
            (None, Some(address)) => made_block_of(address, &self.pools.places(false).await?),
            (None, None) => None,
        };
        let Some(block) = block else {
            self.writer.shelf.forget(mark);
            return Ok(());
        };
        let wish = match (&held.handle, held.address) {
            (Some(handle), _) => Wish::Release { handle: handle.clone() },
            (None, Some(address)) => Wish::Give { address, node: self.writer.node.to_string() },
            (None, None) => return Ok(()),
        };
        let owner = Owner::of_block(block, &mapping);
        let several = self.writer.shelf.has_pods(&owner, &mapping, None);
        let mark = Some(mark.clone());
        let outcome = order(&self.orders, |done| Order { block, wish, owner, several, mark, done }).await?;
        let told = match outcome {
            Some(Outcome::Given { handle }) => handle.filter(|handle| !is_stock(handle)),
            _ => None,
        };
        if let Some(handle) = held.handle.or(told) {
            self.handle_gone(&handle);
        }
        Ok(())
    }

    fn holder(&self, request: &AddressRequest) -> Holder {
        handle::holder(&request.pod, &request.key.container, &self.writer.node, Timestamp::now())
    }

    fn own_stock(&self) -> String {
        NodeStock::new(&self.writer.node, &self.writer.uid, "", false).handle().to_owned()
    }

    fn handle_holds(&self, handle: &str, block: BlockName) {
        let _ = self.handles.send((handle.to_owned(), Mark::Holds(block)));
    }

    fn handle_gone(&self, handle: &str) {
        let _ = self.handles.send((handle.to_owned(), Mark::Gone));
    }

    /// Returns all of the stock in a block.
    fn return_stock(&self, block: BlockName, mapping: &Mapping) {
        let addresses = self.writer.shelf.clear(block);
        if !addresses.is_empty() {
            self.order_later(block, Wish::Return { addresses }, Owner::of_block(block, mapping), mapping);
        }
    }
}
