//! Limits on the number of things.

use crate::cloud::{Nic, NicAttachment, NicFilter};
use crate::conformance::bench::{Bench, Place, ready, refused, u32_of, works};
use crate::conformance::cases::lifecycle::broken_if;
use crate::conformance::contract::{
    ALL_OR_NOTHING, ATTACH, ATTACH_QUOTA, ATTACH_REFUSED, CREATE_ACCOUNT_FULL, CREATE_SUBNET_FULL, Clause,
    NOT_TRANSIENT,
};
use crate::conformance::report::Outcome;
use crate::conformance::world::Requirement;
use crate::error::{ErrorKind, QuotaScope, Result};

/// The call is refused for this quota; never as something that passes.
fn over_quota<T: std::fmt::Debug>(clause: Clause, result: Result<T>, scope: QuotaScope) -> Outcome {
    if let Err(error) = &result
        && error.kind() == ErrorKind::Transient
    {
        return Err(NOT_TRANSIENT.broken(format!("a quota is reported so: {}", error.chain())));
    }
    refused(clause, result, ErrorKind::Quota(scope)).map(|_| ())
}

pub(super) async fn a_full_subnet_is_told_as_such(bench: &Bench<'_>) -> Outcome {
    let Some(full) = &bench.world.full_subnet else { return Err(Requirement::FullSubnet.into()) };
    let request = bench.request_in(full, 1);
    over_quota(CREATE_SUBNET_FULL, bench.provider().create_nics(&request).await, QuotaScope::Subnet)?;
    bench.nothing_named(ALL_OR_NOTHING, &request.name).await
}

pub(super) async fn a_full_account_is_told_as_such(bench: &Bench<'_>) -> Outcome {
    let Some(full) = &bench.world.full_account else { return Err(Requirement::FullAccount.into()) };
    let request = bench.request_in(&full.subnet, 1);
    over_quota(CREATE_ACCOUNT_FULL, full.provider.create_nics(&request).await, QuotaScope::Account)
}

pub(super) async fn an_instance_takes_all_of_a_call_or_none(bench: &Bench<'_>) -> Outcome {
    let provider = bench.provider();
    if bench.batch() < 2 {
        return Err(Requirement::Batch(2).into());
    }
    let limit = ready("describing the instance", provider.instance().await)?.nic_limit;
    bench.wait(bench.world.lag).await;
    let filter = NicFilter { instance: Some(bench.here.clone()), ..NicFilter::default() };
    let carried = ready("listing NICs", provider.list_nics(&filter).await)?;
    let is_primary = |nic: &&Nic| matches!(nic.attachment, NicAttachment::Attached { primary: true, .. });
    let taken = carried.len() - carried.iter().filter(is_primary).count();
    let free = limit.saturating_sub(u32_of(taken));
    if free == 0 || bench.world.room <= free {
        return Err(Requirement::Room(free.saturating_add(1)).into());
    }
    let nics = bench.made(free + 1).await?;
    let (first, last_two) = nics.split_at(nics.len() - 2);
    bench.attach(first).await?;
    over_quota(ATTACH_QUOTA, provider.attach_nics(last_two).await, QuotaScope::Instance)?;
    bench.unmoved(ATTACH_REFUSED, last_two, Place::Nowhere).await?;
    // One of the two does fit: what was refused was the call, not the NIC.
    let submitted = works(ATTACH, provider.attach_nics(&last_two[..1]).await)?;
    broken_if(ATTACH, bench.arrive(provider, submitted, &last_two[..1], Place::Here).await?)
}
