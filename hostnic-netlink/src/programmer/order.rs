//! The order of all our rules of routing, and the way to it from an earlier one.
//!
//! Each kind of rule has a place of its own: the kernel deletes the first rule of a place that has all that is named, and it
//! may have more. Places that were used once are not used again for anything else.

use hostnic_core::Result;

use super::node::Node;
use crate::rule::{Action, Rule};

/// Answers to pods go by the veths to services that they asked by.
pub(super) const SERVED_TO_VETHS: u32 = 1519;
/// Where pods reach each other by their NICs: what goes to a service's back end on this node does not go round. It leaves
/// in the node's name, and its answer would not leave the node at all.
pub(super) const SERVED_TO_PODS: u32 = 1520;
/// Nor does what the node itself sends to them.
pub(super) const LOCAL_TO_PODS: u32 = 1521;
/// Nor do flows by the node's own addresses.
pub(super) const MARKED_TO_PODS: u32 = 1522;
/// Where pods reach each other in the node: all packets to them. It is one rule for all pods, as each further rule makes
/// every packet slower.
pub(super) const ALL_TO_PODS: u32 = 1523;
/// What is sent from a gateway's own address leaves by it. It comes after the node's own pods, which may ask it, too, and before
/// answers: of two gateways the one that was asked answers.
pub(super) const FROM_GATEWAY: u32 = 1524;
/// What answers flows that came in by a gateway leaves by it. It comes before all that says how other answers leave: those of
/// the node itself, of pods, and of node ports, whose mark the same packet may have.
pub(super) const ANSWERS_BY_GATEWAY: u32 = 1525;
/// All else of flows to services by the node goes as what the node itself sends, and not by the NICs of the pods that it comes
/// from: requests, which leave in the node's name, and answers to those who asked by a NIC of the operator's.
pub(super) const SERVED_TO_MAIN: u32 = 1526;
/// What comes by a pod's NIC for the pod goes to the pod, where pods reach each other by their NICs.
pub(super) const TO_POD: u32 = 1529;
/// Flows by the node's own addresses leave where they came in.
pub(super) const MARKED_TO_MAIN: u32 = 1533;
/// What the node itself sends is never caught by the rules of pods.
pub(super) const LOCAL_TO_MAIN: u32 = 1534;
/// What comes by a NIC for nobody is dropped: it would go round for ever.
pub(super) const TO_NOBODY: u32 = 1535;
/// What a pod sends leaves by its own NIC.
pub(super) const FROM_POD: u32 = 1536;
/// What others of its subnet send leaves by the NIC that they share. It comes after the rules of single pods: one of them may
/// be in the same subnet, with a NIC of its own.
pub(super) const FROM_SUBNET: u32 = 1537;
/// And to the subnet itself, where that is a VLAN: after the NIC's own table, which is the operator's there. Two places before
/// it had rules of earlier versions.
pub(super) const FROM_VLAN: u32 = 1540;

/// Where earlier versions had rules, and where these are now. There, gateways came after all that they have to precede.
const MOVED: [(u32, u32); 7] = [
    (1527, SERVED_TO_VETHS),
    (1528, SERVED_TO_PODS),
    (1530, LOCAL_TO_PODS),
    (1531, MARKED_TO_PODS),
    (1532, ALL_TO_PODS),
    (1538, FROM_GATEWAY),
    (1539, ANSWERS_BY_GATEWAY),
];

/// Whether rules of this place belong to the node for pods behind veths, now or in an earlier version.
pub(super) fn is_of_node(preference: u32) -> bool {
    const OF_NODE: [u32; 8] = [
        SERVED_TO_VETHS,
        SERVED_TO_PODS,
        LOCAL_TO_PODS,
        MARKED_TO_PODS,
        ALL_TO_PODS,
        SERVED_TO_MAIN,
        MARKED_TO_MAIN,
        LOCAL_TO_MAIN,
    ];
    OF_NODE.contains(&now(preference))
}

