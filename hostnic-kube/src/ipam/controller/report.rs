//! What `v-pool` says of itself.

use super::super::resources::{Condition, Pool, VxNetPoolStatus};

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
    /// It is no longer wanted, and pods still use it.
    Leaving { used: u32 },
}

impl Outcome {
    fn message(&self, vxnet: &str) -> Option<String> {
        match self {
            Self::Ready(_) => None,
            Self::Underway(what) => Some(format!("{vxnet}: {what}")),
            Self::Refused { message, .. } => Some(format!("{vxnet}: {message}")),
            Self::Failed(message) => Some(format!("{vxnet}: {message}; it is tried again")),
            Self::Leaving { used } => {
                Some(format!("{vxnet} is no longer in v-pool and goes when its last {used} pods have gone"))
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Ready(_) | Self::Leaving { .. } => "Ready",
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
    let condition = condition(before, not_ready, &message, now);
    VxNetPoolStatus {
        ready: not_ready.is_none(),
        message: (!message.is_empty()).then_some(message),
        process,
        pools: pools.collect(),
        conditions: vec![condition],
    }
}

fn condition(
    before: Option<&VxNetPoolStatus>,
    not_ready: Option<&'static str>,
    message: &str,
    now: &str,
) -> Condition {
    let status = if not_ready.is_none() { "True" } else { "False" };
    let before = before.and_then(|before| before.conditions.iter().find(|known| known.aspect == "Ready"));
    let since = before.filter(|before| before.status == status).map(|before| &*before.last_transition_time);
    Condition {
        aspect: "Ready".to_owned(),
        status: status.to_owned(),
        reason: not_ready.unwrap_or("Ready").to_owned(),
        message: if message.is_empty() { "each vxnet has its blocks".to_owned() } else { message.to_owned() },
        last_transition_time: since.unwrap_or(now).to_owned(),
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
        let leaving = Outcome::Leaving { used: 3 };
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
    }
}
