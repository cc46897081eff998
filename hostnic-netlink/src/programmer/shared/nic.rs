//! A NIC that pods share.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use hostnic_core::id::MacAddr;
use hostnic_core::route::{Drift, SharedNicPlan, SharedRoutes};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Alias, Part, SharedAlias};
use super::super::nic::{self, Nic, Owner, answer_for};
use super::super::node::Node;
use super::super::order::{FROM_SUBNET, FROM_VLAN};
use super::super::pair::{in_order, unless_gone};
use super::super::{missing, told};
use crate::PROTOCOL;
use crate::link::{Link, LinkIndex};
use crate::neighbour::{ListedNeighbour, Neighbour, NeighbourEntry};
use crate::route::KernelRoute;
use crate::rule::Rule;

/// How often what is there is compared with the plan: putting one thing right can undo another, as setting a link down
/// takes its routes away.
const ROUNDS: usize = 3;

/// A plan, and all that follows from it.
#[derive(Debug)]
struct Planned<'a> {
    plan: &'a SharedNicPlan,
    nic: Nic<'a>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// `Unsupported` for addresses of IPv6, `Invalid` for a sender outside the subnet.
    fn new(plan: &'a SharedNicPlan) -> Result<Self> {
        let refused = |kind| Error::new(kind, "set up shared NIC", plan.mac);
        let sender = match plan.sender {
            None => None,
            Some(IpAddr::V4(sender)) => Some(sender),
            Some(other) => {
                return Err(refused(ErrorKind::Unsupported)
                    .detail(format!("{other} is of IPv6; pods that share a NIC have addresses of IPv4")));
            }
        };
        if let Some(outside) = plan.sender.filter(|sender| !plan.subnet.contains(sender)) {
            return Err(refused(ErrorKind::Invalid)
                .detail(format!("{outside} is not in {}; give an address of the subnet", plan.subnet)));
        }
        let (name, table) = (plan.ifname.to_string(), plan.table.number());
        let subnet = plan.subnet.trunc();
        let mut rules = vec![nic::drops_strays(&name), Rule::from(subnet, FROM_SUBNET, table)];
        let (routes, vlan) = match &plan.routes {
            SharedRoutes::Ours { gateway, others } => (nic::routes(subnet, *gateway, others), None),
            SharedRoutes::Vlan => {
                rules.push(Rule::from(subnet, FROM_VLAN, nic::VLANS));
                (Vec::new(), Some(subnet))
            }
        };
        let nic = Nic {
            owner: Owner::Shared,
            settings: &nic::ALONE,
            sender,
            table: plan.table,
            routes,
            vlan,
            rules,
            from: subnet,
            veth: None,
            name,
        };
        Ok(Self { plan, nic })
    }

    fn conflict(&self, detail: String) -> Error {
        Error::new(ErrorKind::Conflict, "set up shared NIC", self.plan.mac).detail(detail)
    }

    /// Refuses what is not free to be shared: the NIC, or the link of its name.
    fn refuse(&self, link: &Link, named: Option<Link>) -> Result<()> {
        if Alias::of(link).is_some_and(|alias| alias.part != Part::Moved) || link.gateway().is_some() {
            return Err(self.conflict(format!("{} is a pod's or a gateway; take that down first", link.name)));
        }
        match named {
            Some(other) if other.index != link.index => {
                Err(self.conflict(format!("another link of the node is named {}; rename it", other.name)))
            }
            _ => Ok(()),
        }
    }
}

/// What there is of a NIC.
#[derive(Debug)]
struct State {
    nic: nic::State,
    /// Routes and neighbours of the node.
    routes: Vec<KernelRoute>,
    neighbours: Vec<ListedNeighbour>,
    /// The pods that share NICs of the node, but for those that were silenced.
    pods: BTreeSet<Ipv4Addr>,
}

/// One thing that a plan asks for and the node does not have, or has too much, in the order in which they are to be put
/// right.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Difference {
    Nic(nic::Difference),
    /// The NIC does not answer for a pod.
    Answer(Neighbour),
    /// It answers for a pod that is gone.
    StrayAnswer(Neighbour),
}

fn differences(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let of_nic = nic::differences(&planned.nic, &state.nic, &state.routes);
    let mut found: Vec<_> = of_nic.into_iter().map(Difference::Nic).collect();
    let link = state.nic.link.index;
    let is_there = |answer: &Neighbour| state.neighbours.iter().any(|listed| listed.neighbour == *answer);
    let mut pods = state.pods.clone();
    pods.retain(|pod| planned.plan.subnet.contains(&IpAddr::V4(*pod)));
    let wanted = pods.iter().map(|pod| answer_for(*pod, link));
    found.extend(wanted.filter(|answer| !is_there(answer)).map(Difference::Answer));
    let ours = state.neighbours.iter().filter(|listed| listed.protocol == PROTOCOL);
    let answers = ours
        .map(|listed| listed.neighbour)
        .filter(|neighbour| neighbour.link == link && neighbour.entry == NeighbourEntry::Proxy);
    let stray = answers.filter(|answer| !pods.iter().any(|pod| IpAddr::V4(*pod) == answer.address));
    found.extend(stray.map(Difference::StrayAnswer));
    found
}

