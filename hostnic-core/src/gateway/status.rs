//! The gateways of a node, for whoever shows it.

use std::net::IpAddr;

use crate::attachment::IfName;
use crate::id::{MacAddr, NicId, SubnetId};
use crate::ledger::{NicRole, NicState, State};
use crate::route::GatewayPlan;

use super::{Candidates, GatewayConfig};

/// Whose a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayOwner {
    /// Ours: made for pods, and given back after the last of its subnet.
    Node {
        /// Its NIC.
        nic: NicId,
        /// The name that its link has, or is to have.
        ifname: IfName,
    },
    /// The operator's, of which nothing is changed.
    Operator,
}

/// How far a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayProgress {
    /// Pods' routes go by it.
    Ready,
    /// On its way, with what went wrong last.
    Coming(Option<String>),
    /// On its way out.
    Leaving,
}

/// A gateway, for whoever shows the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// The subnet whose pods it is for.
    pub subnet: SubnetId,
    /// The MAC address of its NIC.
    pub mac: MacAddr,
    /// Its address, the pods' next hop; `None` before the cloud gave one.
    pub address: Option<IpAddr>,
    /// Whose it is.
    pub owner: GatewayOwner,
    /// How far it is.
    pub progress: GatewayProgress,
}

/// The gateways that there are and that are on their way, ours first. `programmed` is what the kernel has, and `trouble` why
/// it does not have more.
pub(crate) fn statuses(
    config: &GatewayConfig,
    state: &State,
    candidates: &Candidates,
    programmed: &[GatewayPlan],
    trouble: Option<&str>,
) -> Vec<GatewayStatus> {
    let progress = |mac| {
        if programmed.iter().any(|plan| plan.mac == mac) {
            GatewayProgress::Ready
        } else {
            GatewayProgress::Coming(trouble.map(str::to_owned))
        }
    };
    let own = state.nics.values().filter_map(|nic| {
        let NicRole::Gateway(number) = nic.role else { return None };
        Some(GatewayStatus {
            subnet: nic.subnet.id.clone(),
            mac: nic.mac,
            address: nic.addresses.first().map(|address| address.address),
            owner: GatewayOwner::Node { nic: nic.id.clone(), ifname: config.link(number).ok()? },
            progress: match nic.state {
                NicState::Ready => progress(nic.mac),
                NicState::Attaching { .. } => GatewayProgress::Coming(None),
                _ => GatewayProgress::Leaving,
            },
        })
    });
    let theirs = candidates.iter().map(|(subnet, candidate)| GatewayStatus {
        subnet: subnet.clone(),
        mac: candidate.mac,
        address: Some(candidate.address.addr()),
        owner: GatewayOwner::Operator,
        progress: progress(candidate.mac),
    });
    own.chain(theirs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tests::{address, mac, range, record};
    use crate::gateway::{Candidate, GatewayNumber, plans};
    use crate::ledger::Write;

    #[test]
    fn a_gateway_is_ready_when_the_kernel_has_it_and_says_what_keeps_it() {
        let mut state = State::default();
        let gateway = |n, state| record(n, NicRole::Gateway(GatewayNumber(n.into())), state);
        state.apply(&[
            Write::PutNic(record(2, NicRole::Pods, NicState::Ready)),
            Write::PutNic(gateway(3, NicState::Ready)),
            Write::PutNic(gateway(4, NicState::Attaching { job: None, failures: 0 })),
            Write::PutNic(gateway(5, NicState::Detaching { job: None })),
        ]);
        let theirs = Candidates::from([(range().id, Candidate { mac: mac(9), address: address(9) })]);
        let shown = |programmed: &[GatewayPlan]| {
            let shown = statuses(&GatewayConfig::new(), &state, &theirs, programmed, Some("no room"));
            let of = |status: GatewayStatus| (status.owner == GatewayOwner::Operator, status.progress);
            shown.into_iter().map(of).collect::<Vec<_>>()
        };
        let coming = |why: Option<&str>| GatewayProgress::Coming(why.map(str::to_owned));
        let (attaching, detaching) = ((false, coming(None)), (false, GatewayProgress::Leaving));
        assert_eq!(
            shown(&[]),
            [
                (false, coming(Some("no room"))),
                attaching.clone(),
                detaching.clone(),
                (true, coming(Some("no room")))
            ]
        );
        let all = plans(&GatewayConfig::new(), &state, &theirs);
        assert_eq!(
            shown(&all),
            [(false, GatewayProgress::Ready), attaching, detaching, (true, GatewayProgress::Ready)]
        );
    }
}
