//! Puts right what differs from a pod's plan.

use futures::future::{BoxFuture, join_all};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Alias, Part};
use super::super::node::Node;
use super::super::pod::Pod;
use super::plan::{Difference, of_host_end, of_nic, of_pod};
use super::planned::{PROXY_DELAY, Planned};
use super::state::{PodSide, State};
use super::{aside, hairpin};
use crate::connection::Connection;
use crate::link::{Link, LinkChange, LinkIndex, VethEnd};

/// How many requests are sent before their answers are awaited. `join_all` keeps the order of so few.
const TOGETHER: usize = 16;

type Requests<'a> = Vec<BoxFuture<'a, Result<()>>>;

/// One pod's plan, and where it is carried out.
#[derive(Debug, Clone)]
pub(super) struct Programming<'a> {
    pub(super) node: &'a Node,
    pub(super) planned: &'a Planned<'a>,
    pub(super) pod: &'a Pod,
}

/// What links are told, kept while the requests are under way.
struct Words {
    nic: String,
    host_end: String,
    pod_end: String,
    own_mtu: u32,
    mtu: u32,
}

impl Programming<'_> {
    /// Makes all of a pod of which nothing is there, and returns the MTU of its interface.
    ///
    /// What is there is not read again and again: a full node has long lists.
    pub(super) async fn make(&self, nic: Link, loopback_up: bool) -> Result<u32> {
        let planned = self.planned;
        let mtu = planned.mtu(&nic);
        let mut state = State::bare(nic);
        let mut missing = of_nic(planned, &state);
        missing.push(Difference::Pair(None));
        self.put_right(&state, &missing).await?;

        let connection = self.node.connection().await?;
        let host_end = connection.link_by_name(planned.veth.host_ifname.as_str());
        let pod_end = self.pod.link_named(planned.plan.ifname.as_str());
        let (host_end, pod_end) = futures::try_join!(host_end, pod_end)?;
        let pod_end = PodSide::bare(pod_end, loopback_up);
        let mut missing = of_host_end(planned, &state, &host_end);
        missing.extend(of_pod(planned, &state, &pod_end));
        state.host_end = Some(host_end);
        state.pod_end = Some(pod_end);
        self.put_right(&state, &missing).await?;
        Ok(mtu)
    }

    /// Ends an older attachment's use of the veth's name. Its own teardown is still to come.
    pub(super) async fn put_aside(&self, older: Link) -> Result<()> {
        tracing::warn!(link = older.name, "a newer pod takes the name of a link from an older one");
        let name = aside(older.index);
        // Two messages: kernels before 6.2 do not rename a link that is up.
        self.node.change(older.index, LinkChange::new().down()).await?;
        self.node.change(older.index, LinkChange::new().rename(&name)).await
    }

    /// Puts differences right in their order, in the node first; answers the first that cannot be. Some after it may be
    /// right all the same: they are sent together, as waiting for each answer costs more than what the kernel does.
    pub(super) async fn put_right(&self, state: &State, differences: &[Difference]) -> Result<()> {
        let words = Words::new(self.planned, state);
        let connection = self.node.connection().await?;
        let mut requests = self.links_of_node(&connection, &words, state, differences);
        for difference in differences {
            requests.extend(self.in_node(&connection, state, difference));
        }
        in_order(requests).await?;
        let Some(pod_end) = &state.pod_end else { return Ok(()) };
        let inside = self.pod.connection();
        let mut requests = self.link_of_pod(&words, pod_end.link.index, pod_end.link.up, differences);
        for difference in differences {
            requests.extend(in_pod(inside, pod_end.link.index, difference));
        }
        in_order(requests).await
    }

    /// The changes of the links of the node, one message for each, before all else.
    fn links_of_node<'a>(
        &'a self,
        connection: &'a Connection,
        words: &'a Words,
        state: &State,
        differences: &[Difference],
    ) -> Requests<'a> {
        let mut requests = Requests::new();
        let fold = |link: &Link, part: fn(&'a Self, &'a Words, &Difference, LinkChange<'a>) -> Option<LinkChange<'a>>| {
            let mut change = None;
            for difference in differences {
                change = part(self, words, difference, change.clone().unwrap_or_default()).or(change);
            }
            let renamed = differences.iter().any(|difference| match difference {
                Difference::NicName(name) | Difference::HostName(name) => *name == link.name,
                _ => false,
            });
            (change, renamed && link.up)
        };
        let nic = Some((&state.nic, fold(&state.nic, Self::of_nic)));
        let host = state.host_end.as_ref().map(|link| (link, fold(link, Self::of_host_end)));
        // A message of its own: one that renames a link may be refused, and what is marked can be taken back.
        if differences.contains(&Difference::NicUnmarked) {
            let marked = LinkChange::new().alias(&words.nic);
            requests.push(Box::pin(connection.change_link(state.nic.index, marked)));
        }
        for (link, (change, must_be_down)) in [nic, host].into_iter().flatten() {
            let index = link.index;
            if must_be_down {
                requests.push(Box::pin(connection.change_link(index, LinkChange::new().down())));
            }
            if let Some(change) = change {
                requests.push(Box::pin(async move {
                    connection.change_link(index, change).await.map_err(|error| self.name_taken(error))
                }));
            }
            if must_be_down {
                requests.push(Box::pin(connection.change_link(index, LinkChange::new().up())));
            }
        }
        requests
    }

    fn of_nic<'a>(
        &'a self,
        words: &'a Words,
        difference: &Difference,
        change: LinkChange<'a>,
    ) -> Option<LinkChange<'a>> {
        match difference {
            Difference::NicName(_) => Some(change.rename(&self.planned.nic)),
            Difference::NicMtu(_) => Some(change.mtu(words.own_mtu)),
            Difference::NicSetting(_) => Some(change.ipv4(self.planned.nic_settings())),
            _ => None,
        }
    }

    fn of_host_end<'a>(
        &'a self,
        words: &'a Words,
        difference: &Difference,
        change: LinkChange<'a>,
    ) -> Option<LinkChange<'a>> {
        match difference {
            Difference::HostUnmarked => Some(change.alias(&words.host_end)),
            Difference::HostName(_) => Some(change.rename(self.planned.veth.host_ifname.as_str())),
            Difference::HostMac => Some(change.mac(self.planned.host_mac)),
            Difference::HostMtu(_) => Some(change.mtu(words.mtu)),
            Difference::HostSetting(_) => Some(change.ipv4(self.planned.host_settings())),
            Difference::HostDown => Some(change.up()),
            _ => None,
        }
    }

    /// The changes of the pod's link but for setting it up.
    fn link_of_pod<'a>(
        &'a self,
        words: &'a Words,
        link: LinkIndex,
        up: bool,
        differences: &[Difference],
    ) -> Requests<'a> {
        let inside = self.pod.connection();
        let mut requests = Requests::new();
        let mut change = None;
        for difference in differences {
            let so_far = change.clone().unwrap_or_default();
            change = match difference {
                Difference::PodUnmarked => Some(LinkChange::alias(so_far, &words.pod_end)),
                Difference::PodName(_) => Some(so_far.rename(self.planned.plan.ifname.as_str())),
                Difference::PodMac => Some(so_far.mac(self.planned.pod_mac)),
                Difference::PodMtu(_) => Some(so_far.mtu(words.mtu)),
                _ => change,
            };
        }
        let renamed = differences.iter().any(|difference| matches!(difference, Difference::PodName(_)));
        let must_be_down = up && renamed;
        if must_be_down {
            requests.push(Box::pin(inside.change_link(link, LinkChange::new().down())));
        }
        requests
            .extend(change.map(|change| -> BoxFuture<'a, _> { Box::pin(inside.change_link(link, change)) }));
        if must_be_down {
            requests.push(Box::pin(inside.change_link(link, LinkChange::new().up())));
        }
        requests
    }

    /// What one difference asks of the node beside changes of its links.
    fn in_node<'a>(
        &'a self,
        connection: &'a Connection,
        state: &State,
        difference: &'a Difference,
    ) -> Option<BoxFuture<'a, Result<()>>> {
        let nic = state.nic.index;
        Some(match difference {
            Difference::StrayAddress(address) => Box::pin(connection.delete_address(address)),
            Difference::Address(address) => Box::pin(connection.add_address(address)),
            Difference::NicDown => Box::pin(connection.change_link(nic, LinkChange::new().up())),
            Difference::LocalRoute(route) | Difference::StrayRoute(route) => {
                Box::pin(connection.delete_route(route))
            }
            Difference::ProxyDelay => Box::pin(connection.set_proxy_delay(nic, PROXY_DELAY)),
            Difference::Route(route) => Box::pin(connection.replace_route(route)),
            Difference::StrayRule(rule) => Box::pin(connection.delete_rule(rule)),
            Difference::Rule(rule) => Box::pin(connection.add_rule(rule)),
            Difference::Neighbour(neighbour) => Box::pin(connection.set_neighbour(neighbour)),
            Difference::Itself => Box::pin(hairpin::add(self.node, self.planned.address)),
            Difference::Pair(stale) => Box::pin(self.make_pair(connection, *stale)),
            _ => return None,
        })
    }

    async fn make_pair(&self, connection: &Connection, stale: Option<LinkIndex>) -> Result<()> {
        if let Some(stale) = stale {
            connection.delete_link(stale).await?;
        }
        let (planned, netns) = (self.planned, &self.pod.netns);
        let host =
            VethEnd { name: planned.veth.host_ifname.as_str(), mac: Some(planned.host_mac), netns: None };
        let name = planned.plan.ifname.as_str();
        let pod = VethEnd { name, mac: Some(planned.pod_mac), netns: Some(netns) };
        connection.create_veth(host, pod).await
    }

    fn name_taken(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Conflict => {
                Error::new(ErrorKind::Conflict, "name the NIC and veth of", self.planned.address)
                    .detail(format!(
                        "another link of the node is named {} or {}; rename it",
                        self.planned.nic, self.planned.veth.host_ifname
                    ))
                    .source(error)
            }
            _ => error,
        }
    }
}

