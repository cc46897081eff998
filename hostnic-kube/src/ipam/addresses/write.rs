//! One write of a block: read, carry out what is wanted, replace, and all of it again when somebody else was faster.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use hostnic_core::{Error, ErrorKind, Result};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep};

use super::batch::{Applied, Outcome, Wish, apply};
use super::stock::NodeStock;
use crate::client::Asker;
use crate::error::api_error;
use crate::ipam::block::Block;
use crate::ipam::name::BlockName;
use crate::ipam::resources::IpamBlock;

/// On a block of which some node found no address, and on one that is closed: nodes return their stock of it.
pub(in crate::ipam) const WANTED: &str = "hostnic.network.kubesphere.io/wanted";

/// How long a block is written again before that has failed.
const TRIED: Duration = Duration::from_secs(20);
/// The longest pause after the first conflict, and ever: it is doubled each time, and a part of it chosen at random.
const PAUSES: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));

/// How many requests were made for addresses.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) conflicts: AtomicU64,
    random: Mutex<Rng>,
}

impl Counts {
    /// Random choices begin with `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Mutex::new(Rng::with_seed(seed)), ..Self::default() }
    }

    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A part of `longest`.
    pub(super) fn part(&self, longest: Duration) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        longest.mul_f64(random.f64())
    }
}

/// What is wanted of one block.
pub(super) struct Batch {
    pub(super) block: BlockName,
    pub(super) wishes: Vec<Wish>,
    pub(super) stock: NodeStock,
    /// The object as it was written last.
    pub(super) cached: Option<IpamBlock>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("block", &self.block)
            .field("wishes", &self.wishes)
            .finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Written {
    /// In the order of the wishes.
    pub(super) outcomes: Vec<Outcome>,
    /// The object as it is now, where it is likely to stay so for a while.
    pub(super) object: Option<IpamBlock>,
    /// What the node has in stock of it.
    pub(super) stock: Vec<Ipv4Addr>,
    /// How many addresses can be had.
    pub(super) free: u32,
    /// Whether nobody is to keep any in stock.
    pub(super) wanted: bool,
}

/// Carries out a batch; `None` where there is no such block. Repeating it does no harm.
///
/// # Errors
/// `Transient` where the API server does not answer, or others are always faster; it may have been carried out all the same.
pub(super) async fn write(asker: &Asker, counts: &Counts, mut batch: Batch) -> Result<Option<Written>> {
    let until = Instant::now() + TRIED;
    let (mut cached, mut failures) = (batch.cached.take(), 0_u32);
    loop {
        match attempt(asker, counts, &batch, cached.take()).await {
            // Where others write it as well, it does not stay so.
            Ok(Some(written)) => {
                let object = written.object.filter(|_| failures == 0);
                return Ok(Some(Written { object, ..written }));
            }
            Err(error) if Instant::now() < until && passes_with_time(&error) => {
                let longest = PAUSES.0.saturating_mul(1 << failures.min(10)).min(PAUSES.1);
                failures = failures.saturating_add(1);
                sleep(counts.part(longest)).await;
            }
            ended => return ended,
        }
    }
}

/// Carries a batch out on the object as it was written last, or on a fresh one where there is none or it has not what is wanted.
async fn attempt(
    asker: &Asker,
    counts: &Counts,
    batch: &Batch,
    cached: Option<IpamBlock>,
) -> Result<Option<Written>> {
    let name = batch.block.to_string();
    let of_cached = cached.map(|object| carry_out(object, batch)).transpose()?;
    // It may be otherwise by now.
    let in_vain = |(_, written, _): &(IpamBlock, Written, bool)| {
        written.outcomes.iter().any(|o| matches!(o, Outcome::None { .. } | Outcome::Refused(_)))
    };
    let (object, written, changed) = match of_cached.filter(|done| !in_vain(done)) {
        Some(done) => done,
        None => match read(asker, counts, &name).await? {
            Some(object) => carry_out(object, batch)?,
            None => return Ok(None),
        },
    };
    let object = if changed { replace(asker, counts, &name, &object).await? } else { object };
    Ok(Some(Written { object: Some(object), ..written }))
}

/// Whether the same may go well a moment later: somebody else was faster, the answer was lost, or the API server has too much to do.
pub(super) fn passes_with_time(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Transient | ErrorKind::Throttled { .. })
}

async fn read(asker: &Asker, counts: &Counts, name: &str) -> Result<Option<IpamBlock>> {
    Counts::count(&counts.reads);
    let blocks: Api<IpamBlock> = Api::all(asker.client.clone());
    let found = asker.ask(blocks.get_opt(name)).await;
    found.map_err(|error| api_error("read", format_args!("IPAMBlock {name}"), error))
}

async fn replace(asker: &Asker, counts: &Counts, name: &str, object: &IpamBlock) -> Result<IpamBlock> {
    Counts::count(&counts.writes);
    let blocks: Api<IpamBlock> = Api::all(asker.client.clone());
    let replaced = asker.ask(blocks.replace(name, &PostParams::default(), object)).await;
    replaced.map_err(|error| {
        let error = api_error("change", format_args!("IPAMBlock {name}"), error);
        if error.kind() == ErrorKind::Conflict {
            Counts::count(&counts.conflicts);
        }
        error
    })
}

/// Carries the batch out on an object; whether that changes it.
fn carry_out(mut object: IpamBlock, batch: &Batch) -> Result<(IpamBlock, Written, bool)> {
    let Some((mut block, flaws)) = Block::read(&object.spec) else {
        return Err(Error::new(ErrorKind::Damaged, "read", format_args!("IPAMBlock {}", batch.block))
            .detail(
                "it tells of no addresses; delete it when nobody uses it, and the controller makes it again",
            ));
    };
    for flaw in &flaws {
        tracing::warn!(block = %batch.block, "the block contradicts itself, and is put right: {flaw}");
    }
    let was_wanted = object.labels().contains_key(WANTED);
    let Applied { outcomes, wanted } = apply(&mut block, &batch.wishes, &batch.stock, was_wanted);
    let spec = block.write();
    let changed = spec != object.spec || wanted != was_wanted;
    object.spec = spec;
    if wanted {
        object.labels_mut().insert(WANTED.to_owned(), "true".to_owned());
    } else {
        object.labels_mut().remove(WANTED);
    }
    let free = if block.is_closed() { 0 } else { block.usage().free };
    let written = Written { outcomes, object: None, stock: batch.stock.of(&block), free, wanted };
    Ok((object, written, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_has_no_time_for_is_tried_again_and_what_it_refuses_is_not() {
        let status = |code| {
            let status = kube::core::Status::failure("said", "Reason").with_code(code);
            api_error("change", "IPAMBlock b", kube::Error::Api(Box::new(status)))
        };
        for (code, again) in [(429, true), (500, true), (503, true), (409, true), (403, false), (404, false)]
        {
            assert_eq!(passes_with_time(&status(code)), again, "{code}");
        }
    }

    #[test]
    fn pauses_are_parts_of_the_longest_and_differ() {
        let counts = Counts::new(7);
        let longest = Duration::from_millis(100);
        let parts: std::collections::BTreeSet<Duration> = (0..100).map(|_| counts.part(longest)).collect();
        assert!(parts.len() > 90 && parts.iter().all(|part| *part < longest), "{parts:?}");
        let mean = parts.iter().sum::<Duration>() / 100;
        assert!((30..70).contains(&mean.as_millis()), "{mean:?}");
    }
}
