//! What must be refused, and how.

use crate::cloud::{Nic, NicAttachment, NicFilter, Submitted};
use crate::conformance::bench::{Bench, Place, ready, refused, usize_of, works};
use crate::conformance::cases::idempotency::unknown;
use crate::conformance::cases::lifecycle::nobodys_subnet;
use crate::conformance::contract::{
    ALL_OR_NOTHING, ATTACH, ATTACH_CONFLICT, ATTACH_REFUSED, ATTACH_UNKNOWN, BATCH, CREATE_COUNT,
    CREATE_TAKEN, CREATE_UNKNOWN_SUBNET, DELETE_CONFLICT, DETACH_CONFLICT,
};
use crate::conformance::report::{Outcome, Stop};
use crate::conformance::world::Requirement;
use crate::error::ErrorKind;
use crate::id::NicId;
use crate::provider::{CreateNics, NicAddresses, NicProvider};

pub(super) async fn creating_in_an_unknown_subnet_is_not_found(bench: &Bench<'_>) -> Outcome {
    let request = bench.request_in(&nobodys_subnet()?, 1);
    refused(CREATE_UNKNOWN_SUBNET, bench.provider().create_nics(&request).await, ErrorKind::NotFound)?;
    bench.nothing_named(ALL_OR_NOTHING, &request.name).await
}

pub(super) async fn creating_none_is_invalid(bench: &Bench<'_>) -> Outcome {
    let request = bench.request(0);
    refused(CREATE_COUNT, bench.provider().create_nics(&request).await, ErrorKind::Invalid)?;
    bench.nothing_named(ALL_OR_NOTHING, &request.name).await
}

pub(super) async fn creating_more_than_a_batch_is_never_cut(bench: &Bench<'_>) -> Outcome {
    let Some(count) = bench.provider().capabilities().create_batch.checked_add(1) else {
        return Err(Stop::Skip("there is no number above the limit".to_owned()));
    };
    let request = bench.request(count);
    match bench.provider().create_nics(&request).await {
        Ok(nics) => BATCH.check(nics.len() == usize_of(count), || {
            format!("asked for {count}, one above the limit, {} are answered", nics.len())
        }),
        // One that splits may meet a quota instead.
        Err(error) => {
            let told = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Quota(_));
            BATCH.check(told, || format!("the error is {:?}: {}", error.kind(), error.chain()))?;
            bench.nothing_named(ALL_OR_NOTHING, &request.name).await
        }
    }
}

pub(super) async fn more_addresses_than_a_nic_carries_are_invalid(bench: &Bench<'_>) -> Outcome {
    let Some(each) = bench.provider().capabilities().addresses_per_nic.checked_add(1) else {
        return Err(Stop::Skip("there is no number above the limit".to_owned()));
    };
    let request = CreateNics { addresses: NicAddresses::Assigned(each), ..bench.request(1) };
    refused(BATCH, bench.provider().create_nics(&request).await, ErrorKind::Invalid)?;
    bench.nothing_named(ALL_OR_NOTHING, &request.name).await
}

pub(super) async fn a_taken_address_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    let first = CreateNics { addresses: NicAddresses::Assigned(1), ..bench.request(1) };
    let nics = bench.create(&first).await?;
    let taken = nics.into_iter().flat_map(|nic| nic.addresses).take(1).collect();
    let request = CreateNics { addresses: NicAddresses::Fixed(taken), ..bench.request(1) };
    refused(CREATE_TAKEN, bench.provider().create_nics(&request).await, ErrorKind::Conflict)?;
    bench.nothing_named(ALL_OR_NOTHING, &request.name).await
}

pub(super) async fn attaching_an_unknown_nic_is_not_found(bench: &Bench<'_>) -> Outcome {
    let good = bench.made(1).await?;
    let mixed = [good.clone(), unknown(bench).await?].concat();
    refused(ATTACH_UNKNOWN, bench.provider().attach_nics(&mixed).await, ErrorKind::NotFound)?;
    bench.unmoved(ATTACH_REFUSED, &good, Place::Nowhere).await
}

