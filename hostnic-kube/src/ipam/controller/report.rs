//! What `v-pool` says of itself.

use super::super::resources::{Condition, Pool, VxNetPoolStatus};
use super::namespaces::Shared;
use super::telling::no_block_left;

/// What became of one vxnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its pool and its blocks, of these names, are there.
    Ready(Vec<String>),
    /// Something is being done, which takes a while.
    Underway(&'static str),
    /// A person must act.
    Refused { reason: &'static str, message: String },
    /// It is tried again.
    Failed(String),
    /// It is no longer wanted, or its pool is being removed though it is, and pods still use it; `lost` more pods have addresses of blocks
    /// that are gone.
    Leaving { used: u32, lost: u32, wanted: bool },
}

impl Outcome {
    /// A pool that somebody removed is gone.
    pub(super) const GONE: Self = Self::Underway("its pool was removed and is made again");

    /// What is to be said of it, in words; nothing where all is well.
    pub(super) fn message(&self, vxnet: &str) -> Option<String> {
        match self {
            Self::Ready(_) => None,
            Self::Underway(what) => Some(format!("{vxnet}: {what}")),
            Self::Refused { message, .. } => Some(format!("{vxnet}: {message}")),
            Self::Failed(message) => Some(format!("{vxnet}: {message}; it is tried again")),
            Self::Leaving { used, lost, wanted } => {
                let why = if *wanted { ": its pool is being removed" } else { " is no longer in v-pool" };
                let pods = used.saturating_add(*lost);
                let told = format!("{vxnet}{why} and goes when its last {pods} pods have gone");
                Some(match lost {
                    0 => told,
                    _ => format!("{told}: delete them, since the blocks of {lost} of them were removed"),
                })
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Ready(_) | Self::Leaving { wanted: false, .. } => "Ready",
            Self::Leaving { wanted: true, .. } => "Removing",
            Self::Underway(_) => "Preparing",
            Self::Refused { reason, .. } => reason,
            Self::Failed(_) => "Failed",
        }
    }
}

/// The whole status. `now` is when it is written, and counts only where it changes something.
pub(super) fn status(
    before: Option<&VxNetPoolStatus>,
    outcomes: &[(String, Outcome)],
    shared: &Shared,
    now: &str,
) -> VxNetPoolStatus {
    let not_ready = outcomes.iter().map(|(_, outcome)| outcome.reason()).find(|reason| *reason != "Ready");
    let messages: Vec<String> =
        outcomes.iter().filter_map(|(vxnet, outcome)| outcome.message(vxnet)).collect();
    let process = outcomes.iter().find_map(|(vxnet, outcome)| match outcome {
        Outcome::Underway(_) => outcome.message(vxnet),
        _ => None,
    });
    let pools = outcomes.iter().filter_map(|(vxnet, outcome)| match outcome {
        Outcome::Ready(subnets) => {
            Some(Pool { name: vxnet.clone(), ippool: vxnet.clone(), subnets: subnets.clone() })
        }
        _ => None,
    });
    let message = messages.join("; ");
    let ready = Aspect {
        name: "Ready",
        good: not_ready.is_none(),
        reason: not_ready.unwrap_or("Ready"),
        message: if message.is_empty() { "each vxnet has its blocks" } else { &message },
    };
    let no_block = match shared {
        Shared::Given { wanting, .. } if !wanting.is_empty() => Some(no_block_left(wanting)),
        _ => None,
    };
    let mapping = mapping(shared, no_block.as_deref());
    let kept = before.and_then(|before| known(before, MAPPING)).filter(|_| mapping.is_none());
    let conditions = std::iter::once(ready).chain(mapping).map(|aspect| aspect.condition(before, now));
    // That the cloud answers is told to whom it was told that it did not.
    let silent = before.is_some_and(|before| known(before, CLOUD).is_some());
    let answers = Aspect { name: CLOUD, good: true, reason: "Answers", message: "the cloud answers" };
    let answers = silent.then(|| answers.condition(before, now));
    let conditions = conditions.chain(kept.cloned()).chain(answers).collect();
    VxNetPoolStatus {
        ready: not_ready.is_none(),
        message: (!message.is_empty()).then_some(message),
        process,
        pools: pools.collect(),
        conditions,
    }
}

/// The status while the cloud cannot be asked: all else stays as it was.
pub(super) fn unanswered(before: Option<&VxNetPoolStatus>, why: &str, now: &str) -> VxNetPoolStatus {
    let message = format!("the cloud cannot be asked of vxnets: {why}; it is tried again");
    let silent = Aspect { name: CLOUD, good: false, reason: "NoAnswer", message: &message };
    let condition = silent.condition(before, now);
    let mut status = before.cloned().unwrap_or_default();
    status.message = Some(message);
    status.conditions.retain(|known| known.aspect != CLOUD);
    status.conditions.push(condition);
    status
}

/// The condition that tells whether the cloud answers.
const CLOUD: &str = "Cloud";
/// The condition that tells of ConfigMap `hostnic-ipam-config`.
const MAPPING: &str = "IpamConfig";

/// What is to be said of one aspect.
struct Aspect<'a> {
    name: &'static str,
    good: bool,
    reason: &'a str,
    message: &'a str,
}

/// What is to be said of the mapping; `None` where what was said of it stays.
fn mapping<'a>(shared: &'a Shared, no_block: Option<&'a str>) -> Option<Aspect<'a>> {
    let (good, reason, message) = match (shared, no_block) {
        (Shared::Untold, _) => return None,
        (Shared::Wrong(mistake), _) => (false, "Invalid", mistake.as_str()),
        (Shared::Given { .. }, Some(no_block)) => (false, "NoBlockLeft", no_block),
        (Shared::Given { .. }, None) => (true, "Valid", "hostnic-ipam-config is in force"),
    };
    Some(Aspect { name: MAPPING, good, reason, message })
}

fn known<'a>(status: &'a VxNetPoolStatus, aspect: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|known| known.aspect == aspect)
}

