//! The node's own namespace: its links, and news of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostnic_core::id::MacAddr;
use hostnic_core::point::{Point, Points};
use hostnic_core::route::HostLink;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

use super::alias::Alias;
use super::flows::Flows;
use super::setting;
use super::survey::link_local;
use crate::announce::Announcer;
use crate::connection::Connection;
use crate::dhcp::{self, DhcpSocket};
use crate::link::{Link, LinkChange, LinkIndex};
use crate::netns::Netns;
use crate::nft::{Batch, Nft};
use crate::route::{KernelRoute, MAIN_TABLE};
use crate::visitor::Visitor;
use crate::watch::{LinkEvent, LinkEvents};

/// How long to wait before listening again after the socket failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long a request may take. The kernel moves one link at a time, some 20 ms each, so that in a burst of pods the
/// last ones wait for all others.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

type Macs = BTreeMap<LinkIndex, MacAddr>;

/// A connection for what the programmer does.
pub(super) async fn connect(visitor: &Visitor, netns: &Netns, points: &Points) -> Result<Connection> {
    let connection = Connection::open_by(visitor, netns).await?;
    Ok(connection.with_deadline(PATIENCE).with_points(points.clone()))
}

/// The node's namespace, with a connection that is made anew should it ever break.
#[derive(Debug)]
pub(super) struct Node {
    netns: Netns,
    points: Points,
    connection: Mutex<Arc<Connection>>,
    /// What drives all connections, and goes to the pods.
    visitor: Mutex<Arc<Visitor>>,
    flows: Flows,
    /// Opened when something is first to be announced, which not every node needs.
    announcer: OnceCell<Announcer>,
}

impl Node {
    pub(super) async fn open(netns: Netns, points: Points) -> Result<Self> {
        let visitor = Arc::new(Visitor::start()?);
        let connection = Arc::new(connect(&visitor, &netns, &points).await?);
        let flows = Flows::follow(netns.try_clone()?, points.clone());
        let (connection, visitor) = (Mutex::new(connection), Mutex::new(visitor));
        Ok(Self { netns, points, connection, visitor, flows, announcer: OnceCell::new() })
    }

