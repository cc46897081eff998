//! Work that goes on after a call was answered.

use std::collections::BTreeSet;

use futures::future::try_join_all;

use crate::cloud::{JobState, Submitted};
use crate::conformance::bench::{Bench, Place, ready, usize_of, works};
use crate::conformance::cases::lifecycle::broken_if;
use crate::conformance::contract::{ATTACH, CREATE, DETACH, JOB_UNKNOWN, JOBS};
use crate::conformance::report::{Outcome, Stop};
use crate::id::JobId;

fn nobodys_job() -> Outcome<JobId> {
    JobId::new("hostnic-conformance-no-such-job").map_err(|e| Stop::SetUp(e.to_string()))
}

pub(super) async fn an_unknown_job_is_unknown(bench: &Bench<'_>) -> Outcome {
    let job = nobodys_job()?;
    let jobs = works(JOB_UNKNOWN, bench.provider().jobs(std::slice::from_ref(&job)).await)?;
    let states: Vec<_> = jobs.iter().filter(|answer| answer.id == job).map(|answer| &answer.state).collect();
    JOB_UNKNOWN.check(states == [&JobState::Unknown], || format!("one that never was is told as {states:?}"))
}

pub(super) async fn jobs_are_answered_in_the_order_asked(bench: &Bench<'_>) -> Outcome {
    let mut asked = vec![nobodys_job()?];
    for nic in bench.made(2).await? {
        let submitted = ready("attaching a NIC", bench.provider().attach_nics(&[nic]).await)?;
        if let Submitted::Job(job) = submitted {
            // One after the other: this case is about order, another about what runs at the same time.
            bench.end(bench.provider(), &job).await?;
            asked.insert(0, job);
        }
    }
    if asked.len() < 3 {
        return Err(Stop::Skip("the cloud attaches without jobs".to_owned()));
    }
    asked.swap(1, 2);
    let answers = works(JOBS, bench.provider().jobs(&asked).await)?;
    let ids: Vec<_> = answers.into_iter().map(|answer| answer.id).collect();
    JOBS.check(ids == asked, || format!("asked about {asked:?}, the answer is {ids:?}"))
}

pub(super) async fn calls_at_the_same_time_do_not_disturb_each_other(bench: &Bench<'_>) -> Outcome {
    const CALLS: u32 = 4;
    let provider = bench.provider();
    let count = provider.capabilities().create_batch.min(2);
    let requests: Vec<_> = (0..CALLS).map(|_| bench.request(count)).collect();
    let made = try_join_all(requests.iter().map(|request| provider.create_nics(request))).await;
    let nics: Vec<_> = works(CREATE, made)?.into_iter().flatten().map(|nic| nic.id).collect();
    let distinct: BTreeSet<_> = nics.iter().collect();
    let expected = requests.len() * usize_of(count);
    CREATE.check(distinct.len() == expected, || {
        format!("{CALLS} calls for {count} each made {} different NICs", distinct.len())
    })?;

    // One call for each NIC, all at once.
    let alone: Vec<_> = nics.iter().take(4).map(std::slice::from_ref).collect();
    for (place, clause) in [(Place::Here, ATTACH), (Place::Nowhere, DETACH)] {
        let submitted = match place {
            Place::Here => try_join_all(alone.iter().map(|nic| provider.attach_nics(nic))).await,
            _ => try_join_all(alone.iter().map(|nic| provider.detach_nics(nic))).await,
        };
        for (submitted, nic) in works(clause, submitted)?.into_iter().zip(&alone) {
            broken_if(clause, bench.arrive(provider, submitted, nic, place).await?)?;
        }
    }
    Ok(())
}
