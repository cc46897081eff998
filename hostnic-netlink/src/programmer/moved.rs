//! Pods that their NICs are moved into, with a veth to services beside where the plan has one.

use std::net::IpAddr;
use std::sync::Arc;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::id::MacAddr;
use hostnic_core::route::{Drift, PodLink, PodPlan, SilencedPod};
use hostnic_core::{Error, ErrorKind, Result};

use super::alias::{Alias, Part, SharedAlias, own_mtu};
use super::node::Node;
use super::plan::{Beginning, PodState};
use super::pod::{self, Pod};
use super::services;
use super::silenced::Silenced;
use super::{if_there, missing, plan, told, veth};
use crate::link::{LinkChange, LinkIndex};
use crate::netns::Netns;

/// One pod's plan, and the node that it is of.
#[derive(Debug)]
pub(super) struct Moved<'a> {
    pub(super) node: &'a Arc<Node>,
    pub(super) plan: &'a PodPlan,
    pub(super) services: Option<services::Planned<'a>>,
}

impl Moved<'_> {
    /// Makes the pod's interface as planned. `hint` is where the NIC was last seen.
    pub(super) async fn set_up(&self, pod: &Pod, hint: Option<LinkIndex>) -> Result<PodLink> {
        let links = pod.links().await?;
        match plan::beginning(self.plan, &links)? {
            Beginning::Complete(link) => {
                let link = self.repair(pod, pod.state(link, &links).await?).await?;
                self.set_up_services(pod, link.mtu).await?;
                Ok(link)
            }
            Beginning::Move => {
                let done = match self.move_in(pod, hint, pod::loopback_up(&links)).await {
                    Ok(link) => self.set_up_services(pod, link.mtu).await.map(|()| link),
                    Err(error) => Err(error),
                };
                match done {
                    Ok(link) => Ok(link),
                    Err(error) => Err(told(error, self.take_back(pod).await)),
                }
            }
        }
    }

    async fn set_up_services(&self, pod: &Pod, mtu: u32) -> Result<()> {
        match &self.services {
            Some(planned) => services::set_up(self.node, planned, pod, mtu).await,
            None => Ok(()),
        }
    }

    async fn repair(&self, pod: &Pod, state: PodState) -> Result<PodLink> {
        let missing = plan::differences(self.plan, &state);
        if let Err(error) = pod.put_right(self.plan, &state.link, &missing).await {
            return Err(told(error, pod.take_back(&missing).await));
        }
        Ok(PodLink { mac: self.plan.mac, mtu: self.plan.mtu.unwrap_or(state.link.mtu) })
    }

    async fn move_in(&self, pod: &Pod, hint: Option<LinkIndex>, loopback_up: bool) -> Result<PodLink> {
        let plan = self.plan;
        let nic = self.node.nic(plan.mac, hint).await?;
        if SharedAlias::of(&nic).is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "set up",
                format!("{} in {}", plan.ifname, plan.netns),
            )
            .detail(format!("NIC {} is shared by other pods", plan.mac)));
        }
        let own_mtu = own_mtu(&nic);
        let alias = Alias::of_part(&plan.mark, Part::Moved, Some(own_mtu)).to_string();
        let change = LinkChange::new()
            .move_to(&pod.netns)
            .rename(plan.ifname.as_str())
            .alias(&alias)
            .mtu(plan.mtu.unwrap_or(own_mtu))
            .announce_addresses();
        self.node.change(nic.index, change).await?;
        // A link that just arrived has nothing but its name.
        let link = pod.link_named(plan.ifname.as_str()).await?;
        let mtu = link.mtu;
        let state = PodState { link, loopback_up, addresses: Vec::new(), routes: Vec::new() };
        pod.put_right(plan, &state.link, &plan::differences(plan, &state)).await?;
        Ok(PodLink { mac: plan.mac, mtu })
    }

    /// Undoes a move, also one that the kernel may still be about to make.
    async fn take_back(&self, pod: &Pod) -> Result<()> {
        self.node.check().await?;
        let freed = release(self.node, &self.plan.mark, Some(self.plan.mac), pod).await?;
        match freed {
            Some(freed) => self.node.forget_flows(freed.addresses).await,
            None => Ok(()),
        }
    }

    /// How the pod differs from the plan.
    pub(super) async fn check(&self, pod: &Pod) -> Result<Vec<Drift>> {
        let links = pod.links().await?;
        let Some(link) = plan::find(&self.plan.mark, Some(self.plan.mac), &links) else {
            return Ok(vec![missing(format!("interface {}", self.plan.ifname))]);
        };
        let state = pod.state(link.clone(), &links).await?;
        let differences = plan::differences(self.plan, &state);
        let mut drifts: Vec<Drift> = differences.iter().map(|d| d.drift(self.plan, &state.link)).collect();
        if let Some(planned) = &self.services {
            let mtu = self.plan.mtu.unwrap_or(state.link.mtu);
            drifts.extend(services::check(self.node, planned, pod, mtu).await?);
        }
        Ok(drifts)
    }

    /// Ends the traffic of the pod's interfaces; `None` when it has none.
    pub(super) async fn silence(&self, netns: Netns) -> Result<Option<Box<dyn SilencedPod>>> {
        if netns.sandbox() == self.node.netns().sandbox() {
            return Ok(None);
        }
        let pod = Pod::enter(netns, self.node).await?;
        let target = self.veth();
        let beside = async {
            match &target {
                Some(target) => veth::silence(self.node, target).await,
                None => Ok(None),
            }
        };
        match futures::join!(self.silence_nic(&pod), beside) {
            (Ok(nic), Ok(beside)) if nic || beside.is_some() => {
                let beside = target.zip(beside);
                Ok(Some(Box::new(Silenced::new(self.node.clone(), self.plan.clone(), beside, pod))))
            }
            (nic, beside) => {
                pod.leave().await;
                nic.and(beside).map(|_| None)
            }
        }
    }

    /// False when the pod has no NIC of the plan.
    async fn silence_nic(&self, pod: &Pod) -> Result<bool> {
        let links = pod.links().await?;
        let nic = plan::find(&self.plan.mark, Some(self.plan.mac), &links);
        let Some(link) = nic else { return Ok(false) };
        pod.silence(link, &self.plan.mark).await.map(|()| true)
    }

    /// Takes the pod's interfaces away.
    pub(super) async fn tear_down(&self) -> Result<()> {
        if let Some(target) = self.veth() {
            veth::take_away(self.node, &target).await?;
        }
        let visitor = self.node.visitor()?;
        let netns = pod::open_planned(&visitor, &self.plan.netns, self.plan.sandbox).await;
        let freed = match if_there(netns)? {
            Some(netns) => take_out(self.node, &self.plan.mark, Some(self.plan.mac), netns).await?,
            None => None,
        };
        // Also where the NIC came back by itself.
        let of_link = freed.map_or_else(Vec::new, |freed| freed.addresses);
        self.node.forget_flows(of_link.into_iter().chain([self.plan.address.addr()])).await
    }

    /// What is in the node.
    fn veth(&self) -> Option<veth::Target> {
        self.services.as_ref().map(|services| veth::Target::beside_moved_nic(&services.pair))
    }
}

