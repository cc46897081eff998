//! Reads what is there of a NIC.

use std::time::Duration;

use hostnic_core::Result;

use crate::address::Address;
use crate::connection::Connection;
use crate::link::Link;
use crate::route::KernelRoute;
use crate::rule::ListedRule;

/// What there is of a NIC, but for routes of the node.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct State {
    pub(in crate::programmer) link: Link,
    pub(in crate::programmer) addresses: Vec<Address>,
    /// The NIC's routes to the node itself.
    pub(in crate::programmer) local: Vec<KernelRoute>,
    pub(in crate::programmer) proxy_delay: Option<Duration>,
    /// Rules of the node.
    pub(in crate::programmer) rules: Vec<ListedRule>,
}

impl State {
    /// The state of a NIC that nobody uses.
    pub(in crate::programmer) fn bare(link: Link) -> Self {
        Self { link, addresses: Vec::new(), local: Vec::new(), proxy_delay: None, rules: Vec::new() }
    }

    /// Reads what belongs to the link.
    pub(in crate::programmer) async fn read(connection: &Connection, link: Link) -> Result<Self> {
        let (addresses, local, delays, rules) = futures::try_join!(
            connection.addresses_of(link.index),
            connection.local_routes_of(link.index),
            connection.proxy_delays(),
            connection.rules(),
        )?;
        let proxy_delay = delays.into_iter().find(|(index, _)| *index == link.index).map(|(_, delay)| delay);
        Ok(Self { link, addresses, local, proxy_delay, rules })
    }
}
