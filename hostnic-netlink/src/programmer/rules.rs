//! Rules of nftables in a table of our own, to be compared with what is there.

use std::collections::BTreeSet;

use crate::nft::{Batch, Rule, RuleCounter, Table};

/// Rules by their chains, each known by its comment, which says all that it depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    known: BTreeSet<(String, String)>,
    rules: Vec<(&'static str, Rule)>,
}

impl Rules {
    pub(super) const PREROUTING: &str = "prerouting";
    pub(super) const OUTPUT: &str = "output";
    pub(super) const POSTROUTING: &str = "postrouting";

    pub(super) fn add(&mut self, chain: &'static str, rule: Rule, comment: String) {
        if self.known.insert((chain.to_owned(), comment.clone())) {
            self.rules.push((chain, rule.comment(comment)));
        }
    }

    /// What the kernel says that a table holds.
    pub(super) fn listed(counters: Vec<RuleCounter>) -> Self {
        let known = counters.into_iter().map(|counter| (counter.chain, counter.comment)).collect();
        Self { known, rules: Vec::new() }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.known == other.known
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn write(&self, batch: &mut Batch, table: &Table) {
        for (chain, rule) in &self.rules {
            batch.add_rule(table, chain, rule);
        }
    }
}
