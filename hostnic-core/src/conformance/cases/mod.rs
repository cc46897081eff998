//! The cases, in groups.

mod batches;
mod cancellation;
mod errors;
mod idempotency;
mod jobs;
mod lifecycle;
mod listing;
mod quota;
mod tags;

use std::fmt;

use futures::future::BoxFuture;

use crate::conformance::bench::Bench;
use crate::conformance::report::{Outcome, Verdict};
use crate::conformance::world::{Harness, Requirement};

type Run = for<'a> fn(&'a Bench<'a>) -> BoxFuture<'a, Outcome>;

/// One thing that a provider must do, with a name that says it.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    requires: &'static [Requirement],
    run: Run,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("requires", &self.requires).finish()
    }
}

impl Case {
    /// Its group and what must hold: `errors::attaching_an_attached_nic_is_a_conflict`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it cannot do without.
    pub fn requires(&self) -> &'static [Requirement] {
        self.requires
    }

    /// Runs it in a world of the harness, and cleans up after it, however it ended.
    pub async fn run(&self, harness: &dyn Harness) -> Verdict {
        let world = match harness.world().await {
            Ok(world) => world,
            Err(error) => return Verdict::Inconclusive(format!("there is no world: {}", error.chain())),
        };
        if let Some(missing) = self.requires.iter().find(|requirement| !world.offers(**requirement)) {
            return Verdict::Skipped(format!("it needs {missing}"));
        }
        let limit = world.case_limit;
        let bench = match Bench::new(harness, world, self.name).await {
            Ok(bench) => bench,
            Err(stop) => return stop.into(),
        };
        let verdict = match tokio::time::timeout(limit, (self.run)(&bench)).await {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(stop)) => stop.into(),
            Err(_) => Verdict::Inconclusive(format!("it did not end within {limit:?}")),
        };
        let swept = tokio::time::timeout(limit, bench.sweep()).await;
        let left = swept.unwrap_or_else(|_| Err(format!("cleaning up did not end within {limit:?}")));
        match (verdict, left) {
            (Verdict::Passed | Verdict::Skipped(_), Err(left)) => Verdict::Inconclusive(left),
            (verdict, _) => verdict,
        }
    }
}

/// Names each case after its group and its function.
macro_rules! cases {
    ($($group:ident: $($case:ident $([$($requirement:expr),+])?),+;)*) => {
        /// All cases, in the order in which [`run`](crate::conformance::run) runs them: what later ones build upon
        /// comes first.
        pub fn cases() -> Vec<Case> {
            use crate::conformance::world::Requirement::*;
            vec![$($(
                Case {
                    name: concat!(stringify!($group), "::", stringify!($case)),
                    requires: &[$($($requirement),+)?],
                    run: |bench| Box::pin($group::$case(bench)),
                },
            )+)*]
        }
    };
}

cases! {
    lifecycle:
        what_is_constant_does_not_change,
        subnets_are_described_in_the_order_asked,
        create_makes_exactly_count_nics [Room(3)],
        created_nics_have_ids_macs_and_addresses_of_their_own [Room(3)],
        chosen_addresses_are_given_in_order [FixedAddresses, Room(3)],
        a_nic_without_addresses_has_none [BareNics],
        a_nic_goes_in_and_out_and_is_deleted;
    idempotency:
        detaching_what_is_unknown_counts_as_done,
        detaching_what_is_attached_nowhere_counts_as_done,
        deleting_what_is_unknown_counts_as_done,
        deleting_twice_counts_as_done;
    listing:
        unknown_ids_are_left_out,
        no_ids_list_nothing,
        each_filter_and_each_combination_lists_what_matches [Room(4)],
        more_than_a_hundred_nics_are_all_listed [Room(105)],
        a_survey_tells_what_the_single_calls_tell [Room(2)];
    quota:
        a_full_subnet_is_told_as_such [FullSubnet],
        a_full_account_is_told_as_such [FullAccount],
        an_instance_takes_all_of_a_call_or_none;
    errors:
        creating_in_an_unknown_subnet_is_not_found,
        creating_none_is_invalid,
        creating_more_than_a_batch_is_never_cut,
        more_addresses_than_a_nic_carries_are_invalid,
        a_taken_address_is_a_conflict [FixedAddresses],
        attaching_an_unknown_nic_is_not_found [Batch(2)],
        attaching_an_attached_nic_is_a_conflict [Batch(2)],
        attaching_a_nic_in_transition_is_a_conflict,
        attaching_what_another_instance_has_is_a_conflict [SecondInstance],
        detaching_the_primary_nic_is_a_conflict,
        detaching_what_another_instance_has_is_a_conflict [SecondInstance],
        deleting_an_attached_nic_is_a_conflict [Batch(2)];
    jobs:
        an_unknown_job_is_unknown,
        jobs_are_answered_in_the_order_asked [Batch(3), Room(2)],
        calls_at_the_same_time_do_not_disturb_each_other [Room(8)];
    cancellation:
        a_dropped_create_leaves_only_nics_with_its_name [Room(24)],
        a_dropped_attach_leaves_the_nic_in_one_state_or_the_other;
    tags:
        a_tag_is_read_from_what_carries_it_and_from_nothing_else [Tags, Room(3)],
        tagging_twice_counts_as_done [Tags],
        tagging_an_unknown_nic_is_not_found [Tags];
    batches:
        a_full_batch_is_created_and_deleted,
        a_batch_goes_in_and_out_in_one_call [Batch(2)],
        more_ids_than_a_batch_are_never_cut;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cases_have_one_name() {
        let names: std::collections::BTreeSet<_> = cases().iter().map(Case::name).collect();
        assert_eq!(names.len(), cases().len());
    }
}
