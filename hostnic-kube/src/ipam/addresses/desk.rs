//! Where all that is wanted of blocks comes together: of each block there is one write at a time, which does all that has come by then.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::batch::{Outcome, Wish};
use super::choose::Owner;
use super::shelf::Shelf;
use super::stock::NodeStock;
use super::write::{Batch, Counts, Written, write};
use crate::client::Asker;
use crate::ipam::name::BlockName;
use crate::ipam::resources::IpamBlock;

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
    cached: Option<IpamBlock>,
    busy: bool,
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
    let mut writes = JoinSet::new();
    loop {
        let block = tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                let block = order.block;
                desks.entry(block).or_default().queue.push(order);
                block
            }
            Some(ended) = writes.join_next() => {
                // The writes end by themselves: they neither panic nor are they aborted.
                let Ok(ended) = ended else { continue };
                end(&writer.shelf, &mut desks, ended)
            }
        };
        let Some(desk) = desks.get_mut(&block).filter(|desk| !desk.busy) else { continue };
        if desk.queue.is_empty() {
            if desk.cached.is_none() {
                desks.remove(&block);
            }
            continue;
        }
        desk.busy = true;
        let (taken, cached) = (std::mem::take(&mut desk.queue), desk.cached.take());
        writes.spawn(begin(writer.clone(), block, taken, cached));
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
    let (outcomes, failed) = match written {
        Ok(Some(written)) => {
            for order in &orders {
                shelf.gone(&left_stock(&order.wish));
            }
            let owner = orders.last().map_or(Owner::Everybody, |order| order.owner.clone());
            shelf.learn(block, owner.clone(), written.stock, written.free);
            if written.wanted {
                desk.queue.extend(give_up(shelf, block, owner));
            }
            desk.cached = written.object;
            (written.outcomes.into_iter().map(Some).collect(), None)
        }
        Ok(None) => {
            shelf.learn(block, Owner::Everybody, Vec::new(), 0);
            (vec![None; orders.len()], None)
        }
        Err(error) => {
            // What could not be returned is stock again as soon as the block is seen next.
            for order in &orders {
                if let Wish::Return { addresses } = &order.wish {
                    shelf.gone(addresses);
                }
            }
            (vec![None; orders.len()], Some(error))
        }
    };
    for (order, outcome) in orders.into_iter().zip::<Vec<Option<Outcome>>>(outcomes) {
        settle(shelf, &order, outcome.as_ref(), failed.is_some());
        let answer = match &failed {
            None => Ok(outcome),
            Some(error) => Err(again(error)),
        };
        // Whoever asked may have gone.
        let _ = order.done.send(answer);
    }
    block
}

/// Has what the node has in stock of a block returned, where there is any.
fn give_up(shelf: &Shelf, block: BlockName, owner: Owner) -> Option<Order> {
    let addresses = shelf.clear(block);
    let (done, _) = oneshot::channel();
    let wish = Wish::Return { addresses: addresses.clone() };
    (!addresses.is_empty()).then_some(Order { block, wish, owner, several: false, mark: None, done })
}

/// The addresses that a wish takes out of the stock in the block's object.
fn left_stock(wish: &Wish) -> Vec<Ipv4Addr> {
    match wish {
        Wish::HandOver { address, .. } => vec![*address],
        Wish::Return { addresses } => addresses.clone(),
        Wish::Any { .. } | Wish::This { .. } | Wish::Release { .. } | Wish::Give { .. } | Wish::Restock => {
            Vec::new()
        }
    }
}

/// Notes what became of the attachment that an order was for. That is done here, as whoever ordered may have gone.
fn settle(shelf: &Shelf, order: &Order, outcome: Option<&Outcome>, failed: bool) {
    let Some(mark) = &order.mark else { return };
    match (&order.wish, outcome) {
        (Wish::Any { .. } | Wish::This { .. }, Some(Outcome::Claimed(address))) => {
            shelf.got(mark, *address);
        }
        (Wish::Release { .. } | Wish::Give { .. }, _) if !failed => shelf.forget(mark),
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
    use super::*;

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

    fn queued(desks: &HashMap<BlockName, Desk>) -> Vec<Wish> {
        desks[&block()].queue.iter().map(|order| order.wish.clone()).collect()
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
}