/// A NIC that is back in the node.
#[derive(Debug)]
struct Freed {
    mac: Option<MacAddr>,
    /// Those that it had in the pod, whose flows are still to be forgotten.
    addresses: Vec<IpAddr>,
}

/// Takes what carries the mark of an attachment out of a pod; gives back its MAC address.
pub(super) async fn tear_down(node: &Node, mark: &AttachmentMark, netns: Netns) -> Result<Option<MacAddr>> {
    let Some(freed) = take_out(node, mark, None, netns).await? else { return Ok(None) };
    node.forget_flows(freed.addresses).await?;
    Ok(freed.mac)
}

/// Takes the NIC of an attachment out of a pod; `None` when the pod has none.
async fn take_out(
    node: &Node,
    mark: &AttachmentMark,
    mac: Option<MacAddr>,
    netns: Netns,
) -> Result<Option<Freed>> {
    if netns.sandbox() == node.netns().sandbox() {
        return Ok(None);
    }
    let pod = Pod::enter(netns, node).await?;
    let released = release(node, mark, mac, &pod).await;
    pod.leave().await;
    released
}

/// Gives the NIC of an attachment back to the node; `None` when the pod has none.
async fn release(
    node: &Node,
    mark: &AttachmentMark,
    mac: Option<MacAddr>,
    pod: &Pod,
) -> Result<Option<Freed>> {
    let links = pod.links().await?;
    let Some(link) = plan::find(mark, mac, &links) else { return Ok(None) };
    let addresses = pod.connection().addresses_of(link.index).await?;
    let mac = pod.give_back(link, node).await?;
    Ok(Some(Freed { mac, addresses: addresses.iter().map(|address| address.address.addr()).collect() }))
}
