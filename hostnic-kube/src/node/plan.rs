//! What the node's object is to say, and what has to be written for that.

use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Readiness;
use super::view::Seen;

/// The condition that keeps the scheduler away from a node without a network.
pub(super) const CONDITION: &str = "NetworkUnavailable";
/// How many NICs pods of this node may have.
pub(super) const RESOURCE: &str = "hostnic.network.kubesphere.io/nic";
/// The kubelet registers the node with it; taken away when pods can be served, and never put back: from then on the
/// condition says it.
const NOT_READY: &str = "hostnic.network.kubesphere.io/agent-not-ready";
/// On the node while no NIC is free and none can be made.
const NO_NIC: &str = "hostnic.network.kubesphere.io/no-nic";
const NO_SCHEDULE: &str = "NoSchedule";

/// What the node's object is to say. `None`: nothing of ours, what stands there stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) readiness: Option<Readiness>,
    pub(crate) scarce: Option<bool>,
    pub(crate) capacity: Option<Capacity>,
}

/// What the resource of NICs says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capacity {
    /// So many pods may have one.
    Nics(u32),
    /// Nothing: pods share them, and how many there are limits no pod.
    Shared,
}

impl Capacity {
    fn amount(self) -> Option<String> {
        match self {
            Self::Nics(nics) => Some(nics.to_string()),
            Self::Shared => None,
        }
    }
}

/// One thing to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Condition(NodeCondition),
    Taints { version: Option<String>, taints: Vec<Value> },
    Capacity(Capacity),
}

/// What a step is about: the same one is not repeated at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Condition,
    Taints,
    Capacity,
}

impl Step {
    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Condition(_) => Subject::Condition,
            Self::Taints { .. } => Subject::Taints,
            Self::Capacity(_) => Subject::Capacity,
        }
    }

    /// The patch, and whether it is of the node's status. Conditions are merged by their type, the resource by its name; taints are
    /// one list, which is replaced only if nobody changed the object since it was read.
    pub(super) fn patch(&self) -> (Value, bool) {
        match self {
            Self::Condition(condition) => (json!({ "status": { "conditions": [condition] } }), true),
            Self::Taints { version, taints } => {
                (json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } }), false)
            }
            Self::Capacity(capacity) => {
                // Without a value it is taken away.
                let amount = json!({ RESOURCE: capacity.amount() });
                (json!({ "status": { "capacity": amount, "allocatable": amount } }), true)
            }
        }
    }
}

/// What has to be written so that the object says what is wanted. The taint that keeps pods away goes last: when it is gone,
/// all else is said.
pub(super) fn steps(seen: &Seen, wanted: &Wanted, now: Timestamp) -> Vec<Step> {
    let capacity = wanted.capacity.filter(|capacity| {
        let amount = capacity.amount();
        seen.capacity != amount || seen.allocatable != amount
    });
    let condition =
        wanted.readiness.as_ref().and_then(|to_be| condition(seen.condition.as_ref(), to_be, now));
    let taints = taints(&seen.taints, wanted);
    let taints = (taints != seen.taints).then(|| Step::Taints { version: seen.version.clone(), taints });
    capacity.map(Step::Capacity).into_iter().chain(condition.map(Step::Condition)).chain(taints).collect()
}

fn condition(is: Option<&NodeCondition>, to_be: &Readiness, now: Timestamp) -> Option<NodeCondition> {
    let (status, reason, message) = match to_be {
        Readiness::Ready => ("False", "HostnicReady", "hostnic gives pods their interfaces"),
        Readiness::NotReady(why) => ("True", "HostnicNotReady", why.as_str()),
    };
    let says = |is: &NodeCondition| {
        is.status == status && is.reason.as_deref() == Some(reason) && is.message.as_deref() == Some(message)
    };
    if is.is_some_and(says) {
        return None;
    }
    let since = is.filter(|is| is.status == status).and_then(|is| is.last_transition_time.clone());
    Some(NodeCondition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    })
}

/// Whether these taints say that the node is short of NICs.
pub(super) fn says_scarce(taints: &[Value]) -> bool {
    taints.iter().any(|taint| is(taint, NO_NIC))
}

fn is(taint: &Value, key: &str) -> bool {
    taint.get("key").and_then(Value::as_str) == Some(key)
        && taint.get("effect").and_then(Value::as_str) == Some(NO_SCHEDULE)
}

