//! Doing away with what is gone already.

use crate::conformance::bench::{Bench, Place, ready, works};
use crate::conformance::cases::lifecycle::broken_if;
use crate::conformance::contract::{DELETE_DONE, DETACH_DONE};
use crate::conformance::report::{Outcome, Stop};
use crate::id::NicId;

/// An id that was good until a moment ago: clouds tell those apart by nothing, and refuse ids of a foreign shape.
pub(super) async fn unknown(bench: &Bench<'_>) -> Outcome<Vec<NicId>> {
    let nics = bench.made(1).await?;
    ready("deleting a NIC", bench.provider().delete_nics(&nics).await)?;
    match bench.reach(&nics, Place::Gone, bench.world.lag).await? {
        None => Ok(nics),
        Some(seen) => Err(Stop::SetUp(format!("a deleted NIC does not go: {seen}"))),
    }
}

pub(super) async fn detaching_what_is_unknown_counts_as_done(bench: &Bench<'_>) -> Outcome {
    let gone = unknown(bench).await?;
    let submitted = works(DETACH_DONE, bench.provider().detach_nics(&gone).await)?;
    broken_if(DETACH_DONE, bench.arrive(bench.provider(), submitted, &gone, Place::Gone).await?)
}

pub(super) async fn detaching_what_is_attached_nowhere_counts_as_done(bench: &Bench<'_>) -> Outcome {
    let nics = bench.made(1).await?;
    let submitted = works(DETACH_DONE, bench.provider().detach_nics(&nics).await)?;
    broken_if(DETACH_DONE, bench.arrive(bench.provider(), submitted, &nics, Place::Nowhere).await?)
}

pub(super) async fn deleting_what_is_unknown_counts_as_done(bench: &Bench<'_>) -> Outcome {
    let mut nics = unknown(bench).await?;
    nics.extend(bench.made(1).await?);
    // The known one of the call goes as well.
    for nics in nics.chunks(bench.batch()) {
        works(DELETE_DONE, bench.provider().delete_nics(nics).await)?;
    }
    broken_if(DELETE_DONE, bench.reach(&nics, Place::Gone, bench.world.lag).await?)
}

pub(super) async fn deleting_twice_counts_as_done(bench: &Bench<'_>) -> Outcome {
    let nics = bench.made(1).await?;
    ready("deleting a NIC", bench.provider().delete_nics(&nics).await)?;
    works(DELETE_DONE, bench.provider().delete_nics(&nics).await)
}
