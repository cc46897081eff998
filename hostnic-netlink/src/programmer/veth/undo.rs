//! Takes away what is there of a pod behind a veth.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::attachment::AttachmentMark;
use hostnic_core::id::MacAddr;
use hostnic_core::route::{NicTable, SilencedPod};
use hostnic_core::{ErrorKind, Result};

use super::super::alias::{Alias, Part, own_mtu};
use super::super::nic;
use super::super::node::Node;
use super::super::pair::{Pair, delete_with_doomed, doom, is_part, macs, unless_gone};
use super::hairpin;
use super::planned::Planned;
use crate::PROTOCOL;
use crate::address::Address;
use crate::connection::Connection;
use crate::link::{Link, LinkChange, LinkIndex};

/// Which pod is to be taken down.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct Target {
    mark: AttachmentMark,
    planned: Option<PlannedLinks>,
}

/// By what else the links are known where the plan is: sooner than by their marks, and when somebody took those away.
#[derive(Debug, Clone)]
struct PlannedLinks {
    address: Ipv4Addr,
    /// The pod's own NIC, by its MAC address and its name; `None` where that was moved into the pod, or is shared.
    nic: Option<(MacAddr, String)>,
    /// The NIC that answers for the pod and for others, and where it was last seen.
    shared: Option<(MacAddr, Option<LinkIndex>)>,
    host_end: String,
}

impl Target {
    /// The pod of a plan.
    pub(in crate::programmer) fn planned(planned: &Planned<'_>) -> Self {
        Self::of(&planned.pair, Some((planned.plan.mac, planned.nic.name.clone())), None)
    }

    /// The pod of a plan that shares a NIC.
    pub(in crate::programmer) fn sharing(pair: &Pair<'_>, nic: MacAddr, hint: Option<LinkIndex>) -> Self {
        Self::of(pair, None, Some((nic, hint)))
    }

    /// What there is in the node of a pod that its NIC was moved into.
    pub(in crate::programmer) fn beside_moved_nic(pair: &Pair<'_>) -> Self {
        Self::of(pair, None, None)
    }

    fn of(
        pair: &Pair<'_>,
        nic: Option<(MacAddr, String)>,
        shared: Option<(MacAddr, Option<LinkIndex>)>,
    ) -> Self {
        let host_end = pair.host.name.to_owned();
        let links = PlannedLinks { address: pair.address, nic, shared, host_end };
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
        Alias::of(link).is_some_and(|alias| alias.mark == self.mark && alias.part.is_host_end())
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

/// What is left of a pod that was silenced: its NIC, where it has one of its own, and maybe this veth.
#[derive(Debug, Clone, Copy)]
pub(in crate::programmer) struct Left {
    host_end: Option<LinkIndex>,
    /// The pod's address, where that was written on the veth.
    address: Option<Ipv4Addr>,
}

/// Ends the traffic of a pod and frees the name of its veth in the node; `None` when nothing of it is there. A NIC that it
/// shares answers for it no more in any case.
///
/// The rules stay until the NIC is down: they drop what still comes for the pod.
pub(in crate::programmer) async fn silence(node: &Node, target: &Target) -> Result<Option<Left>> {
    let connection = node.connection().await?;
    let parts = Parts::find(&connection, target).await?;
    let alias = |part, own_mtu| Alias::of_part(&target.mark, part, own_mtu);
    let found = parts.host_end.as_ref().and_then(Alias::of);
    let address = found.as_ref().and_then(|alias| alias.address);
    let host_end = async {
        let Some(link) = &parts.host_end else { return Ok(()) };
        let alias = found.clone().unwrap_or_else(|| alias(Part::HostEnd, None));
        doom(&connection, link, &Alias { silenced: true, ..alias }).await
    };
    let nic = async {
        let Some(link) = &parts.nic else { return Ok(()) };
        let alias = Alias { silenced: true, ..alias(Part::Nic, Some(own_mtu(link))) }.to_string();
        unless_gone(connection.change_link(link.index, LinkChange::new().alias(&alias)).await)
    };
    let answers = async {
        match target.planned.as_ref() {
            Some(planned) => match planned.shared {
                Some(nic) => answer_no_more(node, &connection, nic, planned.address).await,
                None => Ok(()),
            },
            None => match address {
                Some(address) => nobody_answers(&connection, address).await,
                None => Ok(()),
            },
        }
    };
    let (host_end, nic, answers) = futures::join!(host_end, nic, answers);
    host_end.and(nic).and(answers)?;
    let left = Left { host_end: parts.host_end.as_ref().map(|link| link.index), address };
    Ok((!parts.is_empty()).then_some(left))
}

/// Has a NIC that is shared not answer for the pod any more. What is gone answers nobody.
async fn answer_no_more(
    node: &Node,
    connection: &Connection,
    (mac, hint): (MacAddr, Option<LinkIndex>),
    pod: Ipv4Addr,
) -> Result<()> {
    match node.nic(mac, hint).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        link => connection.delete_neighbour(&nic::answer_for(pod, link?.index)).await,
    }
}

/// The same where it is not known which NIC that is.
async fn nobody_answers(connection: &Connection, pod: Ipv4Addr) -> Result<()> {
    for listed in connection.neighbours().await? {
        if listed.protocol == PROTOCOL && listed.neighbour == nic::answer_for(pod, listed.neighbour.link) {
            connection.delete_neighbour(&listed.neighbour).await?;
        }
    }
    Ok(())
}

/// Sets the NIC down, takes its rules away and deletes the veth. The NIC keeps the pod's address and its mark: whoever
/// finds it knows what to [`forget`], and that it is still to be done. Gives back the NIC's MAC address.
pub(in crate::programmer) async fn give_back(
    node: &Node,
    target: &Target,
    left: Left,
) -> Result<Option<MacAddr>> {
    let connection = node.connection().await?;
    let nic = find_nic(&connection, target).await?;
    let freed = match &nic {
        Some(nic) => unless_gone(end_nic(node, &connection, nic).await).map(|()| nic.mac),
        None => Ok(None),
    };
    if let Some(host_end) = left.host_end {
        delete_with_doomed(node, host_end).await?;
    }
    freed
}

/// Forgets the pod's flows, and makes a NIC of its own one like any other. `written` is the address that was on its veth. For many pods at once, and not in turn.
pub(in crate::programmer) async fn forget(
    node: &Node,
    target: &Target,
    written: Option<Ipv4Addr>,
) -> Result<()> {
    let connection = node.connection().await?;
    let nic = find_nic(&connection, target).await?;
    let addresses = match &nic {
        Some(nic) => match nic::addresses(&connection, nic).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            addresses => addresses?,
        },
        None => Vec::new(),
    };
    let planned = target.planned.as_ref().map(|planned| planned.address);
    let known = planned.into_iter().chain(written).map(IpAddr::V4);
    let ended: BTreeSet<IpAddr> =
        addresses.iter().map(|address| address.address.addr()).chain(known).collect();
    node.forget_flows(ended).await?;
    match &nic {
        Some(nic) => unless_gone(nic::bare(&connection, nic, &addresses).await),
        None => Ok(()),
    }
}