fn taints(are: &[Value], wanted: &Wanted) -> Vec<Value> {
    let mut taints = are.to_vec();
    if wanted.readiness == Some(Readiness::Ready) {
        taints.retain(|taint| !is(taint, NOT_READY));
    }
    match wanted.scarce {
        Some(true) if !says_scarce(&taints) => {
            taints.push(json!({ "key": NO_NIC, "effect": NO_SCHEDULE }));
        }
        Some(false) => taints.retain(|taint| !is(taint, NO_NIC)),
        _ => {}
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn bare() -> Seen {
        Seen {
            annotation: None,
            version: Some("7".to_owned()),
            taints: vec![],
            condition: None,
            capacity: None,
            allocatable: None,
        }
    }

    fn ready() -> Wanted {
        Wanted { readiness: Some(Readiness::Ready), scarce: Some(false), capacity: Some(Capacity::Nics(60)) }
    }

    /// The object after these steps.
    fn after(mut seen: Seen, steps: Vec<Step>) -> Seen {
        for step in steps {
            match step {
                Step::Condition(condition) => seen.condition = Some(condition),
                Step::Taints { taints, .. } => seen.taints = taints,
                Step::Capacity(capacity) => {
                    (seen.capacity, seen.allocatable) = (capacity.amount(), capacity.amount());
                }
            }
        }
        seen
    }

    #[test]
    fn nothing_is_written_before_it_is_wanted_or_when_it_is_there() {
        let tainted = Seen { taints: vec![json!({ "key": NOT_READY, "effect": NO_SCHEDULE })], ..bare() };
        assert_eq!(steps(&tainted, &Wanted::default(), at(1)), []);
        let first = steps(&tainted, &ready(), at(1));
        assert_eq!(first.len(), 3);
        assert_eq!(steps(&after(tainted, first), &ready(), at(2)), []);
    }

    #[test]
    fn where_nics_are_shared_their_number_is_taken_away() {
        let shared = Wanted { capacity: Some(Capacity::Shared), ..Wanted::default() };
        assert_eq!(steps(&bare(), &shared, at(1)), []);
        let before = after(bare(), steps(&bare(), &ready(), at(1)));
        let written = steps(&before, &shared, at(2));
        let (patch, of_status) = written[0].patch();
        assert!(of_status && patch["status"]["capacity"][RESOURCE].is_null(), "{patch}");
        assert!(patch["status"]["allocatable"].as_object().unwrap().contains_key(RESOURCE), "{patch}");
        assert_eq!(steps(&after(before, written), &shared, at(3)), []);
    }

    #[test]
    fn pods_are_let_in_last() {
        let tainted = Seen { taints: vec![json!({ "key": NOT_READY, "effect": NO_SCHEDULE })], ..bare() };
        let subjects: Vec<Subject> = steps(&tainted, &ready(), at(1)).iter().map(Step::subject).collect();
        assert_eq!(subjects, [Subject::Capacity, Subject::Condition, Subject::Taints]);
    }

    #[test]
    fn a_transition_is_a_change_of_the_status() {
        let not_ready =
            |why: &str| Wanted { readiness: Some(Readiness::NotReady(why.to_owned())), ..Wanted::default() };
        let times = |seen: &Seen| {
            let condition = seen.condition.clone().unwrap();
            (condition.last_heartbeat_time.unwrap().0, condition.last_transition_time.unwrap().0)
        };
        let mut seen = bare();
        for (wanted, now, transition) in
            [(not_ready("a"), 10, 10), (not_ready("b"), 20, 10), (ready(), 30, 30), (not_ready("a"), 40, 40)]
        {
            let written = steps(&seen, &wanted, at(now));
            seen = after(seen, written);
            assert_eq!(times(&seen), (at(now), at(transition)));
        }
    }

    #[test]
    fn taints_of_others_stay_as_they_are() {
        let theirs = vec![
            json!({ "key": "theirs", "effect": NO_SCHEDULE, "timeAdded": "2026-01-01T00:00:00Z", "of": "a later version" }),
            json!({ "key": NOT_READY, "effect": "NoExecute" }),
            json!({ "key": NO_NIC, "value": "x", "effect": "PreferNoSchedule" }),
        ];
        let mut taints = theirs.clone();
        taints.insert(1, json!({ "key": NOT_READY, "effect": NO_SCHEDULE, "value": "" }));
        let seen = Seen { taints, ..bare() };
        let wanted = Wanted { scarce: Some(true), ..ready() };
        let scarce = after(seen.clone(), steps(&seen, &wanted, at(1)));
        let ours = json!({ "key": NO_NIC, "effect": NO_SCHEDULE });
        assert_eq!(scarce.taints, [theirs.clone(), vec![ours]].concat());
        assert_eq!(after(scarce.clone(), steps(&scarce, &ready(), at(2))).taints, theirs);
    }
}
