//! Whose an address is, in the words of the Go version.

use std::fmt::Display;

use hostnic_core::attachment::PodRef;
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::stock::{NAMESPACE, NODE};
use crate::ipam::block::Holder;

/// The longest name that an object may have.
const LONGEST: usize = 253;
/// How much of the hash stands for what was cut off.
const HASHED: usize = 12;

pub(in crate::ipam) const POD: &str = "pod";
const SINCE: &str = "timestamp";
pub(super) const ADDRESS: &str = "ip";

/// The handle of a pod's sandbox: `<namespace>-<pod>-<container id>`, cut where that is no name of an object any more.
pub(super) fn handle(pod: &PodRef, sandbox: &impl Display) -> String {
    let whole = format!("{}-{}-{sandbox}", pod.namespace, pod.name);
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(whole.as_bytes()));
    let end = (0..=LONGEST - HASHED - 1).rev().find(|end| whole.is_char_boundary(*end)).unwrap_or(0);
    format!("{}-{}", whole[..end].trim_end_matches(['.', '-']), &hash[..HASHED])
}

/// A pod's sandbox on this node, as who holds an address.
pub(super) fn holder(pod: &PodRef, sandbox: &impl Display, node: &str, now: Timestamp) -> Holder {
    let told = [
        (NAMESPACE, pod.namespace.clone()),
        (NODE, node.to_owned()),
        (POD, pod.name.clone()),
        (SINCE, now.strftime("%Y-%m-%d %H:%M:%S %z UTC").to_string()),
    ];
    let attributes = told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Holder { handle: handle(pod, sandbox), attributes }
}

#[cfg(test)]
mod tests {
    use hostnic_core::attachment::ContainerId;

    use super::*;

    fn pod(namespace: &str, name: &str) -> PodRef {
        PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: None }
    }

    #[test]
    fn a_handle_is_the_go_versions_and_always_the_name_of_an_object() {
        let container: ContainerId = "c1".parse().unwrap();
        assert_eq!(handle(&pod("test", "web-0"), &container), "test-web-0-c1");
        let (long, other) = (pod(&"n".repeat(63), &"p".repeat(253)), pod(&"n".repeat(63), &"p".repeat(252)));
        let (first, second) = (handle(&long, &container), handle(&other, &container));
        assert!(first.len() <= LONGEST && first != second, "{first}");
        let dotted = pod("n", &format!("{}..{}", "p".repeat(238), "q".repeat(30)));
        assert!(!handle(&dotted, &container).contains(".-"));
    }

    #[test]
    fn a_holder_says_for_a_person_who_it_is() {
        let container: ContainerId = "c1".parse().unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let holder = holder(&pod("test", "web-0"), &container, "node1", now);
        let told: Vec<_> = holder.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            told,
            ["namespace=test", "node=node1", "pod=web-0", "timestamp=2023-11-14 22:13:20 +0000 UTC"]
        );
    }
}