/// All of it but for what is to be [forgotten](forget).
pub(in crate::programmer) async fn take_away(node: &Node, target: &Target) -> Result<Option<MacAddr>> {
    match silence(node, target).await? {
        Some(left) => give_back(node, target, left).await,
        None => Ok(None),
    }
}

/// Does all of it.
pub(in crate::programmer) async fn tear_down(node: &Node, target: &Target) -> Result<Option<MacAddr>> {
    let left = silence(node, target).await?;
    let freed = match left {
        Some(left) => give_back(node, target, left).await?,
        None => None,
    };
    // Also where nothing was left of the pod: somebody else may have taken it away.
    forget(node, target, left.and_then(|left| left.address)).await?;
    Ok(freed)
}

async fn find_nic(connection: &Connection, target: &Target) -> Result<Option<Link>> {
    if let Some(planned) = &target.planned {
        let Some((_, name)) = &planned.nic else { return Ok(None) };
        // The list of a full node is long.
        match connection.link_by_name(name).await {
            Ok(link) if is_part(&link, &target.mark, Part::Nic) => return Ok(Some(link)),
            _ => {}
        }
    }
    Parts::find(connection, target).await.map(|parts| parts.nic)
}

/// Ends all that leads to a NIC.
async fn end_nic(node: &Node, connection: &Connection, nic: &Link) -> Result<()> {
    let addresses = nic::end(connection, nic, NicTable::of_link(&nic.name)).await?;
    let pod = |address: &Address| match address.address.addr() {
        IpAddr::V4(pod) => Some(hairpin::element(pod)),
        IpAddr::V6(_) => None,
    };
    take_out(node, &addresses.iter().filter_map(pod).collect::<Vec<_>>()).await
}

/// Takes pods out of the set, where there is one.
async fn take_out(node: &Node, pods: &[crate::nft::Element]) -> Result<()> {
    match hairpin::remove(node, pods).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}

/// A pod behind a veth between its silencing and its NIC's freedom.
#[derive(Debug)]
pub(in crate::programmer) struct Silenced {
    node: Arc<Node>,
    target: Target,
    left: Left,
}

impl Silenced {
    pub(in crate::programmer) fn new(node: Arc<Node>, target: Target, left: Left) -> Self {
        Self { node, target, left }
    }
}

#[async_trait]
impl SilencedPod for Silenced {
    async fn give_back(&mut self) -> Result<()> {
        let (target, left) = (self.target.clone(), self.left);
        let back = async move |node: Arc<Node>| give_back(&node, &target, left).await.map(drop);
        self.node.ask(back).await
    }

    async fn forget(&mut self) -> Result<()> {
        let (target, written) = (self.target.clone(), self.left.address);
        self.node.ask(async move |node: Arc<Node>| forget(&node, &target, written).await).await
    }
}
