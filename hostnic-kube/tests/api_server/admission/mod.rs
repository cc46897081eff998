//! What the webhooks make a real API server refuse, and what it does when they do not answer.

mod absence;
mod refusals;
mod replicas;
mod stage;

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::trial;
use crate::world::World;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(
            world,
            "harmful_changes_of_pools_are_refused",
            |world| async move { refusals::pools(&world).await },
        ),
        trial(world, "harmful_changes_of_blocks_are_refused", |world| async move {
            refusals::blocks(&world).await
        }),
        trial(world, "a_wrong_mapping_is_refused", |world| async move { refusals::mapping(&world).await }),
        trial(world, "the_controller_works_under_its_own_rules", |world| async move {
            refusals::own(&world).await
        }),
        trial(world, "a_dead_controller_keeps_no_program_from_its_work", |world| async move {
            absence::dead(&world).await
        }),
        trial(world, "a_webhook_that_hangs_delays_no_program_for_long", |world| async move {
            absence::hanging(&world).await
        }),
        trial(world, "a_certificate_is_renewed_and_no_review_fails", |world| async move {
            replicas::renewed(&world).await
        }),
        trial(world, "nobody_insists_on_a_webhook_that_is_not_reached", |world| async move {
            absence::unreached(&world).await
        }),
        trial(world, "replicas_share_a_certificate", |world| async move { replicas::shared(&world).await }),
        trial(
            world,
            "whoever_asks_strangely_is_answered",
            |world| async move { refusals::strange(&world).await },
        ),
        trial(world, "replicas_follow_each_other", |world| async move { replicas::in_turn(&world).await }),
        trial(world, "what_somebody_else_registered_is_left_alone", |world| async move {
            replicas::foreign(&world).await
        }),
    ]
}
