//! What pods are told when the cloud gives them no NIC.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod support;

use hostnic_core::sim::{Fault, Operation, When};
use hostnic_core::{ErrorKind, QuotaScope};

use support::{World, usual_pool};

/// The kind and the words of an ADD on a node whose cloud has this fault from the start.
async fn told(operation: Operation, fault: Fault) -> (ErrorKind, String) {
    let world = World::new(usual_pool());
    world.cloud.inject(operation, When::Always, fault);
    let agent = world.agent().await;
    let error = world.add(&agent, &world.pod("p")).await.unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_told_what_its_owner_can_act_on_and_never_what_is_about_nics_or_subnets() {
    use ErrorKind::*;
    let throttled = Throttled { retry_after: None };
    for operation in [Operation::CreateNics, Operation::AttachNics] {
        for (refused, kind) in [
            (Unauthorised, Unauthorised),
            (Quota(QuotaScope::Account), Quota(QuotaScope::Account)),
            (throttled, throttled),
            (Transient, Transient),
            // The pool tries again what nobody understands.
            (Internal, Transient),
            // In an ADD these would say that there is no such namespace, that the pod has the interface already, and that
            // its network configuration is wrong.
            (NotFound, Exhausted),
            (Conflict, Exhausted),
            (Invalid, Exhausted),
            (Unsupported, Exhausted),
        ] {
            let (told, words) = told(operation, Fault::Refuse(refused)).await;
            assert_eq!(told, kind, "{operation:?} {refused:?}: {words}");
            assert!(words.contains("(injected)"), "the cloud's own words are missing: {words}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_nics_are_not_attached_is_told_what_became_of_the_job() {
    let (kind, words) = told(Operation::AttachNics, Fault::FailJob).await;
    assert_eq!(kind, ErrorKind::Transient, "{words}");
    assert!(words.contains("of the cloud failed: it went wrong in the cloud"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn what_kept_nics_away_is_forgotten_when_one_has_come() {
    let world = World::new(hostnic_core::pool::PoolConfig { low: 0, high: 0, ..usual_pool() });
    world.cloud.inject(Operation::AttachNics, When::Next(2), Fault::Refuse(ErrorKind::Unauthorised));
    let agent = world.agent().await;
    world.add(&agent, &world.pod("p")).await.unwrap();
    world.cloud.inject(Operation::AttachNics, When::Always, Fault::StickJob);
    let waited = world.add(&agent, &world.pod("q")).await.unwrap_err();
    assert_eq!(waited.kind(), ErrorKind::Exhausted, "{waited}");
}
