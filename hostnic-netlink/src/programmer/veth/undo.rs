//! Takes away what is there of a pod behind a veth.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use hostnic_core::attachment::AttachmentMark;
use hostnic_core::id::MacAddr;
use hostnic_core::route::{NicTable, SilencedPod};
use hostnic_core::{ErrorKind, Result};

use super::super::alias::{Alias, Part, own_mtu};
use super::super::node::Node;
use super::super::pair::{Pair, delete_doomed, doom, is_part, macs, unless_gone};
use super::super::pod::FREED_NAME;
use super::hairpin;
use super::planned::Planned;
use crate::address::Address;
use crate::connection::Connection;
use crate::link::{Link, LinkChange};
use crate::neighbour::{Neighbour, NeighbourEntry};
use crate::rule::Rule;

/// Which pod is to be taken down.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct Target {
    mark: AttachmentMark,
    planned: Option<PlannedLinks>,
}

/// By what else the links are known where the plan is: sooner than by their marks, and when somebody took those away.
#[derive(Debug, Clone)]
struct PlannedLinks {
    address: IpAddr,
    /// The NIC, by its MAC address and its name; `None` where it was moved into the pod.
    nic: Option<(MacAddr, String)>,
    host_end: String,
}

impl Target {
    /// The pod of a plan.
    pub(in crate::programmer) fn planned(planned: &Planned<'_>) -> Self {
        Self::of(&planned.pair, Some((planned.plan.mac, planned.nic.clone())))
    }

    /// What there is in the node of a pod that its NIC was moved into.
    pub(in crate::programmer) fn beside_moved_nic(pair: &Pair<'_>) -> Self {
        Self::of(pair, None)
    }

    fn of(pair: &Pair<'_>, nic: Option<(MacAddr, String)>) -> Self {
        let links = PlannedLinks { address: pair.address.into(), nic, host_end: pair.host.name.to_owned() };
        Self { mark: pair.mark.clone(), planned: Some(links) }
    }

    /// The pod of an attachment of which no more is known.
    pub(in crate::programmer) fn marked(mark: &AttachmentMark) -> Self {
        Self { mark: mark.clone(), planned: None }
    }

    fn is_unmarked_nic(&self, link: &Link) -> bool {
        let nic = self.planned.as_ref().and_then(|links| links.nic.as_ref());
        nic.is_some_and(|(mac, name)| link.mac == Some(*mac) && link.name == *name) && link.mark().is_none()
    }

    fn is_host_end(&self, link: &Link) -> bool {
        [Part::HostEnd, Part::ServiceHostEnd].into_iter().any(|part| is_part(link, &self.mark, part))
    }
}

/// What the node has of an attachment.
struct Parts {
    nic: Option<Link>,
    host_end: Option<Link>,
}

impl Parts {
    async fn find(connection: &Connection, target: &Target) -> Result<Self> {
        if let Some(parts) = Self::by_name(connection, target).await {
            return Ok(parts);
        }
        let mark = &target.mark;
        let (host_mac, _) = macs(mark)?;
        let links = connection.links().await?;
        let unmarked = |link: &Link| link.mac == Some(host_mac) && link.mark().is_none();
        let host_end = |link: &&Link| target.is_host_end(link) || unmarked(link);
        Ok(Self {
            nic: links
                .iter()
                .find(|link| is_part(link, mark, Part::Nic) || target.is_unmarked_nic(link))
                .cloned(),
            host_end: links.iter().find(host_end).cloned(),
        })
    }

    /// The links under the names of the plan, as they usually are; the list of a full node is long.
    async fn by_name(connection: &Connection, target: &Target) -> Option<Self> {
        let planned = target.planned.as_ref()?;
        let nic = async {
            match &planned.nic {
                Some((_, name)) => connection.link_by_name(name).await.map(Some),
                None => Ok(None),
            }
        };
        let (nic, host_end) = futures::join!(nic, connection.link_by_name(&planned.host_end));
        let nic = nic.ok()?;
        let is_ours = nic.as_ref().is_none_or(|link| is_part(link, &target.mark, Part::Nic));
        let host_end = host_end.ok().filter(|link| is_ours && target.is_host_end(link))?;
        Some(Self { nic, host_end: Some(host_end) })
    }

    fn is_empty(&self) -> bool {
        self.nic.is_none() && self.host_end.is_none()
    }
}

