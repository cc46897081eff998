//! Puts right what differs.

use futures::future::{BoxFuture, join_all};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::Alias;
use super::super::node::Node;
use super::super::pod::Pod;
use super::{Difference, Pair, PodSide, State, differences};
use crate::connection::Connection;
use crate::link::{Link, LinkChange, LinkIndex, VethEnd};

/// How many requests are sent before their answers are awaited. `join_all` keeps the order of so few.
const TOGETHER: usize = 16;

pub(in crate::programmer) type Requests<'a> = Vec<BoxFuture<'a, Result<()>>>;

/// A veth, and where it is made.
#[derive(Debug, Clone, Copy)]
pub(in crate::programmer) struct Programming<'a> {
    pub(in crate::programmer) node: &'a Node,
    pub(in crate::programmer) pair: &'a Pair<'a>,
    pub(in crate::programmer) mtu: u32,
    pub(in crate::programmer) pod: &'a Pod,
}

impl<'a> Programming<'a> {
    /// What is to be done for a veth of which nothing is there, after it was made.
    pub(in crate::programmer) async fn finish(self, loopback_up: bool) -> Result<()> {
        let connection = self.node.connection().await?;
        let host_end = connection.link_by_name(self.pair.host.name);
        let (host_end, pod_end) = futures::try_join!(host_end, self.pod.link_named(self.pair.pod.name))?;
        let pod_end = Some(PodSide::bare(pod_end, loopback_up));
        let state = State { host_end: Some(host_end), pod_end, ..State::default() };
        self.put_right(&state, &differences(self.pair, self.mtu, &state)).await
    }

    /// Puts differences right in their order, in the node first; answers the first that cannot be. Some after it may be
    /// right all the same: they are sent together, as waiting for each answer costs more than what the kernel does.
    pub(in crate::programmer) async fn put_right(
        self,
        state: &State,
        differences: &[Difference],
    ) -> Result<()> {
        let connection = self.node.connection().await?;
        in_order(self.in_node(&connection, state.host_end.as_ref(), differences)).await?;
        in_order(self.in_pod(state.pod_end.as_ref(), differences)).await
    }