impl Words {
    fn new(planned: &Planned<'_>, state: &State) -> Self {
        let own_mtu = super::super::alias::own_mtu(&state.nic);
        let alias = |part, own_mtu| {
            Alias { mark: planned.plan.mark.clone(), part, own_mtu, silenced: false }.to_string()
        };
        Self {
            nic: alias(Part::Nic, Some(own_mtu)),
            host_end: alias(Part::HostEnd, None),
            pod_end: alias(Part::PodEnd, None),
            own_mtu,
            mtu: planned.mtu(&state.nic),
        }
    }
}

fn in_pod<'a>(
    inside: &'a Connection,
    link: LinkIndex,
    difference: &'a Difference,
) -> Option<BoxFuture<'a, Result<()>>> {
    Some(match difference {
        Difference::LoopbackDown => Box::pin(inside.change_link(LinkIndex::LOOPBACK, LinkChange::new().up())),
        Difference::PodAddress(address) => Box::pin(inside.add_address(address)),
        Difference::PodDown => Box::pin(inside.change_link(link, LinkChange::new().up())),
        Difference::PodRoute(route) => Box::pin(inside.replace_route(route)),
        Difference::PodNeighbour(neighbour) => Box::pin(inside.set_neighbour(neighbour)),
        _ => return None,
    })
}

/// Sends all requests in their order; answers the first error.
async fn in_order(requests: Requests<'_>) -> Result<()> {
    let mut requests = requests.into_iter();
    loop {
        let some: Vec<_> = requests.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            return Ok(());
        }
        join_all(some).await.into_iter().collect::<Result<()>>()?;
    }
}
