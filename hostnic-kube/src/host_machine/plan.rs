//! Which nodes are to be labelled. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The label that the Go version's tool set.
pub(super) const LABEL: &str = "topology.kubernetes.io/hostmachine";

/// A node, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// In the network of nodes.
    pub(super) addresses: Vec<IpAddr>,
    /// Another one with each start of the machine.
    pub(super) boot: String,
    /// What the label says.
    pub(super) label: Option<String>,
}

impl Seen {
    /// Whether it may be on another machine than when it was seen `before`: it has come, was started, or has got its address.
    pub(super) fn is_new(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| before.boot != self.boot || before.addresses != self.addresses)
    }
}

/// A label to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) node: String,
    pub(super) machine: String,
    /// What stands there.
    pub(super) before: Option<String>,
}

/// The nodes whose label is not what the cloud says. Where it says nothing, or what no label can be, the label stays as it is.
pub(super) fn changes(nodes: &BTreeMap<String, Seen>, machines: &BTreeMap<IpAddr, String>) -> Vec<Change> {
    let change = |(node, seen): (&String, &Seen)| {
        let machine = seen.addresses.iter().find_map(|address| machines.get(address))?;
        let differs = can_be_a_label(machine) && seen.label.as_ref() != Some(machine);
        differs.then(|| Change { node: node.clone(), machine: machine.clone(), before: seen.label.clone() })
    };
    nodes.iter().filter_map(change).collect()
}

/// What Kubernetes takes as a label's value.
fn can_be_a_label(value: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = [value.bytes().next(), value.bytes().next_back()];
    value.len() <= 63
        && value.bytes().all(inside)
        && ends.iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, label: Option<&str>) -> Seen {
        let addresses = vec![address.parse().unwrap()];
        Seen { addresses, boot: "b".to_owned(), label: label.map(str::to_owned) }
    }

    #[test]
    fn the_clouds_word_counts_and_its_silence_changes_nothing() {
        let nodes = [
            ("as-it-is", node("10.0.0.1", Some("host1"))),
            ("moved", node("10.0.0.2", Some("host1"))),
            ("new", node("10.0.0.3", None)),
            ("untold", node("10.0.0.4", Some("by-hand"))),
            ("odd", node("10.0.0.5", Some("by-hand"))),
        ];
        let nodes = nodes.into_iter().map(|(name, seen)| (name.to_owned(), seen)).collect();
        let told =
            [("10.0.0.1", "host1"), ("10.0.0.2", "host2"), ("10.0.0.3", "host3"), ("10.0.0.5", "no label")];
        let told = told.map(|(address, machine)| (address.parse().unwrap(), machine.to_owned())).into();
        let change = |node: &str, machine: &str, before: Option<&str>| Change {
            node: node.to_owned(),
            machine: machine.to_owned(),
            before: before.map(str::to_owned),
        };
        assert_eq!(
            changes(&nodes, &told),
            [change("moved", "host2", Some("host1")), change("new", "host3", None)]
        );
    }

    #[test]
    fn what_no_label_can_be_is_none() {
        assert!(can_be_a_label("pek3a-r01.n_02") && can_be_a_label("a") && can_be_a_label(&"a".repeat(63)));
        for bad in ["", "-a", "a.", "a b", &"a".repeat(64)] {
            assert!(!can_be_a_label(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_node_that_was_started_is_looked_at_anew() {
        let first = node("10.0.0.1", None);
        assert!(first.is_new(None) && !first.is_new(Some(&node("10.0.0.1", Some("host1")))));
        assert!(first.is_new(Some(&Seen { boot: "other".to_owned(), ..first.clone() })));
        assert!(first.is_new(Some(&Seen { addresses: vec![], ..first.clone() })));
    }
}