/// Ends the traffic of a pod and frees the name of its veth in the node; false when nothing of it is there.
///
/// The rules stay until the NIC is down: they drop what still comes for the pod.
pub(in crate::programmer) async fn silence(node: &Node, target: &Target) -> Result<bool> {
    let connection = node.connection().await?;
    let parts = Parts::find(&connection, target).await?;
    let alias = |part, own_mtu| Alias { mark: target.mark.clone(), part, own_mtu, silenced: true };
    let host_end = async {
        let Some(link) = &parts.host_end else { return Ok(()) };
        let part = Alias::of(link).map_or(Part::HostEnd, |alias| alias.part);
        doom(&connection, link, &alias(part, None)).await
    };
    let nic = async {
        let Some(link) = &parts.nic else { return Ok(()) };
        let alias = alias(Part::Nic, Some(own_mtu(link))).to_string();
        unless_gone(connection.change_link(link.index, LinkChange::new().alias(&alias)).await)
    };
    let (host_end, nic) = futures::join!(host_end, nic);
    host_end.and(nic)?;
    Ok(!parts.is_empty())
}

/// Leaves the NIC bare, and deletes the veth. Gives back the NIC's MAC address.
pub(in crate::programmer) async fn give_back(node: &Node, target: &Target) -> Result<Option<MacAddr>> {
    let connection = node.connection().await?;
    let parts = Parts::find(&connection, target).await?;
    let planned = target.planned.as_ref().map(|planned| planned.address);
    let freed = match &parts.nic {
        Some(nic) => unless_gone(bare(node, &connection, nic, planned).await).map(|()| nic.mac),
        None => {
            node.forget_flows(planned.as_slice()).await;
            Ok(None)
        }
    };
    delete_doomed(node).await?;
    freed
}

/// Does all of it.
pub(in crate::programmer) async fn tear_down(node: &Node, target: &Target) -> Result<Option<MacAddr>> {
    match silence(node, target).await? {
        true => give_back(node, target).await,
        false => Ok(None),
    }
}

/// Makes a NIC one like any other: down, without addresses, routes, rules and our mark, and under a name that is free.
/// `planned` is the pod's address, should the NIC not have it.
async fn bare(node: &Node, connection: &Connection, nic: &Link, planned: Option<IpAddr>) -> Result<()> {
    // What is set down loses its routes.
    connection.change_link(nic.index, LinkChange::new().down()).await?;
    let (addresses, rules) = futures::try_join!(connection.addresses_of(nic.index), connection.rules())?;
    let addresses: Vec<Address> =
        addresses.into_iter().filter(|address| address.address.addr().is_ipv4()).collect();
    let ours = rules.into_iter().filter(|listed| listed.is_ours()).map(|listed| listed.rule);
    let rules: Vec<Rule> = ours.filter(|rule| concerns(rule, nic, &addresses)).collect();
    let deleted = join_all(rules.iter().map(|rule| connection.delete_rule(rule))).await;
    deleted.into_iter().collect::<Result<()>>()?;
    let mut pods = Vec::new();
    for address in &addresses {
        let ip = address.address.addr();
        let proxy = Neighbour { link: nic.index, address: ip, entry: NeighbourEntry::Proxy };
        connection.delete_neighbour(&proxy).await?;
        connection.delete_address(address).await?;
        if let IpAddr::V4(pod) = ip {
            pods.push(hairpin::element(pod));
        }
    }
    forget(node, &pods).await?;
    let of_nic = addresses.iter().map(|address| address.address.addr());
    let ended: BTreeSet<IpAddr> = of_nic.chain(planned).collect();
    node.forget_flows(&Vec::from_iter(ended)).await;
    // The mark goes last: until then this can be done again.
    let free = LinkChange::new().rename(FREED_NAME).alias("").mtu(own_mtu(nic));
    connection.change_link(nic.index, free).await
}

/// Takes pods out of the set, where there is one.
async fn forget(node: &Node, pods: &[crate::nft::Element]) -> Result<()> {
    match hairpin::remove(node, pods).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}

/// Whether a rule of ours is about the NIC: by its name, its table or its addresses.
fn concerns(rule: &Rule, nic: &Link, addresses: &[Address]) -> bool {
    let table = NicTable::of_link(&nic.name).map(NicTable::number);
    let is_address = |prefix: Option<ipnet::IpNet>| {
        prefix.is_some_and(|prefix| addresses.iter().any(|address| address.address.addr() == prefix.addr()))
    };
    rule.came_in_by.as_deref() == Some(&nic.name)
        || (table.is_some() && rule.action.table() == table)
        || is_address(rule.source)
        || is_address(rule.destination)
}

/// A pod behind a veth between its silencing and its NIC's freedom.
#[derive(Debug)]
pub(in crate::programmer) struct Silenced {
    node: Arc<Node>,
    target: Target,
}

impl Silenced {
    pub(in crate::programmer) fn new(node: Arc<Node>, target: Target) -> Self {
        Self { node, target }
    }
}

#[async_trait]
impl SilencedPod for Silenced {
    async fn give_back(&mut self) -> Result<()> {
        give_back(&self.node, &self.target).await.map(drop)
    }
}
