//! Decisions: from what is there of a pod and what should be to what is to be done. Nothing here asks the kernel.

use hostnic_core::route::{Drift, Hairpin};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Alias, Part, SharedAlias};
use super::super::nic::{self, answer_for};
use super::super::pair::{self, of_neighbours};
use super::planned::Planned;
use super::state::State;
use crate::link::Link;
use crate::neighbour::Neighbour;

/// How a set-up begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Nothing of the pod is there but the NIC, which is bare; whether the pod's loopback is up.
    Fresh(Link, bool),
    /// Something is there.
    Present,
    /// The veth's name in the node is that of an older attachment of ours.
    Supersede(Link),
}

/// The links of the node that have the names of a plan.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) nic: Option<Link>,
    pub(super) host_end: Option<Link>,
}

/// Judges what is there before anything is done: the NIC, the links that have its name and the veth's, and the pod's
/// links.
pub(super) fn beginning(
    planned: &Planned<'_>,
    nic: Link,
    named: Named,
    in_pod: &[Link],
) -> Result<Beginning> {
    let plan = planned.plan;
    let conflict =
        |detail: String| Err(Error::new(ErrorKind::Conflict, "set up", planned.subject()).detail(detail));
    let of_nic = Alias::of(&nic).filter(|alias| alias.part == Part::Nic);
    if of_nic.as_ref().is_some_and(|alias| alias.mark != plan.mark) {
        return conflict(format!("NIC {} is another pod's; take that down first", plan.mac));
    }
    if SharedAlias::of(&nic).is_some() {
        return conflict(format!("NIC {} is shared by other pods", plan.mac));
    }
    if named.nic.is_some_and(|link| link.index != nic.index) {
        return conflict(format!("another link of the node is named {}; rename it", planned.nic.name));
    }
    match pair::beginning(&planned.pair, &planned.subject(), named.host_end, in_pod)? {
        pair::Beginning::Fresh if nic.up || of_nic.is_some() => Ok(Beginning::Present),
        pair::Beginning::Fresh => Ok(Beginning::Fresh(nic, super::super::pod::loopback_up(in_pod))),
        pair::Beginning::Present => Ok(Beginning::Present),
        pair::Beginning::Supersede(older) => Ok(Beginning::Supersede(older)),
    }
}

/// One thing that a pod's plan asks for and the kernel does not have, or has too much. In the order in which they are to
/// be put right: the NIC first, and the pod's link is set up last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Something of the NIC, its table or its rules.
    Nic(nic::Difference),
    Neighbour(Neighbour),
    /// What the pod sends to itself by a service is not known as such.
    Itself,
    /// Something of the veth.
    Pair(pair::Difference),
}

/// How `state` differs from the plan.
pub(super) fn differences(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let mut found = of_nic(planned, state);
    let of_pair = pair::differences(&planned.pair, planned.mtu(&state.nic.link), &state.pair);
    found.extend(of_pair.into_iter().map(Difference::Pair));
    found
}

/// What concerns the NIC, its table and the rules.
pub(super) fn of_nic(planned: &Planned<'_>, state: &State) -> Vec<Difference> {
    let of_nic = nic::differences(&planned.nic, &state.nic, &state.pair.routes);
    let mut found: Vec<_> = of_nic.into_iter().map(Difference::Nic).collect();
    let answer = answer_for(planned.address, state.nic.link.index);
    found.extend(of_neighbours(&state.pair.neighbours, answer).map(Difference::Neighbour));
    let itself = planned.veth.hairpin == Hairpin::On && !state.itself;
    found.extend(itself.then_some(Difference::Itself));
    found
}

impl Difference {
    /// This in words.
    pub(super) fn drift(&self, planned: &Planned<'_>) -> Drift {
        let missing = |object: String| Drift { object, difference: "missing".to_owned() };
        match self {
            Self::Nic(difference) => difference.drift(&planned.nic),
            Self::Neighbour(neighbour) => missing(format!("neighbour {neighbour}")),
            Self::Itself => missing(format!("{} in the nftables set of pods", planned.address)),
            Self::Pair(difference) => difference.drift(&planned.pair),
        }
    }
}
