//! Many NICs in one call.

use crate::conformance::bench::{Bench, Place, ready, u32_of, usize_of, works};
use crate::conformance::cases::lifecycle::broken_if;
use crate::conformance::contract::{ATTACH, BATCH, CREATE, DELETE, DETACH};
use crate::conformance::report::{Outcome, Stop};
use crate::conformance::world::Requirement;
use crate::error::ErrorKind;
use crate::id::NicId;

/// More than this shows nothing new, and costs time.
const ENOUGH: u32 = 100;

pub(super) async fn a_full_batch_is_created_and_deleted(bench: &Bench<'_>) -> Outcome {
    let can = bench.provider().capabilities();
    let count = can.create_batch.min(bench.world.room);
    let request = bench.request(count);
    let nics = works(CREATE, bench.provider().create_nics(&request).await)?;
    CREATE
        .check(nics.len() == usize_of(count), || format!("asked for {count}, {} are answered", nics.len()))?;
    let nics: Vec<NicId> = nics.into_iter().map(|nic| nic.id).collect();
    for nics in nics.chunks(bench.batch()) {
        works(DELETE, bench.provider().delete_nics(nics).await)?;
    }
    broken_if(DELETE, bench.reach(&nics, Place::Gone, bench.world.lag).await?)
}

pub(super) async fn a_batch_goes_in_and_out_in_one_call(bench: &Bench<'_>) -> Outcome {
    let provider = bench.provider();
    let limit = ready("describing the instance", provider.instance().await)?.nic_limit;
    // Half of what fits, as the instance may carry others.
    let count = u32_of(bench.batch()).min(bench.world.room).min(limit / 2).min(ENOUGH);
    if count < 2 {
        return Err(Stop::Skip(format!("an instance that takes {limit} NICs has no room for a batch")));
    }
    let nics = bench.made(count).await?;
    let attaching = works(ATTACH, provider.attach_nics(&nics).await)?;
    broken_if(ATTACH, bench.arrive(provider, attaching, &nics, Place::Here).await?)?;
    let detaching = works(DETACH, provider.detach_nics(&nics).await)?;
    broken_if(DETACH, bench.arrive(provider, detaching, &nics, Place::Nowhere).await?)?;
    works(DELETE, provider.delete_nics(&nics).await)?;
    broken_if(DELETE, bench.reach(&nics, Place::Gone, bench.world.lag).await?)
}

pub(super) async fn more_ids_than_a_batch_are_never_cut(bench: &Bench<'_>) -> Outcome {
    let count = u32_of(bench.batch()).saturating_add(1);
    if count > bench.world.room {
        return Err(Requirement::Room(count).into());
    }
    let nics = bench.made(count).await?;
    match bench.provider().delete_nics(&nics).await {
        Ok(()) => broken_if(BATCH, bench.reach(&nics, Place::Gone, bench.world.lag).await?),
        Err(error) => {
            BATCH.check(error.kind() == ErrorKind::Invalid, || {
                format!("the error is {:?}: {}", error.kind(), error.chain())
            })?;
            bench.unmoved(BATCH, &nics, Place::Nowhere).await
        }
    }
}
