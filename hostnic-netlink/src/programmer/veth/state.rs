//! Reads what is there of a pod behind a veth.

use hostnic_core::Result;
use hostnic_core::route::Hairpin;

use super::super::nic;
use super::super::node::Node;
use super::super::pair::{self, PodSide};
use super::super::pod::Pod;
use super::hairpin;
use super::plan::{self, Beginning, Named};
use super::planned::Planned;
use crate::link::{Link, LinkIndex};

/// What there is of a pod, in the node and in its namespace.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) nic: nic::State,
    /// Whether the pod is in the set of those whose packets to themselves are known.
    pub(super) itself: bool,
    /// The veth, and routes and neighbours of the node.
    pub(super) pair: pair::State,
}

/// How the set-up of a pod begins.
pub(super) async fn begin(
    node: &Node,
    planned: &Planned<'_>,
    pod: &Pod,
    hint: Option<LinkIndex>,
) -> Result<Beginning> {
    let (nic, nic_name, host_name, in_pod) = futures::try_join!(
        node.nic(planned.plan.mac, hint),
        node.link_named(&planned.nic.name),
        node.link_named(planned.pair.host.name),
        pod.links(),
    )?;
    let named = Named { nic: nic_name, host_end: host_name };
    plan::beginning(planned, nic, named, &in_pod)
}

impl State {
    /// The state of a NIC that nobody uses, without a veth.
    pub(super) fn bare(nic: Link) -> Self {
        Self { nic: nic::State::bare(nic), itself: false, pair: pair::State::default() }
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
                Some(pod) => PodSide::read(&planned.pair, pod).await,
                None => Ok(None),
            }
        };
        let (nic, routes, neighbours, itself, pod_end) = futures::try_join!(
            nic::State::read(&connection, nic),
            connection.routes(),
            connection.neighbours(),
            itself,
            pod_end,
        )?;
        let host_end = links.into_iter().find(|link| planned.pair.is_host_end(link));
        Ok(Some(Self { nic, itself, pair: pair::State { host_end, pod_end, routes, neighbours } }))
    }
}