impl Aspect<'_> {
    fn condition(&self, before: Option<&VxNetPoolStatus>, now: &str) -> Condition {
        let status = if self.good { "True" } else { "False" };
        let before = before.and_then(|before| known(before, self.name));
        let since = before.filter(|before| before.status == status);
        Condition {
            aspect: self.name.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
            last_transition_time: since.map_or(now, |before| &before.last_transition_time).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(outcomes: &[(&str, Outcome)]) -> Vec<(String, Outcome)> {
        outcomes.iter().map(|(vxnet, outcome)| ((*vxnet).to_owned(), outcome.clone())).collect()
    }

    #[test]
    fn it_is_ready_when_each_vxnet_is_and_says_what_to_do_when_not() {
        let ready = Outcome::Ready(vec!["4100-10-0-0-0-27".into()]);
        let leaving = Outcome::Leaving { used: 3, lost: 0, wanted: false };
        let status =
            |before, outcomes: &[(String, Outcome)], now| status(before, outcomes, &Shared::Untold, now);
        let good = status(None, &outcome(&[("vxnet-a", ready.clone()), ("vxnet-b", leaving)]), "t1");
        assert!(good.ready && good.message.as_deref().is_some_and(|told| told.contains("vxnet-b")));
        assert_eq!(good.pools[0].subnets, ["4100-10-0-0-0-27"]);
        let refused = Outcome::Refused { reason: "DhcpOff", message: "DHCP is off".into() };
        let bad = status(Some(&good), &outcome(&[("vxnet-a", ready), ("vxnet-c", refused)]), "t2");
        assert_eq!((bad.ready, bad.message.as_deref()), (false, Some("vxnet-c: DHCP is off")));
        let told = &bad.conditions[0];
        assert_eq!((&*told.status, &*told.reason, &*told.last_transition_time), ("False", "DhcpOff", "t2"));
        let busy = outcome(&[("vxnet-a", Outcome::Underway("its addresses are being claimed"))]);
        let busy = status(Some(&bad), &busy, "t3");
        assert_eq!(busy.process.as_deref(), Some("vxnet-a: its addresses are being claimed"));
        assert_eq!(&*busy.conditions[0].last_transition_time, "t2");
        let lost =
            status(None, &outcome(&[("vxnet-a", Outcome::Leaving { used: 1, lost: 2, wanted: true })]), "t4");
        let told = "vxnet-a: its pool is being removed and goes when its last 3 pods have gone: delete them, since the blocks of 2 of them \
                    were removed";
        assert_eq!(lost.message.as_deref(), Some(told));
    }

    #[test]
    fn a_mapping_that_counts_no_more_is_told_until_it_is_known_to_be_right() {
        let of =
            |before: Option<&VxNetPoolStatus>, shared: &Shared, now: &str| status(before, &[], shared, now);
        let told = |status: &VxNetPoolStatus| {
            let told = known(status, MAPPING)
                .map(|told| (&*told.status, &*told.reason, &*told.last_transition_time));
            told.map(|(status, reason, since)| format!("{status} {reason} {since}"))
        };
        let given = |wanting: &[&str]| {
            let wanting = wanting.iter().map(|&namespace| namespace.to_owned()).collect();
            Shared::Given { wanting, resting: false }
        };
        let none = of(None, &Shared::Untold, "t0");
        assert_eq!(told(&none), None);
        let right = of(Some(&none), &given(&[]), "t1");
        assert_eq!(told(&right).as_deref(), Some("True Valid t1"));
        let wrong = of(Some(&right), &Shared::Wrong("it is no JSON".into()), "t2");
        assert_eq!(told(&wrong).as_deref(), Some("False Invalid t2"));
        let unread = of(Some(&wrong), &Shared::Untold, "t3");
        assert_eq!(told(&unread).as_deref(), Some("False Invalid t2"));
        let short = of(Some(&unread), &given(&["test"]), "t4");
        assert_eq!(told(&short).as_deref(), Some("False NoBlockLeft t2"));
        assert!(short.conditions[1].message.contains("for test"));
    }

    #[test]
    fn a_cloud_that_does_not_answer_is_told_and_changes_nothing_else() {
        let ready = outcome(&[("vxnet-a", Outcome::Ready(vec!["4100-10-0-0-0-27".into()]))]);
        let good = status(None, &ready, &Shared::Untold, "t1");
        let silent = unanswered(Some(&good), "the key is refused", "t2");
        assert_eq!((silent.ready, &silent.pools, silent.conditions.len()), (true, &good.pools, 2));
        assert!(silent.message.as_deref().is_some_and(|told| told.contains("the key is refused")));
        assert_eq!(known(&silent, CLOUD).map(|told| &*told.status), Some("False"));
        let again = status(Some(&silent), &ready, &Shared::Untold, "t3");
        assert_eq!(again.message, None);
        assert_eq!(known(&again, CLOUD).map(|told| &*told.status), Some("True"));
    }
}
