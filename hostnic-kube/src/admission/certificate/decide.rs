//! What is to be done about the certificates. Decided from what is passed in, the time as well.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::Certificates;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admission) enum Step {
    /// Nothing.
    Keep,
    /// All new ones: there are none, or none that could be used.
    Make,
    /// A next one, so that it is trusted before anybody serves with it.
    Prepare,
    /// The next one takes the place of the present one.
    Promote,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admission) enum Role {
    /// One who only sees to it that there is something to serve with. Replicas that are started differently would otherwise
    /// undo each other's work.
    Server,
    /// The one who tells the API servers whom to trust. `is_told` says whether they have been told of all authorities.
    Registrar { is_told: bool },
}

/// What is to be done with what there is. `settled` is how long it takes until all API servers have heard what they were told.
///
/// A certificate's successor is made after half of its life, and in its place long before two thirds of it are over.
pub(in crate::admission) fn step(
    present: Option<&Certificates>,
    names: &[String],
    role: Role,
    now: Timestamp,
    settled: Duration,
) -> Step {
    let Some(certificates) = present else { return Step::Make };
    let (made, ends) = (certificates.present.made, certificates.present.ends);
    let is_over = now >= ends;
    let Role::Registrar { is_told } = role else { return if is_over { Step::Make } else { Step::Keep } };
    if certificates.names != names {
        return Step::Make;
    }
    let Some(next) = &certificates.next else {
        let is_half = now.duration_since(made) * 2 >= ends.duration_since(made);
        return if is_over {
            Step::Make
        } else if is_half {
            Step::Prepare
        } else {
            Step::Keep
        };
    };
    let has_settled = now.duration_since(next.made) >= SignedDuration::try_from(settled).unwrap_or_default();
    if is_told && now < next.ends && (has_settled || is_over) {
        Step::Promote
    } else if is_over || now >= next.ends {
        // Nobody would take the present one any more, so there is nothing to lose.
        Step::Make
    } else {
        Step::Keep
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFE: Duration = Duration::from_secs(900);
    const SETTLED: Duration = Duration::from_secs(30);

    fn names() -> Vec<String> {
        vec!["a.b.svc".to_owned()]
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + second)
    }

    fn made() -> Certificates {
        Certificates::make(names(), at(0), LIFE).unwrap()
    }

    fn told(present: &Certificates, is_told: bool, second: i64) -> Step {
        step(Some(present), &names(), Role::Registrar { is_told }, at(second), SETTLED)
    }

    #[test]
    fn a_successor_is_there_before_two_thirds_of_a_life_are_over() {
        let first = made();
        assert_eq!(step(None, &names(), Role::Server, at(0), SETTLED), Step::Make);
        assert_eq!(
            [0, 449, 450].map(|second| told(&first, true, second)),
            [Step::Keep, Step::Keep, Step::Prepare]
        );
        let prepared = first.prepare(at(450), LIFE).unwrap();
        assert_eq!((told(&prepared, true, 479), told(&prepared, true, 480)), (Step::Keep, Step::Promote));
        assert_eq!(told(&prepared, false, 700), Step::Keep, "not before it is trusted");
        assert_eq!(told(&prepared.promote(), true, 899), Step::Keep);
    }

    #[test]
    fn what_nobody_can_use_is_made_anew() {
        let first = made();
        assert_eq!(told(&first, true, 900), Step::Make);
        let otherwise = |role| step(Some(&first), &["other".to_owned()], role, at(0), SETTLED);
        assert_eq!(otherwise(Role::Registrar { is_told: true }), Step::Make);
        // One that was started otherwise serves with what there is.
        assert_eq!(otherwise(Role::Server), Step::Keep);
        assert_eq!(
            [899, 900].map(|second| step(Some(&first), &names(), Role::Server, at(second), SETTLED)),
            [Step::Keep, Step::Make]
        );
        let prepared = first.prepare(at(890), LIFE).unwrap();
        assert_eq!((told(&prepared, false, 900), told(&prepared, true, 900)), (Step::Make, Step::Promote));
        assert_eq!(told(&prepared, true, 890 + 900), Step::Make);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Whenever it is looked at, and whenever the API server hears of it: nobody serves with what is over or not trusted
        /// yet, as long as it is looked at often enough.
        #[test]
        fn nobody_serves_with_what_is_not_trusted(steps in prop::collection::vec((1_i64..60, any::<bool>()), 1..120)) {
            let mut certificates = made();
            let mut trusted = certificates.bundle();
            let mut now = 0;
            for (later, told) in steps {
                now += later;
                let role = Role::Registrar { is_told: trusted == certificates.bundle() };
                certificates = match step(Some(&certificates), &names(), role, at(now), SETTLED) {
                    Step::Keep => certificates,
                    Step::Prepare => certificates.prepare(at(now), LIFE).unwrap(),
                    Step::Promote => certificates.promote(),
                    Step::Make => {
                        prop_assert!(now >= 900, "{now}");
                        return Ok(());
                    }
                };
                if told {
                    trusted = certificates.bundle();
                }
                prop_assert!(trusted.contains(certificates.present.authority.trim_end()));
                prop_assert!(at(now) < certificates.present.ends);
            }
        }
    }
}
