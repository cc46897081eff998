//! Where all that is wanted of blocks comes together: of each block there is one write at a time, which does all that has come by then.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::batch::{Outcome, Wish};
use super::choose::Owner;
use super::shelf::Shelf;
use super::stock::NodeStock;
use super::write::{Batch, Counts, Written, write};
use crate::client::Asker;
use crate::ipam::name::BlockName;
use crate::ipam::resources::IpamBlock;

/// How long what failed rests before it is tried again, the first time and at most; doubled each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One thing that is wanted of a block.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) block: BlockName,
    pub(super) wish: Wish,
    /// Whose the block is, and whether the node has several pods of that owner: what a stock depends on.
    pub(super) owner: Owner,
    pub(super) several: bool,
    /// The attachment that it is for.
    pub(super) mark: Option<AttachmentMark>,
    pub(super) done: oneshot::Sender<Result<Option<Outcome>>>,
}

/// The node, as far as blocks are told of it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) asker: Asker,
    pub(super) node: Arc<str>,
    pub(super) uid: Arc<str>,
    pub(super) counts: Arc<Counts>,
    pub(super) shelf: Arc<Shelf>,
}

/// What is known of one block.
#[derive(Default)]
struct Desk {
    queue: Vec<Order>,
    /// What failed and nobody else would order again. It comes first in the next write.
    kept: Vec<Order>,
    /// How often a write has failed since one did not.
    failures: u32,
    /// Whether what is kept rests.
    rests: bool,
    cached: Option<IpamBlock>,
    busy: bool,
}

impl Desk {
    /// What is to be written now: nothing while a write is under way, nor what is kept alone before it has `rested`.
    fn next(&mut self, rested: bool) -> Option<Vec<Order>> {
        self.rests &= !rested;
        let is_due = !self.queue.is_empty() || (rested && !self.kept.is_empty());
        if self.busy || !is_due {
            return None;
        }
        self.busy = true;
        Some(std::mem::take(&mut self.kept).into_iter().chain(self.queue.drain(..)).collect())
    }

    /// How long what is kept is to rest, unless it does, or goes along with what is written now.
    fn rest(&mut self) -> Option<Duration> {
        if self.busy || self.rests || self.kept.is_empty() {
            return None;
        }
        self.rests = true;
        let doubled = 1_u32 << self.failures.saturating_sub(1).min(10);
        Some(PAUSES.0.saturating_mul(doubled).min(PAUSES.1))
    }

    fn knows_nothing(&self) -> bool {
        let is_idle = !self.busy && !self.rests && self.queue.is_empty() && self.kept.is_empty();
        is_idle && self.cached.is_none()
    }
}

/// What one write was about, and what came of it.
struct Ended {
    block: BlockName,
    orders: Vec<Order>,
    written: Result<Option<Written>>,
}

/// Carries out orders until nobody can give any more. Dropping it ends the writes that are under way, each done or not.
pub(super) async fn work(writer: Writer, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut desks: HashMap<BlockName, Desk> = HashMap::new();
    let (mut writes, mut rests) = (JoinSet::new(), JoinSet::new());
    loop {
        // The writes and rests end by themselves: they neither panic nor are they aborted.
        let (block, rested) = tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                let block = order.block;
                desks.entry(block).or_default().queue.push(order);
                (block, false)
            }
            Some(Ok(ended)) = writes.join_next() => (end(&writer.shelf, &mut desks, ended), false),
            Some(Ok(block)) = rests.join_next() => (block, true),
        };
        let Some(desk) = desks.get_mut(&block) else { continue };
        if let Some(orders) = desk.next(rested) {
            writes.spawn(begin(writer.clone(), block, orders, desk.cached.take()));
        } else if let Some(pause) = desk.rest() {
            rests.spawn(async move {
                sleep(pause).await;
                block
            });
        } else if desk.knows_nothing() {
            desks.remove(&block);
        }
    }
}

