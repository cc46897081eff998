//! What may be written into ConfigMap `hostnic-ipam-config`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use serde::Deserialize;

use super::{Change, Verdict};
use crate::ipam::BlockName;
use crate::ipam::mapping::Mapping;

pub(in crate::admission) use crate::facts::KUBE_SYSTEM as NAMESPACE;
pub(in crate::admission) use crate::ipam::mapping::CONFIG as NAME;

/// How many names one warning has at the most.
const NAMED: usize = 5;

/// What is read of a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(in crate::admission) struct Config {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

/// `blocks` are the names of the blocks that there are, where they are known.
pub(in crate::admission) fn judge(change: &Change<Config>, blocks: Option<&BTreeSet<String>>) -> Verdict {
    let mut verdict = Verdict::about(format!("ConfigMap {NAMESPACE}/{NAME}"));
    let (new, is_same) = match change {
        Change::Made(new) => (new, false),
        Change::Changed { old, new } => (new, old == new),
        Change::Removed(_) => return verdict,
    };
    let (mapping, mistakes) = Mapping::check(new.data.as_ref().unwrap_or(&BTreeMap::new()));
    for mistake in mistakes {
        let source = mistake.source().map(|source| format!(": {source}")).unwrap_or_default();
        // Who changes a label need not correct what somebody else wrote.
        if is_same {
            verdict.warn(format!("nothing of {NAME} counts until it is corrected: {mistake}{source}"));
        } else {
            verdict.deny(format!("{mistake}{source}"));
        }
    }
    if let Some(blocks) = blocks {
        // No mistake: the blocks of a vxnet may be given away before there are any.
        let unknown = mapping.namespaces.values().flatten().map(BlockName::to_string);
        let unknown: BTreeSet<String> = unknown.filter(|name| !blocks.contains(name)).collect();
        if !unknown.is_empty() {
            let named: Vec<&str> = unknown.iter().take(NAMED).map(String::as_str).collect();
            let more = if unknown.len() > NAMED {
                format!(" and {} more", unknown.len() - NAMED)
            } else {
                String::new()
            };
            verdict
                .warn(format!("there are no blocks {}{more}; see kubectl get ipamblocks", named.join(", ")));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ipam: &str) -> Config {
        Config { data: Some([("ipam".to_owned(), ipam.to_owned())].into()) }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let wrong = config(r#"{"a": ["4100-10-0-0-0-27", "no-block"], "b": ["4100-10-0-0-0-27"]}"#);
        let told = judge(&Change::Made(wrong), None).message();
        assert!(told.starts_with("ConfigMap kube-system/hostnic-ipam-config: "), "{told}");
        assert!(
            told.contains("4100-10-0-0-0-27 to both a and b") && told.contains("\"no-block\" names no block"),
            "{told}"
        );
        let told = judge(&Change::Made(config("{")), None).message();
        assert!(told.contains("must be JSON") && told.contains("EOF while parsing"), "{told}");
    }

    #[test]
    fn blocks_that_there_are_not_are_only_warned_of() {
        let right = config(r#"{"a": ["4100-10-0-0-0-27", "4100-10-0-0-32-27"]}"#);
        let present = BTreeSet::from(["4100-10-0-0-0-27".to_owned()]);
        let verdict = judge(&Change::Made(right.clone()), Some(&present));
        assert!(
            verdict.is_allowed() && verdict.warnings[0].contains("no blocks 4100-10-0-0-32-27;"),
            "{verdict:?}"
        );
        assert_eq!(judge(&Change::Made(right), None).warnings, Vec::<String>::new());
    }

    #[test]
    fn who_changes_something_else_is_only_warned() {
        let (old, new) = (config("{"), config("{"));
        let verdict = judge(&Change::Changed { old, new }, None);
        assert!(verdict.is_allowed() && verdict.warnings.len() == 1, "{verdict:?}");
    }
}
