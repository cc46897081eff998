//! News of the node's own addresses.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::route::SharedNicPlan;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::node::Node;
use crate::watch::{AddressEvent, AddressEvents};

/// How long to wait before listening again after the socket failed.
const RETRY: Duration = Duration::from_secs(1);

/// Follows the addresses of links that are no pods' NICs.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Something has changed that nobody was told of yet.
    news: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Addresses {
    /// Begins to follow. The task ends when this is dropped.
    pub(super) async fn follow(node: Arc<Node>) -> Result<Self> {
        let events = subscribe(&node).await?;
        let news = Arc::new(Notify::new());
        let mut task = JoinSet::new();
        task.spawn(follow(node, events, news.clone()));
        Ok(Self { news, _task: task })
    }

    /// Waits until something may have changed since this last returned.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }
}

async fn follow(node: Arc<Node>, mut events: AddressEvents, news: Arc<Notify>) {
    loop {
        let Err(error) = until_it_fails(&mut events, &news).await;
        tracing::warn!(error = %error.chain(), "address events stopped; listening again");
        events = loop {
            tokio::time::sleep(RETRY).await;
            match subscribe(&node).await {
                Ok(events) => break events,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "cannot listen to address events; trying again");
                }
            }
        };
        // Nobody knows what came in between.
        news.notify_one();
    }
}

async fn subscribe(node: &Node) -> Result<AddressEvents> {
    AddressEvents::subscribe_by(&*node.visitor()?, node.netns()).await
}

async fn until_it_fails(events: &mut AddressEvents, news: &Notify) -> Result<Infallible> {
    loop {
        if concerns_node(&events.next().await?) {
            news.notify_one();
        }
    }
}

/// Whether it may be about an address of the node's own. A pod's NIC has its name before it has an address.
fn concerns_node(event: &AddressEvent) -> bool {
    match event {
        AddressEvent::Changed(link) => !SharedNicPlan::is_link_of_ours(link),
        AddressEvent::Missed => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_pods_nics_are_no_news() {
        let changed = |link: &str| AddressEvent::Changed(link.to_owned());
        assert!(!concerns_node(&changed("hostnic_260")) && !concerns_node(&changed("hostnic_a1b2c3d")));
        for event in [changed("eth0"), changed("hostnic0"), changed(""), AddressEvent::Missed] {
            assert!(concerns_node(&event), "{event:?}");
        }
    }
}
