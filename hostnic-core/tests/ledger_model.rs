//! Random steps against the ledger and against a second reading of the state machines, written as tables.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod store_support;

use std::sync::Arc;

use hostnic_core::ErrorKind;
use hostnic_core::ledger::{
    AddressRecord, AddressState, LeaseState, Ledger, NicRecord, NicState, State, Write,
};
use hostnic_core::point::Point;
use hostnic_core::store::{MemoryStore, StateStore};
use proptest::prelude::*;

use store_support::*;

const NIC_STEPS: [(&str, &[&str]); 6] = [
    ("attaching", &["attaching", "ready", "detaching", "deleting", "lost", "quarantined"]),
    ("ready", &["ready", "attaching", "detaching", "lost", "quarantined"]),
    ("detaching", &["detaching", "deleting", "lost", "quarantined"]),
    ("deleting", &["deleting", "detaching", "lost", "quarantined"]),
    ("lost", &["lost"]),
    ("quarantined", &["quarantined", "ready", "detaching", "lost"]),
];
/// A leased address may stay leased by the same attachment only; that is checked apart.
const ADDRESS_STEPS: [(&str, &[&str]); 4] = [
    ("claimed", &["claimed", "free", "leased", "cooling"]),
    ("free", &["free", "leased", "cooling", "claimed"]),
    ("leased", &["leased", "free", "cooling"]),
    ("cooling", &["cooling", "leased", "free", "claimed"]),
];
const LEASE_STEPS: [(&str, &[&str]); 3] = [
    ("preparing", &["preparing", "active", "releasing"]),
    ("active", &["active", "releasing"]),
    ("releasing", &["releasing"]),
];

fn steps(table: &[(&str, &[&str])], from: &str, to: &str) -> bool {
    table.iter().any(|(state, next)| *state == from && next.contains(&to))
}

fn is_legal(state: &State, write: &Write) -> bool {
    match write {
        Write::PutNic(next) => {
            let leaving = matches!(next.state.word(), "detaching" | "deleting");
            let busy = next.addresses.iter().any(|a| matches!(a.state.word(), "leased" | "cooling"));
            !(leaving && busy)
                && state.nics.get(&next.id).is_none_or(|now| {
                    steps(&NIC_STEPS, now.state.word(), next.state.word())
                        && now.addresses.iter().all(|before| address_is_legal(before, next))
                })
        }
        Write::DropNic(id) => {
            state.nics.get(id).is_none_or(|nic| nic.addresses.iter().all(|a| a.state.word() != "leased"))
        }
        Write::PutLease(next) => state
            .leases
            .get(&next.mark)
            .is_none_or(|now| steps(&LEASE_STEPS, now.state.word(), next.state.word())),
        _ => true,
    }
}

fn address_is_legal(before: &AddressRecord, next: &NicRecord) -> bool {
    match (&before.state, next.addresses.iter().find(|a| a.address == before.address).map(|a| &a.state)) {
        (AddressState::Leased { .. }, None) => false,
        (_, None) => true,
        (AddressState::Leased { mark: old }, Some(AddressState::Leased { mark: new })) => old == new,
        (before, Some(after)) => steps(&ADDRESS_STEPS, before.word(), after.word()),
    }
}

fn nic_state() -> impl Strategy<Value = NicState> {
    prop_oneof![
        1 => Just(NicState::Attaching { job: None, failures: 1 }),
        4 => Just(NicState::Ready),
        1 => Just(NicState::Detaching { job: Some("j-1".parse().unwrap()) }),
        1 => Just(NicState::Deleting),
        1 => Just(NicState::Lost),
        1 => Just(NicState::Quarantined),
    ]
}

fn address_state() -> impl Strategy<Value = AddressState> {
    prop_oneof![
        Just(AddressState::Claimed),
        (0..9u64).prop_map(|t| AddressState::Free { since: at(t) }),
        (0..3u32).prop_map(|n| AddressState::Leased { mark: key(n).mark() }),
        (0..9u64).prop_map(|t| AddressState::Cooling { since: at(t) }),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let put_nic = (0..2u32, nic_state(), prop::collection::vec(address_state(), 0..3)).prop_map(
        |(n, state, addresses)| {
            let addresses = addresses
                .into_iter()
                .zip(10 * n..)
                .map(|(state, a)| AddressRecord { address: address(a).into(), state })
                .collect();
            Write::PutNic(NicRecord { state, addresses, ..nic(n, AddressState::Claimed) })
        },
    );
    let lease_state =
        prop::sample::select(vec![LeaseState::Preparing, LeaseState::Active, LeaseState::Releasing]);
    prop_oneof![
        6 => put_nic,
        1 => (0..2u32).prop_map(|n| Write::DropNic(nic(n, AddressState::Claimed).id)),
        4 => (0..3u32, lease_state).prop_map(|(n, state)| Write::PutLease(Box::new(lease(n, state)))),
        1 => (0..3u32).prop_map(|n| Write::DropLease(key(n).mark())),
        1 => (0..3u32).prop_map(|n| Write::PutIntent(intent(n))),
        1 => (0..3u32).prop_map(|n| Write::DropIntent(intent(n).token)),
        1 => (0..3u32, 0..9u64).prop_map(|(n, t)| Write::PutTombstone(key(n).mark(), at(t))),
        1 => (0..3u32).prop_map(|n| Write::DropTombstone(key(n).mark())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn legal_steps_are_kept_and_illegal_ones_change_nothing(
        transactions in prop::collection::vec(prop::collection::vec(write(), 1..4), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::default();
            let ledger = Ledger::open(Arc::new(store.clone())).await.unwrap();
            let mut model = State::default();
            for writes in transactions {
                let legal = writes.iter().all(|write| is_legal(&model, write));
                let result = ledger.transact(Point::PrepareLease, |_| Ok((writes.clone(), ()))).await;
                match result {
                    Ok(()) => {
                        prop_assert!(legal, "taken: {writes:?}");
                        model.apply(&writes);
                    }
                    Err(error) => {
                        prop_assert!(!legal, "refused: {writes:?}: {error}");
                        prop_assert_eq!(error.kind(), ErrorKind::Internal);
                    }
                }
                prop_assert!(ledger.read(|state| *state == model));
                prop_assert!(store.load().await.unwrap() == model);
            }
            Ok(())
        })?;
    }
}
