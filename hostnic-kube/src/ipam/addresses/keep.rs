//! What is done without anybody's asking: the stock is kept as small as it is to be, and what is known as fresh.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hostnic_core::Result;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Inner;
use super::view::{COUNTS, View};
use super::write::WANTED;
use crate::follow::events_of;
use crate::ipam::mapping::Mapping;
use crate::ipam::name::BlockName;
use crate::ipam::resources::IpamBlock;

/// How often the mapping is asked for while there is stock that depends on it.
const FRESH: Duration = Duration::from_secs(4);

/// How soon it is looked whether pods are gone that hold addresses and are no attachments.
const STRANGERS: Duration = Duration::from_secs(600);

const _: () = assert!(FRESH.as_secs() * 2 < COUNTS.as_secs());

/// Returns stock of blocks that are another's by now. Never ends.
pub(super) async fn mapping(inner: Arc<Inner>, mut heard: watch::Receiver<Arc<Mapping>>) {
    loop {
        View::changed(&mut heard).await;
        let mapping = heard.borrow_and_update().clone();
        tidy(&inner, &mapping);
    }
}

/// Keeps what is known of the mapping fresh, as long as there is stock. Never ends.
pub(super) async fn fresh(inner: Arc<Inner>) {
    loop {
        sleep(FRESH).await;
        if !inner.writer.shelf.has_stock() {
            continue;
        }
        match inner.view.ask().await {
            Ok(mapping) => tidy(&inner, &mapping),
            Err(error) => {
                tracing::debug!(error = %error.chain(), "it is not known whose the blocks are; the stock is not used meanwhile");
            }
        }
    }
}

fn tidy(inner: &Inner, mapping: &Mapping) {
    for block in inner.writer.shelf.superfluous(mapping) {
        inner.return_stock(block, mapping);
    }
}

/// Returns stock of blocks that another node finds no address of, and of closed ones. Never ends.
pub(super) async fn wanted(inner: Arc<Inner>) {
    let blocks: Api<PartialObjectMeta<IpamBlock>> = Api::all(inner.writer.asker.client.clone());
    let config = watcher::Config::default().labels(WANTED);
    let mut events = pin!(events_of(blocks, config, "IPAMBlocks that are wanted"));
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let shelf = &inner.writer.shelf;
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(block) => listed.extend(name(&block)),
            Event::InitDone => {
                shelf.are_wanted(listed.clone());
                for block in &listed {
                    inner.return_stock(*block, &inner.view.last());
                }
            }
            Event::Apply(block) => {
                let Some(block) = name(&block) else { continue };
                // A write that began before may fill the stock just now: then it is returned later, as this says.
                shelf.is_wanted(block, true);
                inner.return_stock(block, &inner.view.last());
            }
            Event::Delete(block) => {
                if let Some(block) = name(&block) {
                    shelf.is_wanted(block, false);
                }
            }
        }
    }
}

/// Looks again while there are pods of which nobody tells this node that they go. Never ends.
pub(super) async fn strangers(inner: Arc<Inner>) {
    let scan = || {
        let inner = inner.clone();
        async move { inner.scan().await }
    };
    repeat(inner.strangers.subscribe(), scan).await;
}

/// Does it every ten minutes while it is needed, counted from when that is known.
async fn repeat<F: Future<Output = Result<()>>>(mut needed: watch::Receiver<bool>, scan: impl Fn() -> F) {
    // The sender lives as long as whoever scans.
    while needed.wait_for(|needed| *needed).await.is_ok() {
        sleep(STRANGERS).await;
        if let Err(error) = scan().await {
            tracing::warn!(error = %error.chain(), "whether pods are gone whose addresses this node has could not be told; it is tried again in ten minutes");
        }
    }
}

fn name(block: &PartialObjectMeta<IpamBlock>) -> Option<BlockName> {
    block.metadata.name.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use hostnic_core::{Error, ErrorKind};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_a_stranger_lives_it_is_looked_again() {
        let needed = watch::Sender::new(false);
        let scans = watch::Sender::new(0);
        let scan = || {
            scans.send_modify(|scans| *scans += 1);
            let answer = match *scans.borrow() {
                1 => Err(Error::new(ErrorKind::Transient, "list", "IPAMBlocks")),
                scans => {
                    needed.send_replace(scans < 3);
                    Ok(())
                }
            };
            async { answer }
        };
        let told = async {
            sleep(STRANGERS * 3).await;
            assert_eq!(*scans.borrow(), 0, "nobody is there");
            needed.send_replace(true);
            let (begin, mut scanned) = (Instant::now(), scans.subscribe());
            for count in 1..4 {
                scanned.wait_for(|scans| *scans == count).await.unwrap();
                assert_eq!(begin.elapsed(), STRANGERS * count);
            }
            sleep(STRANGERS * 3).await;
            assert_eq!(*scans.borrow(), 3, "the last one has gone");
        };
        tokio::select! {
            () = repeat(needed.subscribe(), scan) => panic!("it ended"),
            () = told => {}
        }
    }
}
