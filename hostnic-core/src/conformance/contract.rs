//! The lines of the contract, as its documentation has them.

use std::fmt;

/// One line of the contract of [`NicProvider`](crate::NicProvider), or of a trait of [`capability`](crate::capability),
/// word by word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Clause(&'static str);

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Defines the clauses, and all of them together for the test that finds each in the documentation.
macro_rules! clauses {
    ($($name:ident: $text:literal;)*) => {
        $(pub(super) const $name: Clause = Clause($text);)*
        #[cfg(test)]
        const ALL: &[Clause] = &[$($name),*];
    };
}

clauses! {
    CAPABILITIES: "The sizes and abilities of this cloud. Constant and without a call.";
    INSTANCE: "The instance that this node is.";
    SUBNETS: "Describes subnets, in the order asked; unknown ids are left out.";
    SURVEY: "This node's instance, these subnets and the NICs attached to the instance, as the three calls for them would tell.";
    BATCH: "A call that would exceed a limit of Capabilities is Invalid, or is split by the implementation; it is never cut silently.";
    ALL_OR_NOTHING: "a call that returns an error with Effect::None changed nothing, for any of its NICs.";
    NOT_TRANSIENT: "Quota tells its scope, Throttled its delay where the cloud says so, and neither is ever reported as Transient.";
    CANCELLED_CREATE: "Whatever a dropped create made carries the name with its token, from the moment it exists.";
    CANCELLED: "dropping a future stops waiting, not the cloud.";
    CREATE: "Makes exactly count NICs, attached nowhere, each with its own id, MAC and addresses.";
    CREATE_NAME: "Every NIC of one call is in one subnet and has one name.";
    CREATE_ASSIGNED: "This many, chosen by the cloud";
    CREATE_FIXED: "Exactly this one each, in this order; as many as NICs.";
    CREATE_BARE: "None: pods on it use addresses that were reserved in the subnet.";
    CREATE_UNKNOWN_SUBNET: "NotFound for an unknown subnet";
    CREATE_SUBNET_FULL: "Quota(Subnet) for a full one";
    CREATE_ACCOUNT_FULL: "Quota(Account)";
    CREATE_TAKEN: "Conflict for a fixed address that is taken";
    CREATE_COUNT: "Invalid for a count of 0 or above the limit.";
    ATTACH: "Begins to plug NICs into this instance.";
    ATTACH_UNKNOWN: "NotFound for an unknown NIC";
    ATTACH_CONFLICT: "Conflict for one that is attached (here or elsewhere) or in transition";
    ATTACH_QUOTA: "Quota(Instance) when not all would fit.";
    ATTACH_REFUSED: "On each of these no NIC of the call is attached.";
    DETACH: "Begins to unplug NICs from this instance.";
    DETACH_DONE: "Those unknown or attached nowhere count as done.";
    DETACH_CONFLICT: "Conflict for the primary NIC, for one of another instance and for one in transition.";
    DELETE: "Deletes NICs that are attached nowhere.";
    DELETE_DONE: "Deletes NICs that are attached nowhere. Those unknown count as done.";
    DELETE_CONFLICT: "Conflict for one that is attached or in transition; then none of the call is deleted.";
    LIST: "All NICs of the account that meet the filter, however many; in no particular order.";
    LIST_FILTER: "Every condition that is set must hold; none set lists all of the account.";
    LIST_IDS: "Only these ids; ids that do not exist are left out of the answer, not an error.";
    JOBS: "How far each job is, in the order asked.";
    JOB_UNKNOWN: "An unknown one is JobState::Unknown, never done.";
    TAG: "Puts tag on the NICs. Idempotent.";
    TAG_UNKNOWN: "NotFound for an unknown NIC; some of the others may be tagged then.";
    TAGGED: "Those of the NICs that carry any of the tags.";
    TAGGED_UNKNOWN: "Unknown NICs and tags are left out of the answer, not an error.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of documentation comments, without the marks of comments, links and code.
    fn words(source: &str) -> String {
        let lines = source.lines().filter_map(|line| line.trim_start().strip_prefix("///"));
        let mut text = lines.collect::<Vec<_>>().join(" ").replace(['`', '[', ']', '*'], "");
        while let Some(start) = text.find("(crate::") {
            let end = start + text[start..].find(')').unwrap();
            text.replace_range(start..=end, "");
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_clause_stands_in_the_documentation_word_by_word() {
        let contract =
            [include_str!("../provider.rs"), include_str!("../cloud.rs"), include_str!("../capability.rs")];
        let contract = contract.map(words).concat();
        for clause in ALL {
            assert!(contract.contains(clause.0), "not in the documentation: {clause}");
        }
    }
}
