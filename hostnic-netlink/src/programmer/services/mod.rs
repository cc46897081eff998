//! Veths beside NICs that were moved into pods: what pods send to services goes by them to the node, which alone knows
//! where services are, and all else by the NIC.
//!
//! A flow that comes in by such a veth has a mark ([`super::SERVED`]), and so have its answers: only they are routed to the
//! pod by the veth. So nothing else of the node takes this way, past the cloud's filters and by two ways at once.

mod node;

use std::collections::BTreeMap;
use std::net::IpAddr;

use hostnic_core::attachment::{AttachmentMark, IfName};
use hostnic_core::route::{Drift, MarkedLink, PodPlan, PodsTable, ServiceVeth};
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::IpNet;

use super::alias::{Alias, Part};
use super::node::Node;
use super::pair::{self, End, Pair, Programming, State, macs};
use super::pod::Pod;
use super::veth;
pub(super) use node::{filter, rules};

/// The group of these veths' ends in the node, "hns" in the bytes of its number: by it rules know what comes by them.
const GROUP: u32 = u32::from_be_bytes(*b"\0hns");

/// The table of the routes to these pods.
const TABLE: u32 = PodsTable::TAKEN[0];

/// The plan of a veth for services, checked as far as the kernel's side can.
#[derive(Debug, Clone)]
pub(super) struct Planned<'a> {
    plan: &'a PodPlan,
    pub(super) pair: Pair<'a>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// `Unsupported` for an address of IPv6.
    pub(super) fn new(plan: &'a PodPlan, services: &'a ServiceVeth) -> Result<Self> {
        let IpAddr::V4(address) = plan.address.addr() else {
            let subject = format!("{} in {}", plan.ifname, plan.netns);
            return Err(Error::new(ErrorKind::Unsupported, "program veth for services", subject)
                .detail(format!("{} is of IPv6; services are reached by IPv4", plan.address)));
        };
        let mark: &AttachmentMark = &plan.mark;
        let (host_mac, pod_mac) = macs(mark)?;
        let pair = Pair {
            mark,
            host: End { part: Part::ServiceHostEnd, name: services.host_ifname.as_str(), mac: host_mac },
            pod: End { part: Part::ServicePodEnd, name: ServiceVeth::POD_IFNAME, mac: pod_mac },
            group: Some(GROUP),
            address,
            has_address: false,
            table: TABLE,
            source: None,
            destinations: services.services.iter().copied().filter(|to| to.addr().is_ipv4()).collect(),
        };
        Ok(Self { plan, pair })
    }

    /// What is set up, for people.
    fn subject(&self) -> String {
        format!("{} in {}", self.pair.pod.name, self.plan.netns)
    }
}

/// Makes the veth as planned, beside the NIC, whose MTU it has. What was there before stays, even when this fails.
pub(super) async fn set_up(node: &Node, planned: &Planned<'_>, pod: &Pod, mtu: u32) -> Result<()> {
    let programming = Programming { node, pair: &planned.pair, mtu, pod };
    let target = veth::Target::beside_moved_nic(&planned.pair);
    programming.set_up(&planned.subject(), &target).await.map(drop)
}

/// Tells of the pods' NICs which veths to services are beside them, whose ends in the pods are these.
pub(super) async fn tell(
    node: &Node,
    pods: &mut [MarkedLink],
    mut beside: BTreeMap<AttachmentMark, Vec<IpNet>>,
) -> Result<()> {
    if beside.is_empty() {
        return Ok(());
    }
    for link in node.connection().await?.links().await? {
        let Some(alias) = Alias::of(&link).filter(|alias| alias.part == Part::ServiceHostEnd) else {
            continue;
        };
        let pod = pods.iter_mut().find(|pod| pod.mark == alias.mark);
        let (Some(pod), Ok(host_ifname)) = (pod, IfName::new(&link.name)) else { continue };
        pod.services = beside.remove(&alias.mark).map(|services| ServiceVeth { host_ifname, services });
    }
    Ok(())
}

/// How the veth differs from its plan.
pub(super) async fn check(node: &Node, planned: &Planned<'_>, pod: &Pod, mtu: u32) -> Result<Vec<Drift>> {
    let state = State::read(node, &planned.pair, Some(pod)).await?;
    let missing = pair::differences(&planned.pair, mtu, &state);
    Ok(missing.iter().map(|difference| difference.drift(&planned.pair)).collect())
}
