//! Finding NICs again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cloud::{Nic, NicFilter, NicName};
use crate::conformance::bench::{Bench, ready, works};
use crate::conformance::cases::idempotency::unknown;
use crate::conformance::contract::{LIST, LIST_FILTER, LIST_IDS, SURVEY};
use crate::conformance::report::Outcome;
use crate::id::NicId;

pub(super) async fn unknown_ids_are_left_out(bench: &Bench<'_>) -> Outcome {
    let mut asked = unknown(bench).await?;
    let known = bench.made(1).await?;
    asked.extend(known.clone());
    asked.truncate(bench.batch().max(1));
    let known: Vec<_> = known.into_iter().filter(|id| asked.contains(id)).collect();
    let filter = NicFilter { ids: Some(asked), ..NicFilter::default() };
    let listed = works(LIST_IDS, bench.provider().list_nics(&filter).await)?;
    let ids: Vec<_> = listed.into_iter().map(|nic| nic.id).collect();
    LIST_IDS.check(ids == known, || format!("of one known and one deleted NIC {ids:?} are listed"))
}

pub(super) async fn no_ids_list_nothing(bench: &Bench<'_>) -> Outcome {
    bench.made(1).await?;
    let filter = NicFilter { ids: Some(Vec::new()), ..NicFilter::default() };
    let listed = works(LIST_IDS, bench.provider().list_nics(&filter).await)?.len();
    // The trap of many a cloud: an empty list of ids is sent as none, and lists everything.
    LIST_IDS.check(listed == 0, || format!("for no ids at all {listed} NICs are listed"))
}

pub(super) async fn each_filter_and_each_combination_lists_what_matches(bench: &Bench<'_>) -> Outcome {
    // Two subnets where there are two: with one alone its filter shows less, the others as much.
    let first = bench.subnet();
    let second = bench.world.subnets.get(1).unwrap_or(first);
    let mut ours = Vec::new();
    for subnet in [first, second] {
        let nics = bench.made_in(subnet, 2).await?;
        bench.attach(&nics[..1]).await?;
        ours.extend(nics);
    }
    let all = look_up(bench, &ours).await?;
    let name = all.iter().find(|nic| nic.id == ours[0]).and_then(|nic| NicName::parse(&nic.name));
    let ids = vec![ours[0].clone(), ours[3].clone()];
    for number in 0..32u8 {
        let is_on = |bit: u8| number & (1 << bit) != 0;
        let filter = NicFilter {
            ids: is_on(0).then(|| ids.clone()).filter(|ids| ids.len() <= bench.batch()),
            instance: is_on(1).then(|| bench.here.clone()),
            subnets: is_on(2).then(|| vec![second.clone()]),
            available: is_on(3),
            name: if is_on(4) { name.clone() } else { None },
        };
        lists_what_matches(bench, &filter, &all).await?;
    }
    let both = NicFilter { subnets: Some(vec![first.clone(), second.clone()]), ..NicFilter::default() };
    lists_what_matches(bench, &both, &all).await
}

/// The NICs as they are once everything has shown.
async fn look_up(bench: &Bench<'_>, ids: &[NicId]) -> Outcome<Vec<Nic>> {
    bench.wait(bench.world.lag).await;
    let mut nics = Vec::new();
    for ids in ids.chunks(bench.batch()) {
        let filter = NicFilter { ids: Some(ids.to_vec()), ..NicFilter::default() };
        nics.extend(ready("listing NICs by id", bench.provider().list_nics(&filter).await)?);
    }
    Ok(nics)
}

async fn lists_what_matches(bench: &Bench<'_>, filter: &NicFilter, ours: &[Nic]) -> Outcome {
    let listed = works(LIST_FILTER, bench.provider().list_nics(filter).await)?;
    let wrong = listed.iter().find(|nic| !filter.matches(nic));
    LIST_FILTER.check(wrong.is_none(), || format!("{filter:?} lists {wrong:?}"))?;
    let missing = ours.iter().find(|nic| filter.matches(nic) && !listed.iter().any(|l| l.id == nic.id));
    LIST_FILTER.check(missing.is_none(), || format!("{filter:?} does not list {missing:?}"))?;
    let distinct: BTreeSet<_> = listed.iter().map(|nic| &nic.id).collect();
    LIST_FILTER.check(distinct.len() == listed.len(), || format!("{filter:?} lists a NIC twice"))
}

pub(super) async fn more_than_a_hundred_nics_are_all_listed(bench: &Bench<'_>) -> Outcome {
    // Beyond the page of a hundred that many clouds have, and not by one only.
    const MANY: u32 = 105;
    let mut expected: BTreeSet<NicId> = BTreeSet::new();
    let largest = bench.provider().capabilities().create_batch.clamp(1, MANY);
    let mut left = MANY;
    while left > 0 {
        let request = bench.request(left.min(largest));
        let nics = bench.create(&request).await?;
        left -= request.count;
        expected.extend(nics.into_iter().map(|nic| nic.id));
    }
    let in_subnet = NicFilter { subnets: Some(vec![bench.subnet().clone()]), ..NicFilter::default() };
    let available = NicFilter { available: true, ..NicFilter::default() };
    for filter in [in_subnet, available, NicFilter::default()] {
        let mut waited = Duration::ZERO;
        loop {
            let listed = works(LIST, bench.provider().list_nics(&filter).await)?;
            let listed: BTreeSet<_> = listed.into_iter().map(|nic| nic.id).collect();
            let missing = expected.difference(&listed).count();
            if missing == 0 {
                break;
            }
            LIST.check(waited < bench.world.lag, || {
                format!("{filter:?} leaves out {missing} of {MANY} NICs")
            })?;
            bench.wait(bench.world.poll).await;
            waited += bench.world.poll;
        }
    }
    Ok(())
}

pub(super) async fn a_survey_tells_what_the_single_calls_tell(bench: &Bench<'_>) -> Outcome {
    let nics = bench.made(2).await?;
    bench.attach(&nics[..1]).await?;
    bench.wait(bench.world.lag).await;
    let (provider, subnets) = (bench.provider(), &bench.world.subnets);
    let survey = works(SURVEY, provider.survey(subnets).await)?;
    let instance = ready("describing the instance", provider.instance().await)?;
    SURVEY.check(survey.instance == instance, || format!("{:?} is not {instance:?}", survey.instance))?;
    let described = ready("describing the subnets", provider.subnets(subnets).await)?;
    SURVEY.check(survey.subnets == described, || format!("{:?} are not {described:?}", survey.subnets))?;
    let here = NicFilter { instance: Some(bench.here.clone()), ..NicFilter::default() };
    let listed = ready("listing the NICs of the instance", provider.list_nics(&here).await)?;
    let ids = |nics: &[Nic]| nics.iter().map(|nic| nic.id.clone()).collect::<BTreeSet<_>>();
    SURVEY.check(ids(&survey.attached) == ids(&listed), || {
        format!("{:?} are told as attached, and {:?} are listed", ids(&survey.attached), ids(&listed))
    })
}