/// Whether rules of this place belong to gateways, now or in an earlier version.
pub(super) fn is_of_gateways(preference: u32) -> bool {
    [FROM_GATEWAY, ANSWERS_BY_GATEWAY].contains(&now(preference))
}

/// The place of what an earlier version had here.
fn now(preference: u32) -> u32 {
    MOVED.iter().find(|(old, _)| *old == preference).map_or(preference, |(_, new)| *new)
}

/// Brings rules of ours from the places of earlier versions to those of now, whatever they are about.
///
/// The node and its gateways are set up one after the other, in any order, and places of now are all before those of then: were
/// each to bring its own rules only, gateways would come before the rules for pods, or the node's before answers by gateways.
pub(super) async fn keep(node: &Node) -> Result<()> {
    let connection = node.connection().await?;
    let listed = connection.rules().await?;
    let ours: Vec<Rule> =
        listed.into_iter().filter(|listed| listed.is_ours()).map(|listed| listed.rule).collect();
    let steps = steps(&ours);
    for rule in &steps.add {
        connection.add_rule(rule).await?;
    }
    for rule in &steps.delete {
        connection.delete_rule(rule).await?;
    }
    Ok(())
}

/// What is to be done, everything of the first before anything of the second.
#[derive(Debug, Default, PartialEq, Eq)]
struct Steps {
    add: Vec<Rule>,
    delete: Vec<Rule>,
}

/// The way to the order of now, on which a packet finds the same way at each moment: a rule comes after all that is to be
/// before it, and none goes before all have come.
fn steps(ours: &[Rule]) -> Steps {
    let mut steps = Steps::default();
    // What no version of ours has made cannot be made anew; the node and gateways take it for a stray.
    let known = |rule: &&Rule| rule.ipv4 && rule.action != Action::Other;
    for rule in ours.iter().filter(known).filter(|rule| now(rule.preference) != rule.preference) {
        steps.add.push(Rule { preference: now(rule.preference), ..rule.clone() });
        steps.delete.push(rule.clone());
    }
    steps.add.sort_by_key(|rule| rule.preference);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(preferences: &[u32]) -> Vec<Rule> {
        preferences.iter().map(|preference| Rule::any(true, *preference, 7)).collect()
    }

    #[test]
    fn rules_of_then_come_in_the_order_of_now_before_any_goes() {
        let then = [1527, 1528, 1530, 1531, 1532, 1533, 1534, 1535, 1536, 1537, 1538, 1539];
        let steps = steps(&at(&then));
        assert_eq!(steps.add, at(&[1519, 1520, 1521, 1522, 1523, 1524, 1525]));
        assert_eq!(steps.delete, at(&[1527, 1528, 1530, 1531, 1532, 1538, 1539]));
    }

    #[test]
    fn rules_of_now_and_of_the_other_family_stay() {
        let now =
            [1519, 1520, 1521, 1522, 1523, 1524, 1525, 1526, 1529, 1533, 1534, 1535, 1536, 1537, 1540, 1541];
        assert_eq!(steps(&at(&now)), Steps::default());
        assert_eq!(steps(&[Rule::any(false, 1538, 7)]), Steps::default());
    }

    #[test]
    fn each_place_is_somebodys() {
        for preference in [1519, 1520, 1521, 1522, 1523, 1526, 1527, 1528, 1530, 1531, 1532, 1533, 1534] {
            assert!(is_of_node(preference) && !is_of_gateways(preference), "{preference}");
        }
        for preference in [1524, 1525, 1538, 1539] {
            assert!(is_of_gateways(preference) && !is_of_node(preference), "{preference}");
        }
        for preference in [TO_POD, TO_NOBODY, FROM_POD, FROM_SUBNET, FROM_VLAN, 1518, 1541] {
            assert!(!is_of_gateways(preference) && !is_of_node(preference), "{preference}");
        }
    }
}