    /// Has the thread that drives all connections do something, which asks by them.
    pub(super) async fn ask<T: Send + 'static, F: Future<Output = Result<T>> + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T> {
        let node = self.clone();
        self.visitor()?.drive(move || work(node)).await
    }

    /// What drives all connections, and goes to the pods.
    pub(super) fn visitor(&self) -> Result<Arc<Visitor>> {
        let mut visitor = self.visitor.lock().unwrap_or_else(PoisonError::into_inner);
        if visitor.is_gone() {
            *visitor = Arc::new(Visitor::start()?);
        }
        Ok(visitor.clone())
    }

    /// Who hears of what is done to the node and its pods.
    pub(super) fn points(&self) -> &Points {
        &self.points
    }

    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    pub(super) async fn connection(&self) -> Result<Arc<Connection>> {
        let present = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !present.is_closed() {
            return Ok(present);
        }
        let fresh = Arc::new(connect(&*self.visitor()?, &self.netns, &self.points).await?);
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }

    /// A connection by a thread of its own, for what takes long and nobody waits for: whoever asks by the shared thread would
    /// wait for it, though the kernel has time for them.
    pub(super) async fn connect_apart(&self, netns: &Netns) -> Result<Connection> {
        let connection = Connection::open(netns).await?;
        Ok(connection.with_deadline(PATIENCE).with_points(self.points.clone()))
    }

    /// Makes sure that the kernel answers. Requests are carried out in their order: after this, all earlier ones are
    /// done or refused, also those whose answer nobody waited for.
    pub(super) async fn check(&self) -> Result<()> {
        self.connection().await?.link(LinkIndex::LOOPBACK).await.map(drop)
    }

    /// Carries out a batch of nftables in the node.
    pub(super) async fn filter(&self, batch: Batch) -> Result<()> {
        let nft = Nft::new(self.netns.try_clone()?);
        self.points.pass(Point::ChangeFilter, || nft.apply(batch)).await
    }

    /// Lets connection tracking forget what pods with these addresses did; see [`Flows::forget`].
    pub(super) async fn forget_flows(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        self.flows.forget(addresses.into_iter().collect()).await
    }

    /// Makes sure that addresses can be announced by a link, and soon.
    pub(super) async fn prepare_announcements(&self, link: LinkIndex) -> Result<()> {
        self.announcer().await?.learn(&self.netns, link).await.map(drop)
    }

    /// Announces to the NIC's subnet that an address is reached by it.
    pub(super) async fn announce(&self, nic: &Link, address: Ipv4Addr) -> Result<()> {
        let announcer = self.announcer().await?;
        self.points.pass(Point::AnnounceShared, || announcer.announce(&self.netns, nic, address)).await
    }

    /// A socket for DHCP by a link of the node.
    pub(super) async fn dhcp_socket(&self, link: LinkIndex, mac: MacAddr) -> Result<DhcpSocket> {
        let to = self.announcer().await?.learn(&self.netns, link).await?;
        let name = self.connection().await?.link(link).await?.name;
        DhcpSocket::open(&self.netns, to, name, mac).await
    }

    /// Who else has an address in the subnet of a link, asked in the name of `sender`.
    pub(super) async fn holder(
        &self,
        link: LinkIndex,
        mac: MacAddr,
        sender: Ipv4Addr,
        address: Ipv4Addr,
    ) -> Result<Option<MacAddr>> {
        let to = self.announcer().await?.learn(&self.netns, link).await?;
        let ask = || dhcp::holder(&self.netns, to, mac, sender, address);
        self.points.pass(Point::AskWhoHasAddress, ask).await
    }

    async fn announcer(&self) -> Result<&Announcer> {
        self.announcer.get_or_try_init(|| Announcer::open(&self.netns)).await
    }

    /// Writes a setting of the whole node, a file below /proc/sys, unless that is read-only and nowhere else.
    pub(super) async fn write_setting(&self, path: String, value: &'static str) -> Result<io::Result<()>> {
        let write = || self.netns.run(move || setting::write(Path::new(&path), value));
        self.points.pass(Point::ChangeSetting, write).await
    }

    /// Changes a link of the node.
    pub(super) async fn change(&self, link: LinkIndex, change: LinkChange<'_>) -> Result<()> {
        self.connection().await?.change_link(link, change).await
    }

    /// The link of that name; `None` where there is none.
    pub(super) async fn link_named(&self, name: &str) -> Result<Option<Link>> {
        match self.connection().await?.link_by_name(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            link => link.map(Some),
        }
    }

    /// The NIC with this MAC. It is looked for at `hint` first: the list of a full node's links takes the kernel and us
    /// longer than all else that is done to them.
    ///
    /// # Errors
    /// `NotFound` when it is not in the node's namespace, `Conflict` when two links have that MAC.
    pub(super) async fn nic(&self, mac: MacAddr, hint: Option<LinkIndex>) -> Result<Link> {
        let is_the_nic = |link: &Link| link.mac == Some(mac) && link.can_be_nic();
        let connection = self.connection().await?;
        if let Some(index) = hint
            && let Ok(link) = connection.link(index).await
            && is_the_nic(&link)
        {
            return Ok(link);
        }
        let mut links = connection.links().await?;
        links.retain(is_the_nic);
        let failed = |kind| Error::new(kind, "find NIC", mac);
        match links.len() {
            0 => Err(failed(ErrorKind::NotFound).detail("no link of the node has this MAC address")),
            1 => Ok(links.remove(0)),
            _ => Err(failed(ErrorKind::Conflict)
                .detail(format!("{} and {} both have this MAC address", links[0].name, links[1].name))),
        }
    }

    /// The links that can be NICs; the ends of our pods' veths cannot.
    pub(super) async fn host_links(&self) -> Result<Vec<HostLink>> {
        let connection = self.connection().await?;
        let (links, addresses, routes) =
            futures::try_join!(connection.links(), connection.addresses(), connection.routes())?;
        let host = |link: Link| {
            let of_link = addresses.iter().filter(|address| address.link == link.index);
            let default = |r: &&KernelRoute| r.link == link.index && r.destination.prefix_len() == 0;
            Some(HostLink {
                mac: link.mac?,
                in_use: link.up || of_link.clone().next().is_some(),
                addresses: of_link.map(|a| a.address).filter(|a| !link_local(a)).collect(),
                default_route: routes.iter().any(|r| default(&r) && r.table == MAIN_TABLE),
                gateway: link.gateway(),
                name: link.name,
            })
        };
        let is_veth = |link: &Link| Alias::of(link).is_some_and(|alias| alias.part.is_host_end());
        let nics = links.into_iter().filter(|link| link.can_be_nic() && !is_veth(link));
        Ok(nics.filter_map(host).collect())
    }

    async fn macs(&self) -> Result<Macs> {
        let links = self.connection().await?.links().await?;
        Ok(links.into_iter().filter_map(|link| Some((link.index, link.mac?))).collect())
    }
}