    /// What is to be done in the node: the changes of the link in one message, before all else.
    pub(in crate::programmer) fn in_node<'r>(
        self,
        connection: &'r Connection,
        host_end: Option<&Link>,
        differences: &'r [Difference],
    ) -> Requests<'r>
    where
        'a: 'r,
    {
        let mut requests = Requests::new();
        if let Some(link) = host_end {
            self.change_host_end(connection, link, differences, &mut requests);
        }
        for difference in differences {
            requests.push(match difference {
                Difference::Absent(stale) => Box::pin(self.make(connection, *stale)),
                Difference::HostNeighbour(neighbour) => Box::pin(connection.set_neighbour(neighbour)),
                Difference::StrayRoute(route) => Box::pin(connection.delete_route(route)),
                Difference::Route(route) => Box::pin(connection.replace_route(route)),
                _ => continue,
            });
        }
        requests
    }

    /// Makes the veth, whose ends are down and not marked yet.
    pub(in crate::programmer) async fn make(
        self,
        connection: &Connection,
        stale: Option<LinkIndex>,
    ) -> Result<()> {
        if let Some(stale) = stale {
            connection.delete_link(stale).await?;
        }
        let (host, pod) = (self.pair.host, self.pair.pod);
        let host = VethEnd { name: host.name, mac: Some(host.mac), netns: None };
        let pod = VethEnd { name: pod.name, mac: Some(pod.mac), netns: Some(&self.pod.netns) };
        connection.create_veth(host, pod).await
    }

    fn change_host_end<'r>(
        self,
        connection: &'r Connection,
        link: &Link,
        differences: &[Difference],
        requests: &mut Requests<'r>,
    ) where
        'a: 'r,
    {
        let pair = self.pair;
        let index = link.index;
        let (mut parts, mut renamed) = (Vec::new(), false);
        for difference in differences {
            match difference {
                Difference::HostName(_) => renamed = true,
                Difference::HostUnmarked
                | Difference::HostMac
                | Difference::HostMtu(_)
                | Difference::HostGroup
                | Difference::HostSetting(_)
                | Difference::HostDown => {}
                _ => continue,
            }
            parts.push(difference.clone());
        }
        if parts.is_empty() {
            return;
        }
        let (mtu, was_up) = (self.mtu, link.up);
        requests.push(Box::pin(async move {
            let alias = pair.host_alias().to_string();
            let mut change = LinkChange::new();
            for part in &parts {
                change = match part {
                    Difference::HostUnmarked => change.alias(&alias),
                    Difference::HostName(_) => change.rename(pair.host.name),
                    Difference::HostMac => change.mac(pair.host.mac),
                    Difference::HostMtu(_) => change.mtu(mtu),
                    Difference::HostGroup => change.group(pair.group.unwrap_or_default()),
                    Difference::HostSetting(_) => change.ipv4(pair.host_settings()),
                    Difference::HostDown => change.up(),
                    _ => change,
                };
            }
            changed(connection, index, change, renamed && was_up)
                .await
                .map_err(|error| name_taken(error, pair.host.name))
        }));
    }

    /// What is to be done in the pod: the changes of the link but for setting it up in one message, before all else.
    pub(in crate::programmer) fn in_pod<'r>(
        self,
        pod_end: Option<&PodSide>,
        differences: &'r [Difference],
    ) -> Requests<'r>
    where
        'a: 'r,
    {
        let mut requests = Requests::new();
        let Some(pod_end) = pod_end else { return requests };
        let inside = self.pod.connection();
        let index = pod_end.link.index;
        self.change_pod_end(&pod_end.link, differences, &mut requests);
        for difference in differences {
            requests.push(match difference {
                Difference::LoopbackDown => {
                    Box::pin(inside.change_link(LinkIndex::LOOPBACK, LinkChange::new().up()))
                }
                Difference::PodAddress(address) => Box::pin(inside.add_address(address)),
                Difference::PodDown => Box::pin(inside.change_link(index, LinkChange::new().up())),
                Difference::PodRoute(route) => Box::pin(inside.replace_route(route)),
                Difference::PodNeighbour(neighbour) => Box::pin(inside.set_neighbour(neighbour)),
                _ => continue,
            });
        }
        requests
    }

    fn change_pod_end<'r>(self, link: &Link, differences: &[Difference], requests: &mut Requests<'r>)
    where
        'a: 'r,
    {
        let pair = self.pair;
        let inside = self.pod.connection();
        let index = link.index;
        let of = |wanted: fn(&Difference) -> bool| differences.iter().any(wanted);
        let unmarked = of(|difference| *difference == Difference::PodUnmarked);
        let renamed = of(|difference| matches!(difference, Difference::PodName(_)));
        let other_mac = of(|difference| *difference == Difference::PodMac);
        let other_mtu = of(|difference| matches!(difference, Difference::PodMtu(_)));
        if !(unmarked || renamed || other_mac || other_mtu) {
            return;
        }
        let (mtu, was_up) = (self.mtu, link.up);
        requests.push(Box::pin(async move {
            let alias = Alias::of_part(pair.mark, pair.pod.part, None).to_string();
            let mut change = LinkChange::new();
            if unmarked {
                change = change.alias(&alias);
            }
            if renamed {
                change = change.rename(pair.pod.name);
            }
            if other_mac {
                change = change.mac(pair.pod.mac);
            }
            if other_mtu {
                change = change.mtu(mtu);
            }
            changed(inside, index, change, renamed && was_up).await
        }));
    }
}

/// Changes a link, which may have to be down for that.
pub(in crate::programmer) async fn changed(
    connection: &Connection,
    link: LinkIndex,
    change: LinkChange<'_>,
    must_be_down: bool,
) -> Result<()> {
    if !must_be_down {
        return connection.change_link(link, change).await;
    }
    let down = connection.change_link(link, LinkChange::new().down());
    let change = connection.change_link(link, change);
    let up = connection.change_link(link, LinkChange::new().up());
    let (down, changed, up) = futures::join!(down, change, up);
    down.and(changed).and(up)
}

/// The error of a change that renames a link of the node.
pub(in crate::programmer) fn name_taken(error: Error, name: &str) -> Error {
    match error.kind() {
        ErrorKind::Conflict => Error::new(ErrorKind::Conflict, "name link", name)
            .detail("another link of the node has that name; rename it")
            .source(error),
        _ => error,
    }
}

/// Sends all requests in their order; answers the first error.
pub(in crate::programmer) async fn in_order(requests: Requests<'_>) -> Result<()> {
    let mut requests = requests.into_iter();
    loop {
        let some: Vec<_> = requests.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            return Ok(());
        }
        join_all(some).await.into_iter().collect::<Result<()>>()?;
    }
}
