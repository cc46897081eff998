//! Reads what is there of a veth.

use hostnic_core::Result;

use super::super::node::Node;
use super::super::pod::{Pod, loopback_up};
use super::Pair;
use crate::address::Address;
use crate::link::Link;
use crate::neighbour::ListedNeighbour;
use crate::route::KernelRoute;

/// What there is of a veth, in the node and in its pod.
#[derive(Debug, Clone, Default)]
pub(in crate::programmer) struct State {
    pub(in crate::programmer) host_end: Option<Link>,
    pub(in crate::programmer) pod_end: Option<PodSide>,
    /// Routes of the node.
    pub(in crate::programmer) routes: Vec<KernelRoute>,
    /// Neighbours and proxy entries of the node.
    pub(in crate::programmer) neighbours: Vec<ListedNeighbour>,
}

/// The pod's end of a veth, and what belongs to it.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct PodSide {
    pub(in crate::programmer) link: Link,
    pub(in crate::programmer) loopback_up: bool,
    pub(in crate::programmer) addresses: Vec<Address>,
    pub(in crate::programmer) routes: Vec<KernelRoute>,
    pub(in crate::programmer) neighbours: Vec<ListedNeighbour>,
}

impl State {
    /// Reads all of it. `pod` is `None` where its namespace is gone.
    pub(in crate::programmer) async fn read(node: &Node, pair: &Pair<'_>, pod: Option<&Pod>) -> Result<Self> {
        let connection = node.connection().await?;
        let pod_end = async {
            match pod {
                Some(pod) => PodSide::read(pair, pod).await,
                None => Ok(None),
            }
        };
        let (links, routes, neighbours, pod_end) =
            futures::try_join!(connection.links(), connection.routes(), connection.neighbours(), pod_end,)?;
        let host_end = links.into_iter().find(|link| pair.is_host_end(link));
        Ok(Self { host_end, pod_end, routes, neighbours })
    }
}

impl PodSide {
    /// A link that was just made.
    pub(in crate::programmer) fn bare(link: Link, loopback_up: bool) -> Self {
        Self { link, loopback_up, addresses: Vec::new(), routes: Vec::new(), neighbours: Vec::new() }
    }

    pub(in crate::programmer) async fn read(pair: &Pair<'_>, pod: &Pod) -> Result<Option<Self>> {
        let links = pod.links().await?;
        let Some(link) = pair.pod_end(&links).cloned() else { return Ok(None) };
        let (addresses, routes, neighbours) = futures::try_join!(
            pod.connection().addresses_of(link.index),
            pod.connection().routes(),
            pod.connection().neighbours(),
        )?;
        Ok(Some(Self { loopback_up: loopback_up(&links), link, addresses, routes, neighbours }))
    }
}