/// Follows the node's links, so that many can wait for one without asking the kernel again and again.
#[derive(Debug)]
pub(super) struct Arrivals {
    macs: watch::Receiver<Macs>,
    _task: JoinSet<()>,
}

impl Arrivals {
    /// Begins to follow. The task ends when this is dropped.
    pub(super) async fn follow(node: Arc<Node>) -> Result<Self> {
        let events = listen(&node).await?;
        let (sender, macs) = watch::channel(Macs::new());
        let mut task = JoinSet::new();
        task.spawn(follow(node, events, Arc::new(sender)));
        Ok(Self { macs, _task: task })
    }

    /// Where the link with this MAC was by the latest news; `None` without news of it, or of more than one.
    pub(super) fn hint(&self, mac: MacAddr) -> Option<LinkIndex> {
        let macs = self.macs.borrow();
        let mut found = macs.iter().filter(|(_, m)| **m == mac).map(|(index, _)| *index);
        found.next().filter(|_| found.next().is_none())
    }

    /// Waits until a link with this MAC is in the node, and tells of it.
    pub(super) async fn wait_for(&self, node: &Node, mac: MacAddr) -> Result<HostLink> {
        let mut macs = self.macs.clone();
        loop {
            let ended =
                |_| Error::new(ErrorKind::Internal, "wait for NIC", mac).detail("nobody follows the links");
            macs.wait_for(|macs| macs.values().any(|m| *m == mac)).await.map_err(ended)?;
            // News may be older than the present: the link can be gone again.
            if let Some(link) = node.host_links().await?.into_iter().find(|link| link.mac == mac) {
                return Ok(link);
            }
            macs.changed().await.map_err(ended)?;
        }
    }
}

async fn follow(node: Arc<Node>, mut events: LinkEvents, macs: Arc<watch::Sender<Macs>>) {
    loop {
        let macs = macs.clone();
        let failed = node.ask(async move |node: Arc<Node>| until_it_fails(&node, &mut events, &macs).await);
        let Err(error) = failed.await;
        tracing::warn!(error = %error.chain(), "link events stopped; listening again");
        events = loop {
            match listen(&node).await {
                Ok(events) => break events,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "cannot listen to link events; trying again")
                }
            }
            tokio::time::sleep(RETRY).await;
        };
    }
}

async fn listen(node: &Node) -> Result<LinkEvents> {
    LinkEvents::subscribe_by(&*node.visitor()?, node.netns()).await
}

async fn until_it_fails(
    node: &Node,
    events: &mut LinkEvents,
    macs: &watch::Sender<Macs>,
) -> Result<Infallible> {
    macs.send_replace(node.macs().await?);
    loop {
        match events.next().await? {
            LinkEvent::Changed(link) => macs.send_if_modified(|macs| match link.mac {
                Some(mac) => macs.insert(link.index, mac) != Some(mac),
                None => macs.remove(&link.index).is_some(),
            }),
            LinkEvent::Gone(index) => macs.send_if_modified(|macs| macs.remove(&index).is_some()),
            LinkEvent::Missed => {
                macs.send_replace(node.macs().await?);
                true
            }
        };
    }
}