async fn begin(writer: Writer, block: BlockName, orders: Vec<Order>, cached: Option<IpamBlock>) -> Ended {
    let several = orders.iter().any(|order| order.several);
    let owner = orders.last().map_or(Owner::Everybody, |order| order.owner.clone());
    let batch = Batch {
        block,
        wishes: orders.iter().map(|order| order.wish.clone()).collect(),
        stock: NodeStock::new(&writer.node, &writer.uid, &owner.to_string(), several),
        cached,
    };
    let written = write(&writer.asker, &writer.counts, batch).await;
    Ended { block, orders, written }
}

/// Notes what came of a write, and tells those who wait for it. Returns the block.
fn end(shelf: &Shelf, desks: &mut HashMap<BlockName, Desk>, ended: Ended) -> BlockName {
    let Ended { block, orders, written } = ended;
    let desk = desks.entry(block).or_default();
    desk.busy = false;
    let outcomes: Vec<Option<Outcome>> = match written {
        Ok(Some(written)) => {
            shelf.gone(&left_stock(&orders));
            let owner = orders.last().map_or(Owner::Everybody, |order| order.owner.clone());
            shelf.learn(block, owner.clone(), written.stock, written.free);
            if written.wanted {
                desk.queue.extend(give_up(shelf, block, owner));
            }
            desk.cached = written.object;
            written.outcomes.into_iter().map(Some).collect()
        }
        Ok(None) => {
            shelf.gone(&left_stock(&orders));
            shelf.learn(block, Owner::Everybody, Vec::new(), 0);
            vec![None; orders.len()]
        }
        Err(error) => {
            fail(desk, block, orders, &error);
            return block;
        }
    };
    desk.failures = 0;
    for (order, outcome) in orders.into_iter().zip(outcomes) {
        settle(shelf, &order, outcome.as_ref());
        // Whoever asked may have gone.
        let _ = order.done.send(Ok(outcome));
    }
    block
}

/// Tells those who wait that a write failed, and keeps what nobody waits for: the pod of a hand-over has its address already.
fn fail(desk: &mut Desk, block: BlockName, orders: Vec<Order>, error: &Error) {
    let is_kept = |order: &Order| matches!(order.wish, Wish::HandOver { .. } | Wish::Return { .. });
    let (kept, told): (Vec<_>, Vec<_>) = orders.into_iter().partition(is_kept);
    desk.failures = desk.failures.saturating_add(1);
    if !kept.is_empty() {
        tracing::warn!(%block, error = %error.chain(), "what became of the node's stock could not be written; it is tried again");
    }
    desk.kept = kept;
    for order in told {
        // As above.
        let _ = order.done.send(Err(again(error)));
    }
}

/// Has what the node has in stock of a block returned, where there is any.
fn give_up(shelf: &Shelf, block: BlockName, owner: Owner) -> Option<Order> {
    let addresses = shelf.clear(block);
    let (done, _) = oneshot::channel();
    let wish = Wish::Return { addresses: addresses.clone() };
    (!addresses.is_empty()).then_some(Order { block, wish, owner, several: false, mark: None, done })
}

/// The addresses that orders take out of the stock in the block's object.
fn left_stock(orders: &[Order]) -> Vec<Ipv4Addr> {
    let left = |wish: &Wish| match wish {
        Wish::HandOver { address, .. } => vec![*address],
        Wish::Return { addresses } => addresses.clone(),
        Wish::Any { .. } | Wish::This { .. } | Wish::Release { .. } | Wish::Give { .. } | Wish::Restock => {
            Vec::new()
        }
    };
    orders.iter().flat_map(|order| left(&order.wish)).collect()
}

/// Notes what became of the attachment that an order was for. That is done here, as whoever ordered may have gone.
fn settle(shelf: &Shelf, order: &Order, outcome: Option<&Outcome>) {
    let Some(mark) = &order.mark else { return };
    match (&order.wish, outcome) {
        (Wish::Any { .. } | Wish::This { .. }, Some(Outcome::Claimed(address))) => {
            shelf.got(mark, *address);
        }
        (Wish::Release { .. } | Wish::Give { .. }, _) => shelf.forget(mark),
        _ => {}
    }
}

/// The same error for each of those who wait.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), "change the addresses of", "a block").detail(error.chain())
}

