//! What holds of the policies whatever the subnets, the state and the seed.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;

use hostnic_core::PoolPolicy;
use hostnic_core::id::SubnetId;
use hostnic_core::policy::{FailRotate, PolicyName, PolicyState, Random, RoundRotate, SubnetView};
use proptest::prelude::*;
use proptest::sample::select;

const ALL: [PolicyName; 3] = [PolicyName::FailRotate, PolicyName::RoundRotate, PolicyName::Random];

fn id(number: usize) -> SubnetId {
    SubnetId::new(format!("vxnet-{number}")).unwrap()
}

fn open(number: usize) -> SubnetView {
    SubnetView { id: id(number), room: None, set_aside: false }
}

/// Subnets in every state, usable or not, none at all included.
fn subnets() -> impl Strategy<Value = Vec<SubnetView>> {
    let state = (prop_oneof![Just(None), (0u32..3).prop_map(Some)], any::<bool>());
    prop::collection::vec(state, 0..8).prop_map(|states| {
        let view = |(number, (room, set_aside))| SubnetView { id: id(number), room, set_aside };
        states.into_iter().enumerate().map(view).collect()
    })
}

/// States a policy can be in, also after the configuration took its last subnet away.
fn states() -> impl Strategy<Value = PolicyState> {
    (prop::option::of(0usize..10), any::<u64>())
        .prop_map(|(last, draw)| PolicyState { last: last.map(id), draw })
}

/// How often each subnet is chosen in so many rounds.
fn tally(
    policy: &dyn PoolPolicy,
    mut state: PolicyState,
    subnets: &[SubnetView],
    rounds: u32,
) -> BTreeMap<SubnetId, u32> {
    let usable = subnets.iter().filter(|subnet| subnet.usable());
    let mut counts: BTreeMap<_, _> = usable.map(|subnet| (subnet.id.clone(), 0)).collect();
    for _ in 0..rounds {
        let (chosen, next) = policy.choose(&state, subnets).unwrap();
        *counts.get_mut(&chosen).unwrap() += 1;
        state = next;
    }
    counts
}

/// How far the counts of a fair draw stray from their mean, in standard deviations, at most.
fn deviation(counts: &BTreeMap<SubnetId, u32>, rounds: u32) -> f64 {
    let share = 1.0 / f64::from(u32::try_from(counts.len()).unwrap());
    let mean = f64::from(rounds) * share;
    let sigma = (mean * (1.0 - share)).sqrt();
    counts.values().map(|count| (f64::from(*count) - mean).abs() / sigma).fold(0.0, f64::max)
}

proptest! {
    #[test]
    fn a_usable_subnet_is_chosen_where_there_is_one_and_no_other_ever(
        name in select(&ALL[..]), state in states(), subnets in subnets(),
    ) {
        match name.policy().choose(&state, &subnets) {
            Some((chosen, next)) => {
                let view = subnets.iter().find(|subnet| subnet.id == chosen);
                prop_assert!(view.is_some_and(SubnetView::usable), "{chosen}: {view:?}");
                prop_assert_eq!(next.last, Some(chosen));
            }
            None => prop_assert!(!subnets.iter().any(SubnetView::usable)),
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer_whoever_asked_before(
        name in select(&ALL[..]), state in states(), subnets in subnets(), other in states(),
    ) {
        let policy = name.policy();
        let first = policy.choose(&state, &subnets);
        policy.choose(&other, &subnets);
        prop_assert_eq!(&policy.choose(&state, &subnets), &first);
        prop_assert_eq!(&name.policy().choose(&state, &subnets), &first);
    }

    #[test]
    fn fail_rotate_stays_while_it_can_and_then_takes_the_next_that_is_usable(
        draw in any::<u64>(), subnets in subnets(), last in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!subnets.is_empty());
        let last = last.index(subnets.len());
        let state = PolicyState { last: Some(subnets[last].id.clone()), draw };
        let around = subnets[last..].iter().chain(&subnets[..last]);
        let expected = around.clone().find(|subnet| subnet.usable()).map(|subnet| subnet.id.clone());
        prop_assert_eq!(FailRotate.choose(&state, &subnets).map(|(chosen, _)| chosen), expected);
    }

    #[test]
    fn fail_rotate_does_not_go_back_when_the_first_subnet_works_again(count in 2usize..8, rounds in 1usize..20) {
        let mut subnets: Vec<_> = (0..count).map(open).collect();
        subnets[0].set_aside = true;
        let (chosen, mut state) = FailRotate.choose(&PolicyState::default(), &subnets).unwrap();
        prop_assert_eq!(&chosen, &id(1));
        subnets[0].set_aside = false;
        for _ in 0..rounds {
            let (again, next) = FailRotate.choose(&state, &subnets).unwrap();
            prop_assert_eq!(&again, &chosen);
            state = next;
        }
    }

    #[test]
    fn round_rotate_is_even_within_one_among_the_usable(
        state in states(), subnets in subnets(), rounds in 0u32..100,
    ) {
        prop_assume!(subnets.iter().any(SubnetView::usable));
        let counts = tally(&RoundRotate, state, &subnets, rounds);
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        prop_assert!(most - least <= 1, "{counts:?}");
    }

    #[test]
    fn round_rotate_gives_a_batch_to_each_subnet_in_the_order_of_configuration(count in 1usize..8) {
        let subnets: Vec<_> = (0..count).map(open).collect();
        let mut state = PolicyState::default();
        for round in 0..2 * count {
            let (chosen, next) = RoundRotate.choose(&state, &subnets).unwrap();
            prop_assert_eq!(chosen, id(round % count));
            state = next;
        }
    }

    /// Six standard deviations: a fair draw strays so far once in 500 million times, so a failure is a defect.
    #[test]
    fn random_is_even_for_any_seed(draw in any::<u64>(), state in states(), subnets in subnets()) {
        prop_assume!(subnets.iter().filter(|subnet| subnet.usable()).count() >= 2);
        let rounds = 2_000;
        let counts = tally(&Random, PolicyState { draw, ..state }, &subnets, rounds);
        prop_assert!(deviation(&counts, rounds) < 6.0, "{counts:?}");
    }
}

/// Seeds that follow upon each other are the worst that a generator can be given, and the likeliest to be used.
#[test]
fn random_is_within_three_standard_deviations_for_the_first_seeds() {
    let subnets: Vec<_> = (0..3).map(open).collect();
    let rounds = 30_000;
    for draw in 0..10 {
        let counts = tally(&Random, PolicyState { last: None, draw }, &subnets, rounds);
        assert!(deviation(&counts, rounds) < 3.0, "seed {draw}: {counts:?}");
    }
}

/// Nor do seeds that are neighbours draw alike: what all nodes choose first must be spread.
#[test]
fn random_spreads_the_first_choice_of_neighbouring_seeds() {
    let subnets: Vec<_> = (0..3).map(open).collect();
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for draw in 0..3_000 {
        let (chosen, _) = Random.choose(&PolicyState { last: None, draw }, &subnets).unwrap();
        *counts.entry(chosen).or_default() += 1;
    }
    assert!(deviation(&counts, 3_000) < 3.0, "{counts:?}");
}