pub(super) async fn attaching_an_attached_nic_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    let attached = bench.attached(1).await?;
    refused(ATTACH_CONFLICT, bench.provider().attach_nics(&attached).await, ErrorKind::Conflict)?;
    let good = bench.made(1).await?;
    let mixed = [good.clone(), attached].concat();
    refused(ATTACH_CONFLICT, bench.provider().attach_nics(&mixed).await, ErrorKind::Conflict)?;
    bench.unmoved(ATTACH_REFUSED, &good, Place::Nowhere).await
}

pub(super) async fn attaching_a_nic_in_transition_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    let nics = bench.made(1).await?;
    let submitted = works(ATTACH, bench.provider().attach_nics(&nics).await)?;
    // A job that is that fast has attached the NIC, which is a conflict as well.
    refused(ATTACH_CONFLICT, bench.provider().attach_nics(&nics).await, ErrorKind::Conflict)?;
    refused(DELETE_CONFLICT, bench.provider().delete_nics(&nics).await, ErrorKind::Conflict)?;
    match bench.arrive(bench.provider(), submitted, &nics, Place::Here).await? {
        None => Ok(()),
        Some(seen) => Err(ATTACH.broken(format!("after calls that were refused, {seen}"))),
    }
}

/// A NIC that is attached to the second instance, and that instance.
async fn elsewhere<'a>(bench: &'a Bench<'_>) -> Outcome<(Vec<NicId>, &'a dyn NicProvider)> {
    let Some(second) = bench.world.second_instance.as_deref() else {
        return Err(Requirement::SecondInstance.into());
    };
    let nics = bench.made(1).await?;
    let submitted = ready("attaching a NIC to the second instance", second.attach_nics(&nics).await)?;
    if let Submitted::Job(job) = submitted {
        bench.end(second, &job).await?;
    }
    bench.wait(bench.world.lag).await;
    Ok((nics, second))
}

/// Checks that NICs have stayed in the second instance.
async fn stay(bench: &Bench<'_>, nics: &[NicId], second: &dyn NicProvider) -> Outcome {
    bench.wait(bench.world.lag).await;
    let instance = ready("describing the second instance", second.instance().await)?.id;
    let filter = NicFilter { ids: Some(nics.to_vec()), instance: Some(instance), ..NicFilter::default() };
    let listed = ready("listing NICs", second.list_nics(&filter).await)?;
    ALL_OR_NOTHING
        .check(listed.len() == nics.len(), || "the NIC is no longer in the other instance".to_owned())
}

pub(super) async fn attaching_what_another_instance_has_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    let (nics, second) = elsewhere(bench).await?;
    refused(ATTACH_CONFLICT, bench.provider().attach_nics(&nics).await, ErrorKind::Conflict)?;
    stay(bench, &nics, second).await
}

pub(super) async fn detaching_what_another_instance_has_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    let (nics, second) = elsewhere(bench).await?;
    refused(DETACH_CONFLICT, bench.provider().detach_nics(&nics).await, ErrorKind::Conflict)?;
    stay(bench, &nics, second).await
}

pub(super) async fn detaching_the_primary_nic_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    bench.wait(bench.world.lag).await;
    let filter = NicFilter { instance: Some(bench.here.clone()), ..NicFilter::default() };
    let carried = ready("listing NICs", bench.provider().list_nics(&filter).await)?;
    let is_primary = |nic: &Nic| matches!(nic.attachment, NicAttachment::Attached { primary: true, .. });
    let primary: Vec<_> = carried.into_iter().filter(is_primary).map(|nic| nic.id).collect();
    if primary.is_empty() {
        return Err(Stop::Skip("the cloud lists no primary NIC".to_owned()));
    }
    refused(DETACH_CONFLICT, bench.provider().detach_nics(&primary).await, ErrorKind::Conflict).map(|_| ())
}

pub(super) async fn deleting_an_attached_nic_is_a_conflict(bench: &Bench<'_>) -> Outcome {
    let attached = bench.attached(1).await?;
    let good = bench.made(1).await?;
    let mixed = [good.clone(), attached.clone()].concat();
    refused(DELETE_CONFLICT, bench.provider().delete_nics(&mixed).await, ErrorKind::Conflict)?;
    bench.unmoved(DELETE_CONFLICT, &good, Place::Nowhere).await?;
    bench.unmoved(DELETE_CONFLICT, &attached, Place::Here).await
}