/// Gives an order, and waits for what comes of it; `None` for a block that is not there.
///
/// # Errors
/// Those of the write. Dropping the future does not call the order off.
pub(super) async fn order(
    orders: &mpsc::UnboundedSender<Order>,
    order: impl FnOnce(oneshot::Sender<Result<Option<Outcome>>>) -> Order,
) -> Result<Option<Outcome>> {
    let (done, heard) = oneshot::channel();
    let ended = || {
        Error::new(ErrorKind::Cancelled, "change", "a block")
            .detail("the node's addresses are no longer kept")
    };
    orders.send(order(done)).map_err(|_| ended())?;
    heard.await.map_err(|_| ended())?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ipam::block::Holder;

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn block() -> BlockName {
        "4100-10-0-0-0-27".parse().unwrap()
    }

    fn ordered(wish: Wish) -> Order {
        let (done, _) = oneshot::channel();
        Order { block: block(), wish, owner: Owner::Everybody, several: true, mark: None, done }
    }

    fn ended(orders: Vec<Order>, written: Result<Option<Written>>) -> Ended {
        Ended { block: block(), orders, written }
    }

    fn written(stock: &[Ipv4Addr], wanted: bool) -> Written {
        let stock = stock.to_vec();
        Written { outcomes: vec![Outcome::Done], object: None, stock, free: 9, wanted }
    }

    fn wishes_of(orders: &[Order]) -> Vec<Wish> {
        orders.iter().map(|order| order.wish.clone()).collect()
    }

    fn queued(desks: &HashMap<BlockName, Desk>) -> Vec<Wish> {
        wishes_of(&desks[&block()].queue)
    }

    #[test]
    fn stock_of_a_block_that_is_wanted_goes_back_as_soon_as_it_is_seen() {
        let (shelf, mut desks) = (Shelf::default(), HashMap::new());
        let stock = [at(4), at(5)];
        end(&shelf, &mut desks, ended(vec![ordered(Wish::Restock)], Ok(Some(written(&stock, false)))));
        assert!(shelf.has_stock() && queued(&desks).is_empty());
        end(&shelf, &mut desks, ended(vec![ordered(Wish::Restock)], Ok(Some(written(&stock, true)))));
        assert_eq!(queued(&desks), [Wish::Return { addresses: stock.to_vec() }]);
        assert!(!shelf.has_stock());
    }

    #[test]
    fn what_nobody_would_order_again_is_tried_until_it_is_done() {
        let (shelf, mut desks) = (Shelf::default(), HashMap::new());
        let holder = Holder { handle: "test-p-c1".to_owned(), attributes: BTreeMap::new() };
        let hand_over = Wish::HandOver { holder, address: at(4) };
        let give_back = Wish::Return { addresses: vec![at(5)] };
        let failed = || Err(Error::new(ErrorKind::Transient, "change", "a block"));
        shelf.learn(block(), Owner::Everybody, vec![at(5)], 9);
        assert_eq!(shelf.clear(block()), [at(5)]);
        let wishes = [hand_over.clone(), Wish::Restock, give_back.clone()];
        let mut orders: Vec<Order> = wishes.map(ordered).into();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs) {
            end(&shelf, &mut desks, ended(orders, failed()));
            let desk = desks.get_mut(&block()).unwrap();
            assert!(desk.next(false).is_none(), "it rests");
            assert_eq!((desk.rest(), desk.rest()), (Some(pause), None), "once at a time");
            assert!(!desk.knows_nothing() && shelf.knows("other", at(5)));
            orders = desk.next(true).unwrap();
            assert_eq!(wishes_of(&orders), [hand_over.clone(), give_back.clone()]);
        }
        // What comes meanwhile is not kept waiting, and comes after it.
        end(&shelf, &mut desks, ended(orders, failed()));
        let desk = desks.get_mut(&block()).unwrap();
        let release = Wish::Release { handle: "test-p-c1".to_owned() };
        desk.queue.push(ordered(release.clone()));
        let orders = desk.next(false).unwrap();
        assert_eq!(wishes_of(&orders), [hand_over, give_back, release]);
        let done = Written { outcomes: vec![Outcome::Done; 3], ..written(&[], false) };
        end(&shelf, &mut desks, ended(orders, Ok(Some(done))));
        assert!(desks[&block()].knows_nothing() && !shelf.knows("other", at(5)));
    }
}
