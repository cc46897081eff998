//! Tags on NICs, where the cloud has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::capability::Tagging;
use crate::conformance::bench::{Bench, ready, works};
use crate::conformance::cases::idempotency::unknown;
use crate::conformance::cases::lifecycle::broken_if;
use crate::conformance::contract::{Clause, TAG, TAG_UNKNOWN, TAGGED, TAGGED_UNKNOWN};
use crate::conformance::report::{Outcome, Stop};
use crate::error::ErrorKind;
use crate::id::NicId;

fn tagging(bench: &Bench<'_>) -> Outcome<Arc<dyn Tagging>> {
    bench.world.tagging.clone().ok_or_else(|| Stop::SetUp("the world has no tags".to_owned()))
}

/// A tag that nothing carries yet.
fn tag(bench: &Bench<'_>) -> String {
    format!("conformance {}", bench.name())
}

async fn carry(
    bench: &Bench<'_>,
    clause: Clause,
    tags: &[String],
    nics: &[NicId],
    wanted: &[NicId],
) -> Outcome {
    let found = works(clause, tagging(bench)?.tagged(tags, nics).await)?;
    let wanted: BTreeSet<NicId> = wanted.iter().cloned().collect();
    broken_if(clause, (found != wanted).then(|| format!("{wanted:?} carry it; the answer is {found:?}")))
}

pub(super) async fn a_tag_is_read_from_what_carries_it_and_from_nothing_else(bench: &Bench<'_>) -> Outcome {
    let gone = unknown(bench).await?;
    let nics = bench.made(3).await?;
    let (one, other) = (tag(bench), tag(bench));
    works(TAG, tagging(bench)?.tag_nics(&one, &nics[..2]).await)?;
    works(TAG, tagging(bench)?.tag_nics(&other, &nics[1..]).await)?;
    bench.wait(bench.world.lag).await;
    carry(bench, TAGGED, std::slice::from_ref(&one), &nics, &nics[..2]).await?;
    carry(bench, TAGGED, &[one.clone(), other], &nics, &nics).await?;
    carry(bench, TAGGED, std::slice::from_ref(&one), &nics[1..2], &nics[1..2]).await?;
    let asked: Vec<NicId> = nics.iter().chain(&gone).cloned().collect();
    carry(bench, TAGGED_UNKNOWN, &[one, tag(bench)], &asked, &nics[..2]).await?;
    carry(bench, TAGGED_UNKNOWN, &[], &nics, &[]).await
}

pub(super) async fn tagging_twice_counts_as_done(bench: &Bench<'_>) -> Outcome {
    let (nics, tag) = (bench.made(2).await?, tag(bench));
    ready("tagging a NIC", tagging(bench)?.tag_nics(&tag, &nics[..1]).await)?;
    // The other one of the call gets it as well.
    works(TAG, tagging(bench)?.tag_nics(&tag, &nics).await)?;
    bench.wait(bench.world.lag).await;
    carry(bench, TAG, &[tag], &nics, &nics).await
}

pub(super) async fn tagging_an_unknown_nic_is_not_found(bench: &Bench<'_>) -> Outcome {
    let gone = unknown(bench).await?;
    match tagging(bench)?.tag_nics(&tag(bench), &gone).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => broken_if(TAG_UNKNOWN, Some(format!("the answer is {other:?}"))),
    }
}
