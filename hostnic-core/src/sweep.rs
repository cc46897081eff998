//! NICs that outlived the instance they were made for.
//!
//! A node gives its NICs back itself. One whose instance was terminated cannot, and the cloud keeps its NICs, each with an
//! address of its subnet. They are recognised by their name ([`NicName`]), and only ones attached nowhere are touched.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use crate::capability::InstanceDirectory;
use crate::cloud::{Nic, NicAttachment, NicFilter, NicName};
use crate::error::Result;
use crate::id::{InstanceId, NicId};
use crate::provider::NicProvider;

/// The most NICs that are deleted in one [`PAUSE`]: a wrong belief about instances must not cost a whole account at once.
pub const BATCH: usize = 20;

/// How long to wait between two batches.
pub const PAUSE: Duration = Duration::from_secs(60);

/// How long a NIC must have been seen as an orphan before [`keep`] deletes it.
pub const SUSPECTED: Duration = Duration::from_secs(60 * 60);

/// A NIC with a name of ours, attached nowhere, whose instance does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The NIC.
    pub nic: Nic,
    /// The instance that it was made for.
    pub instance: InstanceId,
}

/// Finds the orphans of the whole account, by the ids of their instances and then their own.
///
/// # Errors
/// Of either call; nothing is an orphan because a question about it failed.
pub async fn orphans(provider: &dyn NicProvider, directory: &dyn InstanceDirectory) -> Result<Vec<Orphan>> {
    judge(provider.list_nics(&NicFilter::default()).await?, directory).await
}

/// Deletes those of `orphans` that still are, [`BATCH`] at a time with a [`PAUSE`] between, and tells after each batch which
/// it deleted.
///
/// Each batch is looked at again just before it goes. Idempotent: one that is gone counts as deleted by somebody. Dropping the
/// future stops before the next batch.
///
/// # Errors
/// The first call that failed; the batches before it are deleted.
pub async fn delete(
    provider: &dyn NicProvider,
    directory: &dyn InstanceDirectory,
    orphans: &[Orphan],
    mut deleted: impl FnMut(&[NicId]) + Send,
) -> Result<()> {
    for (n, batch) in orphans.chunks(BATCH).enumerate() {
        if n > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let ids = batch.iter().map(|orphan| orphan.nic.id.clone()).collect();
        let nics = provider.list_nics(&NicFilter { ids: Some(ids), ..NicFilter::default() }).await?;
        let still: Vec<_> = judge(nics, directory).await?.into_iter().map(|orphan| orphan.nic.id).collect();
        if !still.is_empty() {
            provider.delete_nics(&still).await?;
        }
        deleted(&still);
    }
    Ok(())
}

/// Looks for orphans again and again, and deletes those that still are one when they have been seen [`SUSPECTED`] ago for the first
/// time. `deleted` is told of each batch.
///
/// A question that fails is logged, and asked again at the next look; what was suspected stays so. Dropping the future ends it, and
/// whoever begins anew suspects nobody yet.
pub async fn keep(
    provider: &dyn NicProvider,
    directory: &dyn InstanceDirectory,
    mut deleted: impl FnMut(&[NicId]) + Send,
) -> Infallible {
    let mut suspicions = Suspicions::default();
    loop {
        let swept = async {
            let due = suspicions.due(orphans(provider, directory).await?, Instant::now());
            delete(provider, directory, &due, &mut deleted).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(error = %error.chain(), "NICs of terminated instances cannot be looked for; trying again in an hour");
        }
        tokio::time::sleep(SUSPECTED).await;
    }
}

/// Since when NICs have looked like orphans.
#[derive(Debug, Default)]
struct Suspicions(BTreeMap<NicId, Instant>);

impl Suspicions {
    /// Those that have looked so for long enough. One that does not any more is begun with anew.
    fn due(&mut self, orphans: Vec<Orphan>, now: Instant) -> Vec<Orphan> {
        let since = |id: &NicId| self.0.get(id).copied().unwrap_or(now);
        let known = orphans.iter().map(|orphan| (orphan.nic.id.clone(), since(&orphan.nic.id))).collect();
        self.0 = known;
        let is_due =
            |orphan: &Orphan| self.0.get(&orphan.nic.id).is_some_and(|since| now >= *since + SUSPECTED);
        orphans.into_iter().filter(is_due).collect()
    }
}

async fn judge(nics: Vec<Nic>, directory: &dyn InstanceDirectory) -> Result<Vec<Orphan>> {
    let mut orphans = candidates(nics);
    if !orphans.is_empty() {
        let makers = orphans.iter().map(|orphan| orphan.instance.clone()).collect();
        let existing = directory.existing(&makers).await?;
        orphans.retain(|orphan| !existing.contains(&orphan.instance));
    }
    Ok(orphans)
}

/// What is an orphan if its instance does not exist.
///
/// An instance that carries a NIC exists, whatever is said by a directory that may not see all of them.
fn candidates(nics: Vec<Nic>) -> Vec<Orphan> {
    let carriers: BTreeSet<_> = nics.iter().filter_map(|nic| nic.attachment.instance().cloned()).collect();
    let free = nics.into_iter().filter(|nic| nic.attachment == NicAttachment::Available);
    let ours = free.filter_map(|nic| {
        let NicName { instance, .. } = NicName::parse(&nic.name)?;
        Some(Orphan { nic, instance })
    });
    let mut candidates: Vec<_> = ours.filter(|orphan| !carriers.contains(&orphan.instance)).collect();
    candidates.sort_by(|a, b| (&a.instance, &a.nic.id).cmp(&(&b.instance, &b.nic.id)));
    candidates
}
