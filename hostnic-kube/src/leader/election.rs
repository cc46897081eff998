//! Who is to work, as the Lease says. Nothing here asks anybody or knows what time it is.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long who has it has it, unless it is renewed.
    pub(super) lasts: Duration,
    /// How often it is renewed.
    pub(super) renewal: Duration,
    /// How long after the last renewal who has it goes on working. Shorter than the lease, so that two never work at once.
    pub(super) works: Duration,
}

impl Terms {
    /// As the controllers of Kubernetes itself have them.
    pub(super) const USUAL: Self = Self {
        lasts: Duration::from_secs(15),
        renewal: Duration::from_secs(2),
        works: Duration::from_secs(10),
    };
}

/// What is to be done about the Lease.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// To write this makes us who works.
    Take(LeaseSpec),
    /// Somebody else has it; to be looked at again then.
    Wait(Instant),
}

/// What was seen of the Lease, and since when it has looked like that. Clocks of two machines are never compared.
#[derive(Debug, Default)]
pub(super) struct Observed {
    renewed: Option<(Option<String>, Option<MicroTime>)>,
    since: Option<Instant>,
}

impl Observed {
    /// Decides for `me`, where the Lease is `lease` and the time `now`; `wall` is what is written of it.
    pub(super) fn decide(
        &mut self,
        lease: &Lease,
        me: &str,
        terms: Terms,
        now: Instant,
        wall: Timestamp,
    ) -> Step {
        let spec = lease.spec.clone().unwrap_or_default();
        let seen = (spec.holder_identity.clone(), spec.renew_time.clone());
        if self.renewed.as_ref() != Some(&seen) || self.since.is_none() {
            (self.renewed, self.since) = (Some(seen), Some(now));
        }
        let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty());
        if holder.is_none_or(|holder| holder == me) {
            return Step::Take(taken(spec, me, terms, wall));
        }
        let told = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = told.map_or(terms.lasts, Duration::from_secs);
        let over = self.since.unwrap_or(now) + lasts;
        if now >= over { Step::Take(taken(spec, me, terms, wall)) } else { Step::Wait(over) }
    }
}

/// The lease as `me` has it from now on.
fn taken(before: LeaseSpec, me: &str, terms: Terms, wall: Timestamp) -> LeaseSpec {
    let mine = before.holder_identity.as_deref() == Some(me);
    let changes = before.lease_transitions.unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(terms.lasts.as_secs()).ok(),
        acquire_time: before.acquire_time.filter(|_| mine).or(Some(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        lease_transitions: Some(if mine { changes } else { changes.saturating_add(1) }),
        ..LeaseSpec::default()
    }
}

/// The lease as nobody has it: the next one need not wait.
pub(super) fn given_up(before: &LeaseSpec, wall: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(wall)),
        ..before.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms::USUAL;

    fn lease(spec: LeaseSpec) -> Lease {
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn of(step: Step) -> LeaseSpec {
        match step {
            Step::Take(spec) => spec,
            Step::Wait(_) => panic!("it is somebody else's"),
        }
    }

    #[test]
    fn a_lease_that_nobody_has_is_taken_and_renewed() {
        let (mut observed, now) = (Observed::default(), Instant::now());
        let first = of(observed.decide(&Lease::default(), "a", TERMS, now, wall(0)));
        assert_eq!((first.holder_identity.as_deref(), first.lease_transitions), (Some("a"), Some(1)));
        let again = of(observed.decide(&lease(first.clone()), "a", TERMS, now, wall(2)));
        assert_eq!((&again.acquire_time, again.lease_transitions), (&first.acquire_time, Some(1)));
        assert_eq!(again.renew_time, Some(MicroTime(wall(2))));
        let left = given_up(&first, wall(3));
        let next = of(observed.decide(&lease(left), "b", TERMS, now, wall(3)));
        assert_eq!((next.holder_identity.as_deref(), next.lease_transitions), (Some("b"), Some(2)));
    }

    #[test]
    fn somebody_elses_is_taken_when_it_has_not_been_renewed_for_as_long_as_it_lasts() {
        let (mut a, mut b, now) = (Observed::default(), Observed::default(), Instant::now());
        let held = of(a.decide(&Lease::default(), "a", TERMS, now, wall(0)));
        // The other machine's clock is an hour ahead, which says nothing.
        let over = now + TERMS.lasts;
        assert_eq!(b.decide(&lease(held.clone()), "b", TERMS, now, wall(3600)), Step::Wait(over));
        let soon = over - Duration::from_millis(1);
        assert_eq!(b.decide(&lease(held.clone()), "b", TERMS, soon, wall(3614)), Step::Wait(over));
        let renewed = of(a.decide(&lease(held), "a", TERMS, soon, wall(2)));
        assert_eq!(
            b.decide(&lease(renewed.clone()), "b", TERMS, over, wall(3615)),
            Step::Wait(over + TERMS.lasts)
        );
        let dead = over + TERMS.lasts;
        let taken = of(b.decide(&lease(renewed), "b", TERMS, dead, wall(3630)));
        assert_eq!(taken.holder_identity.as_deref(), Some("b"));
    }

    #[test]
    fn who_cannot_renew_stops_before_another_begins() {
        assert!(TERMS.works + TERMS.renewal < TERMS.lasts && TERMS.renewal < TERMS.works);
    }
}
