//! A pod's namespace, open for the length of one operation.

use futures::future::join_all;
use hostnic_core::attachment::{AttachmentMark, NetnsPath, Sandbox};
use hostnic_core::id::MacAddr;
use hostnic_core::route::PodPlan;
use hostnic_core::{Error, ErrorKind, Result};

use super::alias::{Alias, own_mtu};
use super::node::{Node, connect};
use super::plan::{Difference, PodState};
use crate::connection::Connection;
use crate::link::{Link, LinkChange, LinkIndex};
use crate::netns::Netns;
use crate::route::MAIN_TABLE;
use crate::visitor::Visitor;

/// What a NIC is called when it is back in the node's namespace: the kernel puts the lowest free number in.
pub(super) const FREED_NAME: &str = "eth%d";

/// What the name of a silenced link begins with, before its number in the pod.
const ASIDE: &str = "hnx";

/// How many requests are sent before their answers are awaited. `join_all` keeps the order of so few.
const TOGETHER: usize = 16;

/// Opens the namespace that a path names, away from the runtime's threads.
pub(super) async fn open(visitor: &Visitor, path: &NetnsPath) -> Result<Netns> {
    let path = path.as_path().to_owned();
    visitor.run(move || Netns::open(&path)).await
}

/// Opens the namespace of a plan, which the path may have stopped to name.
pub(super) async fn open_planned(visitor: &Visitor, path: &NetnsPath, sandbox: Sandbox) -> Result<Netns> {
    let netns = open(visitor, path).await?;
    if netns.sandbox() == sandbox {
        return Ok(netns);
    }
    Err(Error::new(ErrorKind::NotFound, "open network namespace", path)
        .detail(format!("it is another one ({}) than was planned for ({sandbox})", netns.sandbox())))
}

/// A pod's namespace and a connection to the kernel in it.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) netns: Netns,
    connection: Connection,
}

impl Pod {
    pub(super) async fn enter(netns: Netns, node: &Node) -> Result<Self> {
        let connection = connect(&*node.visitor()?, &netns, node.points()).await?;
        Ok(Self { netns, connection })
    }

    /// The connection to the kernel in it.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether requests can still be made.
    pub(super) fn is_open(&self) -> bool {
        !self.connection.is_closed()
    }

    /// Lets go of the namespace; returns when nothing of ours keeps it alive.
    pub(super) async fn leave(self) {
        self.connection.close().await;
    }

    pub(super) async fn links(&self) -> Result<Vec<Link>> {
        self.connection.links().await
    }

    pub(super) async fn link_named(&self, name: &str) -> Result<Link> {
        self.connection.link_by_name(name).await
    }

    /// What a link of the pod has beside itself.
    pub(super) async fn state(&self, link: Link, links: &[Link]) -> Result<PodState> {
        let (addresses, routes) =
            futures::try_join!(self.connection.addresses_of(link.index), self.connection.routes())?;
        let routes = routes.into_iter().filter(|r| r.link == link.index && r.table == MAIN_TABLE).collect();
        Ok(PodState { loopback_up: loopback_up(links), link, addresses, routes })
    }

    /// Puts differences right, in their order; answers the first that cannot be. Some after it may be right all the
    /// same: they are sent together, as waiting for each answer costs more than what the kernel does.
    pub(super) async fn put_right(
        &self,
        plan: &PodPlan,
        link: &Link,
        differences: &[Difference],
    ) -> Result<()> {
        let alias = Alias::anew(link, &plan.mark, false).to_string();
        for some in differences.chunks(TOGETHER) {
            let sent = some.iter().map(|difference| self.put_one_right(plan, &alias, link.index, difference));
            join_all(sent).await.into_iter().collect::<Result<()>>()?;
        }
        Ok(())
    }

    async fn put_one_right(
        &self,
        plan: &PodPlan,
        alias: &str,
        link: LinkIndex,
        difference: &Difference,
    ) -> Result<()> {
        match difference {
            Difference::LoopbackDown => {
                self.connection.change_link(LinkIndex::LOOPBACK, LinkChange::new().up()).await
            }
            Difference::Address(address) => self.connection.add_address(address).await,
            Difference::Route(route) => self.connection.add_route(route).await,
            other => match other.change(plan, alias) {
                Some(change) => self.connection.change_link(link, change).await,
                None => Ok(()),
            },
        }
    }

    /// Takes back what [`Pod::put_right`] may have added.
    pub(super) async fn take_back(&self, differences: &[Difference]) -> Result<()> {
        for difference in differences.iter().rev() {
            match difference {
                Difference::Address(address) => self.connection.delete_address(address).await?,
                Difference::Route(route) => self.connection.delete_route(route).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets a link down and its name free, and writes that on it. Success when the link is gone.
    pub(super) async fn silence(&self, link: &Link, mark: &AttachmentMark) -> Result<()> {
        let name = format!("{ASIDE}{}", link.index.0);
        let alias = Alias::anew(link, mark, true).to_string();
        // Two messages: kernels before 6.2 do not rename a link that is up.
        let down = self.connection.change_link(link.index, LinkChange::new().down());
        let aside = LinkChange::new().rename(&name).alias(&alias);
        let aside = self.connection.change_link(link.index, aside);
        let (down, aside) = futures::join!(down, aside);
        match down.and(aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives a NIC back to the node: down, without our mark, with its own MTU, and under a name that is free there. Its
    /// addresses and routes end with the move. Success when the link is gone. Gives back its MAC.
    pub(super) async fn give_back(&self, link: &Link, node: &Node) -> Result<Option<MacAddr>> {
        let mtu = own_mtu(link);
        let change = LinkChange::new().down().move_to(node.netns()).rename(FREED_NAME).alias("").mtu(mtu);
        let apart = node.connect_apart(&self.netns).await?;
        let moved = apart.change_link(link.index, change).await;
        apart.close().await;
        match moved {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(link.mac),
        }
    }
}

pub(super) fn loopback_up(links: &[Link]) -> bool {
    links.iter().any(|link| link.index == LinkIndex::LOOPBACK && link.up)
}
