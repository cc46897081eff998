//! Pods behind veths, each with a NIC of its own that stays in the node's namespace.
//!
//! The NIC answers ARP for the pod by a proxy entry, and asks by ARP from the pod's address, which it has, too.

mod hairpin;
mod marks;
pub(super) mod node;
mod plan;
mod planned;
mod program;
mod state;
pub(super) mod survey;
mod undo;

use hostnic_core::id::MacAddr;
use hostnic_core::route::{Drift, PodLink};
use hostnic_core::{Error, ErrorKind, Result};

use super::node::Node;
use super::pair::put_aside;
use super::pod::Pod;
use super::{missing, told};
use crate::link::{LinkChange, LinkIndex};
use plan::{Beginning, differences};
pub(super) use planned::Planned;
use program::Programming;
use state::State;
pub(super) use undo::{Left, Silenced, Target, give_back, silence, take_away, tear_down};

/// How often what is there is compared with the plan: putting one thing right can undo another, as setting a link down
/// takes its routes away.
const ROUNDS: usize = 3;

/// Makes the pod's interface as planned. `hint` is where the NIC was last seen.
pub(super) async fn set_up(
    node: &Node,
    planned: &Planned<'_>,
    pod: &Pod,
    hint: Option<LinkIndex>,
) -> Result<PodLink> {
    let beginning = state::begin(node, planned, pod, hint).await?;
    let programming = Programming { node, planned, pod };
    let mtu = match beginning {
        Beginning::Fresh(nic, loopback_up) => match programming.make(nic, loopback_up).await {
            Ok(mtu) => mtu,
            Err(error) => {
                return Err(told(error, tear_down(node, &Target::planned(planned)).await.map(drop)));
            }
        },
        Beginning::Present => repair(&programming).await?,
        Beginning::Supersede(older) => {
            put_aside(node, older).await?;
            repair(&programming).await?
        }
    };
    Ok(PodLink { mac: planned.pair.pod.mac, mtu })
}

/// Puts right what differs, and returns the MTU of the pod's interface. What was right before stays so even when this
/// fails: pods that run are repaired by it.
async fn repair(programming: &Programming<'_>) -> Result<u32> {
    let Programming { node, planned, pod } = programming;
    for _ in 0..ROUNDS {
        let state = State::read(node, planned, Some(pod)).await?.ok_or_else(|| planned.absent())?;
        let missing = differences(planned, &state);
        if missing.is_empty() {
            return Ok(planned.mtu(&state.nic.link));
        }
        programming.put_right(&state, &missing).await?;
    }
    let state = State::read(node, planned, Some(pod)).await?.ok_or_else(|| planned.absent())?;
    match differences(planned, &state).first() {
        None => Ok(planned.mtu(&state.nic.link)),
        Some(left) => {
            let left = left.drift(planned);
            Err(Error::new(ErrorKind::Transient, "set up", planned.subject())
                .detail(format!("{left}; somebody else changes it, too")))
        }
    }
}

/// Lets the kernel announce the NIC's address: it does so whenever the NIC's MAC address is set, also to what it was.
pub(super) async fn announce(node: &Node, mac: MacAddr, hint: Option<LinkIndex>) -> Result<()> {
    let nic = node.nic(mac, hint).await?;
    node.change(nic.index, LinkChange::new().mac(mac)).await
}

/// How the pod differs from its plan. `pod` is `None` where its namespace is gone.
pub(super) async fn check(node: &Node, planned: &Planned<'_>, pod: Option<&Pod>) -> Result<Vec<Drift>> {
    let mut drifts = Vec::new();
    if pod.is_none() {
        drifts.push(missing(format!("network namespace {}", planned.plan.netns)));
    }
    match State::read(node, planned, pod).await? {
        None => drifts.push(missing(format!("NIC {}", planned.plan.mac))),
        Some(state) => drifts.extend(differences(planned, &state).iter().map(|d| d.drift(planned))),
    }
    Ok(drifts)
}
