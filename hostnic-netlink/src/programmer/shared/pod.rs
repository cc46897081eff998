//! A pod that shares a NIC.

use std::net::{IpAddr, Ipv4Addr};

use hostnic_core::route::{Drift, PodLink, PodPlan, SharedPlan};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Part, SharedAlias, own_mtu};
use super::super::missing;
use super::super::nic::answer_for;
use super::super::node::Node;
use super::super::pair::{self, End, Pair, Programming, macs, of_neighbours};
use super::super::pod::Pod;
use super::super::{told, veth};
use crate::link::{Link, LinkIndex};
use crate::route::KernelRoute;

/// The plan of a pod, checked as far as the kernel's side can.
#[derive(Debug, Clone)]
pub(in crate::programmer) struct Planned<'a> {
    plan: &'a PodPlan,
    shared: &'a SharedPlan,
    address: Ipv4Addr,
    pair: Pair<'a>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// `Unsupported` for an address of IPv6, `Invalid` for routes, and for one table that is the pods' and the NIC's.
    pub(in crate::programmer) fn new(plan: &'a PodPlan, shared: &'a SharedPlan) -> Result<Self> {
        let refused = |kind| Error::new(kind, "program veth", format!("{} in {}", plan.ifname, plan.netns));
        let IpAddr::V4(address) = plan.address.addr() else {
            return Err(refused(ErrorKind::Unsupported)
                .detail(format!("{} is of IPv6; pods behind a veth have addresses of IPv4", plan.address)));
        };
        if !plan.routes.is_empty() {
            return Err(refused(ErrorKind::Invalid)
                .detail("its NIC is shared, and so are the routes; they belong to the plan of the NIC"));
        }
        if shared.table.number() == shared.pods.number() {
            return Err(refused(ErrorKind::Invalid).detail(format!(
                "table {} cannot be the NIC's and that of all pods; choose another one",
                shared.pods.number()
            )));
        }
        let (host_mac, pod_mac) = macs(&plan.mark)?;
        let pair = Pair {
            mark: &plan.mark,
            host: End { part: Part::SharedHostEnd, name: shared.host_ifname.as_str(), mac: host_mac },
            pod: End { part: Part::PodEnd, name: plan.ifname.as_str(), mac: pod_mac },
            group: None,
            address,
            has_address: true,
            table: shared.pods.number(),
            source: Some(shared.source),
            destinations: vec![KernelRoute::everywhere(IpAddr::V4(address))],
        };
        Ok(Self { plan, shared, address, pair })
    }

    /// What is there in the node. `hint` is where the NIC was last seen.
    pub(in crate::programmer) fn target(&self, hint: Option<LinkIndex>) -> veth::Target {
        veth::Target::sharing(&self.pair, self.plan.mac, hint)
    }

    /// What is set up, for people.
    fn subject(&self) -> String {
        format!("{} in {}", self.plan.ifname, self.plan.netns)
    }

    /// The MTU of the pod's interface.
    fn mtu(&self, nic: &Link) -> u32 {
        let own = own_mtu(nic);
        self.plan.mtu.unwrap_or_else(|| self.shared.mtu_at_most.map_or(own, |most| own.min(most)))
    }

    fn is_shared(&self, nic: &Link) -> bool {
        SharedAlias::of(nic).is_some_and(|alias| alias.table == self.shared.table)
    }

    /// The NIC, which has to be one that is shared.
    async fn nic(&self, node: &Node, hint: Option<LinkIndex>) -> Result<Link> {
        let nic = node.nic(self.plan.mac, hint).await?;
        if self.is_shared(&nic) {
            return Ok(nic);
        }
        Err(Error::new(ErrorKind::Conflict, "set up", self.subject()).detail(format!(
            "NIC {} is not set up to be shared with table {}",
            self.plan.mac,
            self.shared.table.number()
        )))
    }
}

/// Makes the pod's interface as planned. `hint` is where the NIC was last seen.
pub(in crate::programmer) async fn set_up(
    node: &Node,
    planned: &Planned<'_>,
    pod: &Pod,
    hint: Option<LinkIndex>,
) -> Result<PodLink> {
    let nic = planned.nic(node, hint).await?;
    let mtu = planned.mtu(&nic);
    let target = planned.target(Some(nic.index));
    let programming = Programming { node, pair: &planned.pair, mtu, pod };
    let fresh = programming.set_up(&planned.subject(), &target).await?;
    // Last of all: what answers for a pod without a veth belongs to nobody.
    let answer = answer_for(planned.address, nic.index);
    match node.connection().await?.set_neighbour(&answer).await {
        Err(error) if fresh => return Err(told(error, veth::tear_down(node, &target).await.map(drop))),
        done => done?,
    }
    // The pod is reached by all who do not remember another NIC for its address, and it is announced once more later.
    if let Err(error) = node.announce(&nic, planned.address).await {
        tracing::warn!(error = %error.chain(), "the address of a pod was not announced");
    }
    Ok(PodLink { mac: planned.pair.pod.mac, mtu })
}

/// Announces the pod's address once more.
pub(in crate::programmer) async fn announce(
    node: &Node,
    planned: &Planned<'_>,
    hint: Option<LinkIndex>,
) -> Result<()> {
    let nic = planned.nic(node, hint).await?;
    node.announce(&nic, planned.address).await
}

/// How the pod differs from its plan. `pod` is `None` where its namespace is gone.
pub(in crate::programmer) async fn check(
    node: &Node,
    planned: &Planned<'_>,
    pod: Option<&Pod>,
) -> Result<Vec<Drift>> {
    let mut drifts = Vec::new();
    if pod.is_none() {
        drifts.push(missing(format!("network namespace {}", planned.plan.netns)));
    }
    let nic = match node.nic(planned.plan.mac, None).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            drifts.push(missing(format!("NIC {}", planned.plan.mac)));
            return Ok(drifts);
        }
        nic => nic?,
    };
    if !planned.is_shared(&nic) {
        drifts.push(Drift {
            object: format!("NIC {}", nic.name),
            difference: format!("is not shared with table {}", planned.shared.table.number()),
        });
    }
    let state = pair::State::read(node, &planned.pair, pod).await?;
    let of_pair = pair::differences(&planned.pair, planned.mtu(&nic), &state);
    drifts.extend(of_pair.iter().map(|difference| difference.drift(&planned.pair)));
    let answer = of_neighbours(&state.neighbours, answer_for(planned.address, nic.index));
    drifts.extend(
        answer.map(|answer| missing(format!("answer to ARP for {} by NIC {}", answer.address, nic.name))),
    );
    Ok(drifts)
}
