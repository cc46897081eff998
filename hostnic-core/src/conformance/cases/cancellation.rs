//! Futures that are dropped half-way.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use futures::poll;

use crate::cloud::{NicFilter, NicName};
use crate::conformance::bench::{Bench, Place, ready, usize_of};
use crate::conformance::contract::{CANCELLED, CANCELLED_CREATE};
use crate::conformance::report::Outcome;
use crate::id::NicId;

/// When a future is dropped.
#[derive(Debug, Clone, Copy)]
enum Drop {
    /// After it was polled so often.
    Polled(u32),
    /// After it ran for so long.
    Ran(Duration),
}

/// From at once to later than most calls take.
const DROPS: [Drop; 8] = [
    Drop::Polled(1),
    Drop::Polled(2),
    Drop::Polled(3),
    Drop::Ran(Duration::from_millis(1)),
    Drop::Ran(Duration::from_millis(10)),
    Drop::Ran(Duration::from_millis(50)),
    Drop::Ran(Duration::from_millis(200)),
    Drop::Ran(Duration::from_secs(1)),
];

/// Runs `work` until it is to be dropped; its answer where it came before.
async fn run_until<T>(bench: &Bench<'_>, when: Drop, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match when {
        Drop::Polled(times) => {
            for _ in 0..times {
                if let std::task::Poll::Ready(answer) = poll!(&mut work) {
                    return Some(answer);
                }
                tokio::task::yield_now().await;
            }
            None
        }
        Drop::Ran(time) => match select(work, pin!(bench.wait(time))).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        },
    }
}

pub(super) async fn a_dropped_create_leaves_only_nics_with_its_name(bench: &Bench<'_>) -> Outcome {
    let count = bench.provider().capabilities().create_batch.min(3);
    bench.wait(bench.world.lag).await;
    let before: BTreeSet<NicId> = in_subnet(bench).await?.into_iter().map(|(id, _)| id).collect();
    let mut names = BTreeSet::new();
    for when in DROPS {
        let request = bench.request(count);
        names.insert(request.name.to_string());
        let _lost = run_until(bench, when, bench.provider().create_nics(&request)).await;
        made_under(bench, &before, &names).await?;
        at_most(bench, count, &request.name).await?;
    }
    // What the cloud went on with after it lost its caller.
    bench.wait(bench.world.lag + Duration::from_secs(2)).await;
    made_under(bench, &before, &names).await
}

/// Checks that every NIC of the subnet that was not there before has one of these names.
async fn made_under(bench: &Bench<'_>, before: &BTreeSet<NicId>, names: &BTreeSet<String>) -> Outcome {
    let stray =
        in_subnet(bench).await?.into_iter().find(|(id, name)| !before.contains(id) && !names.contains(name));
    CANCELLED_CREATE.check(stray.is_none(), || format!("a create that was dropped left {stray:?}"))
}

async fn at_most(bench: &Bench<'_>, count: u32, name: &NicName) -> Outcome {
    let filter = NicFilter { name: Some(name.clone()), ..NicFilter::default() };
    let made = ready("listing NICs by name", bench.provider().list_nics(&filter).await)?.len();
    CANCELLED_CREATE
        .check(made <= usize_of(count), || format!("{made} NICs carry the name; {count} were asked for"))
}

async fn in_subnet(bench: &Bench<'_>) -> Outcome<Vec<(NicId, String)>> {
    let filter = NicFilter { subnets: Some(vec![bench.subnet().clone()]), ..NicFilter::default() };
    let nics = ready("listing the subnet's NICs", bench.provider().list_nics(&filter).await)?;
    Ok(nics.into_iter().map(|nic| (nic.id, nic.name)).collect())
}

pub(super) async fn a_dropped_attach_leaves_the_nic_in_one_state_or_the_other(bench: &Bench<'_>) -> Outcome {
    let nics = bench.made(1).await?;
    let provider = bench.provider();
    let _lost = run_until(bench, Drop::Polled(1), provider.attach_nics(&nics)).await;
    // Whatever became of it: a detach that is tried until nothing is in transition must free the NIC.
    let mut waited = Duration::ZERO;
    loop {
        if let Ok(submitted) = provider.detach_nics(&nics).await {
            return match bench.arrive(provider, submitted, &nics, Place::Nowhere).await? {
                None => Ok(()),
                Some(seen) => Err(CANCELLED.broken(format!("the NIC cannot be freed: {seen}"))),
            };
        }
        if waited >= bench.world.patience {
            return Err(CANCELLED.broken(format!("the NIC is still in transition after {waited:?}")));
        }
        bench.wait(bench.world.poll).await;
        waited += bench.world.poll;
    }
}
