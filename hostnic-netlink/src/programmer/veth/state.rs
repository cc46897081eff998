//! Reads what is there of a pod behind a veth.

use std::time::Duration;

use hostnic_core::route::Hairpin;
use hostnic_core::{ErrorKind, Result};

use super::super::node::Node;
use super::super::pod::{Pod, loopback_up};
use super::hairpin;
use super::plan::{self, Beginning, Named};
use super::planned::Planned;
use crate::address::Address;
use crate::link::{Link, LinkIndex};
use crate::neighbour::ListedNeighbour;
use crate::route::KernelRoute;
use crate::rule::ListedRule;

/// What there is of a pod, in the node and in its namespace.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) nic: Link,
    /// The NIC's addresses.
    pub(super) addresses: Vec<Address>,
    /// The NIC's routes to the node itself.
    pub(super) local: Vec<KernelRoute>,
    pub(super) proxy_delay: Option<Duration>,
    pub(super) routes: Vec<KernelRoute>,
    pub(super) rules: Vec<ListedRule>,
    /// Neighbours and proxy entries of the node.
    pub(super) neighbours: Vec<ListedNeighbour>,
    /// Whether the pod is in the set of those whose packets to themselves are known.
    pub(super) itself: bool,
    pub(super) host_end: Option<Link>,
    pub(super) pod_end: Option<PodSide>,
}

/// The pod's end of its veth, and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct PodSide {
    pub(super) link: Link,
    pub(super) loopback_up: bool,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<KernelRoute>,
    pub(super) neighbours: Vec<ListedNeighbour>,
}

/// How the set-up of a pod begins.
pub(super) async fn begin(
    node: &Node,
    planned: &Planned<'_>,
    pod: &Pod,
    hint: Option<LinkIndex>,
) -> Result<Beginning> {
    let connection = node.connection().await?;
    let named = async |name: &str| match connection.link_by_name(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        link => link.map(Some),
    };
    let (nic, nic_name, host_name, in_pod) = futures::try_join!(
        node.nic(planned.plan.mac, hint),
        named(&planned.nic),
        named(planned.veth.host_ifname.as_str()),
        pod.links(),
    )?;
    let named = Named { nic: nic_name, host_end: host_name };
    plan::beginning(planned, nic, named, &in_pod)
}

impl State {
    /// The state of a NIC that nobody uses, without a veth.
    pub(super) fn bare(nic: Link) -> Self {
        Self {
            nic,
            addresses: Vec::new(),
            local: Vec::new(),
            proxy_delay: None,
            routes: Vec::new(),
            rules: Vec::new(),
            neighbours: Vec::new(),
            itself: false,
            host_end: None,
            pod_end: None,
        }
    }

    /// Reads all of it; `None` when the NIC is not in the node. `pod` is `None` where its namespace is gone.
    pub(super) async fn read(node: &Node, planned: &Planned<'_>, pod: Option<&Pod>) -> Result<Option<Self>> {
        let connection = node.connection().await?;
        let links = connection.links().await?;
        let is_the_nic = |link: &&Link| link.mac == Some(planned.plan.mac) && link.can_be_nic();
        let Some(nic) = links.iter().find(is_the_nic).cloned() else { return Ok(None) };
        let itself = async {
            match planned.veth.hairpin {
                Hairpin::Off => Ok(false),
                Hairpin::On => hairpin::knows(node, planned.address).await,
            }
        };
        let pod_end = async {
            match pod {
                Some(pod) => PodSide::read(planned, pod).await,
                None => Ok(None),
            }
        };
        let (addresses, local, delays, routes, rules, neighbours, itself, pod_end) = futures::try_join!(
            connection.addresses_of(nic.index),
            connection.local_routes_of(nic.index),
            connection.proxy_delays(),
            connection.routes(),
            connection.rules(),
            connection.neighbours(),
            itself,
            pod_end,
        )?;
        let proxy_delay = delays.into_iter().find(|(link, _)| *link == nic.index).map(|(_, delay)| delay);
        let host_end = links.into_iter().find(|link| plan::is_host_end(planned, link));
        Ok(Some(Self {
            nic,
            addresses,
            local,
            proxy_delay,
            routes,
            rules,
            neighbours,
            itself,
            host_end,
            pod_end,
        }))
    }
}

impl PodSide {
    /// A link that was just made.
    pub(super) fn bare(link: Link, loopback_up: bool) -> Self {
        Self { link, loopback_up, addresses: Vec::new(), routes: Vec::new(), neighbours: Vec::new() }
    }

    async fn read(planned: &Planned<'_>, pod: &Pod) -> Result<Option<Self>> {
        let links = pod.links().await?;
        let Some(link) = plan::pod_end(planned, &links).cloned() else { return Ok(None) };
        let (addresses, routes, neighbours) = futures::try_join!(
            pod.connection().addresses_of(link.index),
            pod.connection().routes(),
            pod.connection().neighbours(),
        )?;
        Ok(Some(Self { loopback_up: loopback_up(&links), link, addresses, routes, neighbours }))
    }
}