/// Makes the NIC as planned, and returns where it is.
pub(in crate::programmer) async fn set_up(node: &Node, plan: &SharedNicPlan) -> Result<LinkIndex> {
    let planned = Planned::new(plan)?;
    let (link, named) = futures::try_join!(node.nic(plan.mac, None), node.link_named(&planned.nic.name))?;
    planned.refuse(&link, named)?;
    node.prepare_announcements(link.index).await?;
    let fresh = SharedAlias::of(&link).is_none();
    match repair(node, &planned).await {
        Err(error) if fresh => Err(told(error, tear_down(node, plan.mac).await)),
        done => done.map(|()| link.index),
    }
}

async fn repair(node: &Node, planned: &Planned<'_>) -> Result<()> {
    for _ in 0..ROUNDS {
        let state = read(node, planned.plan.mac).await?.ok_or_else(|| absent(planned.plan.mac))?;
        let found = differences(planned, &state);
        if found.is_empty() {
            return Ok(());
        }
        put_right(node, planned, &state, &found).await?;
    }
    let state = read(node, planned.plan.mac).await?.ok_or_else(|| absent(planned.plan.mac))?;
    match differences(planned, &state).first() {
        None => Ok(()),
        Some(left) => Err(Error::new(ErrorKind::Transient, "set up shared NIC", planned.plan.mac)
            .detail(format!("{}; somebody else changes it, too", left.drift(planned)))),
    }
}

async fn put_right(node: &Node, planned: &Planned<'_>, state: &State, found: &[Difference]) -> Result<()> {
    let connection = node.connection().await?;
    let of_nic = |difference: &Difference| match difference {
        Difference::Nic(difference) => Some(difference.clone()),
        _ => None,
    };
    let of_nic: Vec<_> = found.iter().filter_map(of_nic).collect();
    let mut requests = nic::requests(&planned.nic, &connection, &state.nic.link, &of_nic);
    for difference in found {
        match difference {
            Difference::Answer(answer) => requests.push(Box::pin(connection.set_neighbour(answer))),
            Difference::StrayAnswer(answer) => requests.push(Box::pin(connection.delete_neighbour(answer))),
            Difference::Nic(_) => {}
        }
    }
    in_order(requests).await
}

/// How the NIC differs from its plan.
pub(in crate::programmer) async fn check(node: &Node, plan: &SharedNicPlan) -> Result<Vec<Drift>> {
    let planned = Planned::new(plan)?;
    Ok(match read(node, plan.mac).await? {
        None => vec![missing(format!("NIC {}", plan.mac))],
        Some(state) => differences(&planned, &state).iter().map(|d| d.drift(&planned)).collect(),
    })
}

/// Makes a NIC that pods shared one like any other.
pub(in crate::programmer) async fn tear_down(node: &Node, mac: MacAddr) -> Result<()> {
    let link = match node.nic(mac, None).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        link => link?,
    };
    let Some(shared) = SharedAlias::of(&link) else { return Ok(()) };
    let connection = node.connection().await?;
    let ended = async {
        let addresses = nic::end(&connection, &link, Some(shared.table)).await?;
        nic::bare(&connection, &link, &addresses).await
    };
    unless_gone(ended.await)
}

/// Reads all of a NIC; `None` when it is not in the node.
async fn read(node: &Node, mac: MacAddr) -> Result<Option<State>> {
    let connection = node.connection().await?;
    // Before the links: what answers for a pod comes after its veth, so that without one it belongs to nobody.
    let neighbours = connection.neighbours().await?;
    let links = connection.links().await?;
    let Some(link) = links.iter().find(|link| link.mac == Some(mac) && link.can_be_nic()).cloned() else {
        return Ok(None);
    };
    let (nic, routes) = futures::try_join!(nic::State::read(&connection, link), connection.routes())?;
    let sharing = links.iter().filter_map(Alias::of).filter(|alias| !alias.silenced);
    let pods = sharing.filter(|alias| alias.part == Part::SharedHostEnd).filter_map(|alias| alias.address);
    Ok(Some(State { nic, routes, neighbours, pods: pods.collect() }))
}

fn absent(mac: MacAddr) -> Error {
    Error::new(ErrorKind::NotFound, "set up shared NIC", mac).detail("it has left the node")
}

impl Difference {
    /// This in words.
    fn drift(&self, planned: &Planned<'_>) -> Drift {
        let of =
            |answer: &Neighbour| format!("answer to ARP for {} by NIC {}", answer.address, planned.nic.name);
        match self {
            Self::Nic(difference) => difference.drift(&planned.nic),
            Self::Answer(answer) => missing(of(answer)),
            Self::StrayAnswer(answer) => {
                Drift { object: of(answer), difference: "the pod is gone".to_owned() }
            }
        }
    }
}
