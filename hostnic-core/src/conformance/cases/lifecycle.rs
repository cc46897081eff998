//! A NIC's life when all goes well.

use std::collections::BTreeSet;

use crate::cloud::{Nic, NicAttachment, NicFilter};
use crate::conformance::bench::{Bench, Place, ready, usize_of, works};
use crate::conformance::contract::{
    ATTACH, CAPABILITIES, CREATE, CREATE_ASSIGNED, CREATE_BARE, CREATE_FIXED, CREATE_NAME, Clause, DELETE,
    DETACH, INSTANCE, LIST, SUBNETS,
};
use crate::conformance::report::{Outcome, Stop};
use crate::id::SubnetId;
use crate::provider::{CreateNics, NicAddresses};

pub(super) async fn what_is_constant_does_not_change(bench: &Bench<'_>) -> Outcome {
    let (first, again) = (bench.provider().capabilities(), bench.provider().capabilities());
    CAPABILITIES.check(first == again, || format!("it is first {first:?}, then {again:?}"))?;
    CAPABILITIES
        .check(first.create_batch > 0 && first.batch > 0, || format!("nothing fits a call: {first:?}"))?;
    let instance = works(INSTANCE, bench.provider().instance().await)?;
    INSTANCE.check(instance.id == bench.here, || format!("it is first {}, then {}", bench.here, instance.id))
}

pub(super) async fn subnets_are_described_in_the_order_asked(bench: &Bench<'_>) -> Outcome {
    let mut asked: Vec<SubnetId> = bench.world.subnets.iter().rev().cloned().collect();
    let expected = asked.clone();
    asked.insert(0, nobodys_subnet()?);
    for asked in asked.chunks(bench.batch()) {
        let subnets = works(SUBNETS, bench.provider().subnets(asked).await)?;
        let ids: Vec<_> = subnets.iter().map(|subnet| &subnet.id).collect();
        let in_order: Vec<_> = asked.iter().filter(|id| expected.contains(id)).collect();
        SUBNETS.check(ids == in_order, || format!("asked for {asked:?}, the answer is {ids:?}"))?;
        let strange = subnets.iter().find(|subnet| !subnet.prefix.contains(&subnet.gateway));
        SUBNETS.check(strange.is_none(), || format!("a gateway is outside its subnet: {strange:?}"))?;
    }
    Ok(())
}

/// A subnet that no cloud has.
pub(super) fn nobodys_subnet() -> Outcome<SubnetId> {
    SubnetId::new("hostnic-conformance-no-such-subnet").map_err(|e| Stop::SetUp(e.to_string()))
}

pub(super) async fn create_makes_exactly_count_nics(bench: &Bench<'_>) -> Outcome {
    let most = bench.provider().capabilities().create_batch.min(3);
    for count in 1..=most {
        let request = bench.request(count);
        let nics = works(CREATE, bench.provider().create_nics(&request).await)?;
        let made = nics.len();
        CREATE.check(made == usize_of(count), || format!("asked for {count}, {made} are answered"))?;
        bench.wait(bench.world.lag).await;
        let filter = NicFilter { name: Some(request.name), ..NicFilter::default() };
        let listed = ready("listing NICs by name", bench.provider().list_nics(&filter).await)?.len();
        CREATE.check(listed == made, || format!("asked for {count}, {listed} exist"))?;
    }
    Ok(())
}

pub(super) async fn created_nics_have_ids_macs_and_addresses_of_their_own(bench: &Bench<'_>) -> Outcome {
    let request = bench.request(bench.provider().capabilities().create_batch.min(3));
    let nics = works(CREATE, bench.provider().create_nics(&request).await)?;
    for nic in &nics {
        CREATE.check(nic.attachment == NicAttachment::Available, || format!("one is attached: {nic:?}"))?;
        let named = nic.name == request.name.to_string() && nic.subnet == request.subnet;
        CREATE_NAME.check(named, || format!("asked for {request:?}, the answer has {nic:?}"))?;
    }
    CREATE.check(distinct(&nics, |nic| Some(nic.id.clone())), || format!("two have one id: {nics:?}"))?;
    CREATE.check(distinct(&nics, |nic| Some(nic.mac)), || format!("two have one MAC: {nics:?}"))?;
    CREATE
        .check(distinct(&nics, |nic| nic.addresses.clone()), || format!("two have one address: {nics:?}"))?;
    if let NicAddresses::Assigned(each) = request.addresses {
        let prefix = ready("describing the subnet", bench.provider().subnets(&[request.subnet]).await)?;
        for nic in &nics {
            let outside = nic.addresses.iter().find(|a| !prefix.iter().any(|s| s.prefix.contains(*a)));
            CREATE_ASSIGNED.check(nic.addresses.len() == usize_of(each) && outside.is_none(), || {
                format!("asked for {each} of the subnet, one has {:?}", nic.addresses)
            })?;
        }
    }
    Ok(())
}

/// Whether no two NICs share one of what `of` tells of them.
fn distinct<T: Ord, I: IntoIterator<Item = T>>(nics: &[Nic], of: impl Fn(&Nic) -> I) -> bool {
    let mut seen = BTreeSet::new();
    nics.iter().flat_map(of).all(|item| seen.insert(item))
}

pub(super) async fn chosen_addresses_are_given_in_order(bench: &Bench<'_>) -> Outcome {
    // Addresses that are surely good: some that the cloud itself gave out before.
    let count = bench.provider().capabilities().create_batch.min(3);
    let probe = CreateNics { addresses: NicAddresses::Assigned(1), ..bench.request(count) };
    let nics = bench.create(&probe).await?;
    let mut chosen: Vec<_> = nics.iter().filter_map(|nic| nic.addresses.first().copied()).collect();
    chosen.rotate_left(1);
    let ids: Vec<_> = nics.into_iter().map(|nic| nic.id).collect();
    for ids in ids.chunks(bench.batch()) {
        ready("deleting NICs", bench.provider().delete_nics(ids).await)?;
    }
    let request = CreateNics { addresses: NicAddresses::Fixed(chosen.clone()), ..bench.request(count) };
    let nics = works(CREATE_FIXED, bench.provider().create_nics(&request).await)?;
    let given: Vec<_> = nics.iter().flat_map(|nic| nic.addresses.clone()).collect();
    CREATE_FIXED.check(given == chosen, || format!("asked for {chosen:?}, the answer is {given:?}"))
}

pub(super) async fn a_nic_without_addresses_has_none(bench: &Bench<'_>) -> Outcome {
    let request = CreateNics { addresses: NicAddresses::None, ..bench.request(1) };
    let nics = works(CREATE_BARE, bench.provider().create_nics(&request).await)?;
    CREATE_BARE.check(nics.iter().all(|nic| nic.addresses.is_empty()), || format!("one has some: {nics:?}"))
}

pub(super) async fn a_nic_goes_in_and_out_and_is_deleted(bench: &Bench<'_>) -> Outcome {
    let nics = bench.made(1).await?;
    let provider = bench.provider();
    // Twice, as a detached NIC must be as good as a new one.
    for _ in 0..2 {
        let attaching = works(ATTACH, provider.attach_nics(&nics).await)?;
        broken_if(ATTACH, bench.arrive(provider, attaching, &nics, Place::Here).await?)?;
        let detaching = works(DETACH, provider.detach_nics(&nics).await)?;
        broken_if(DETACH, bench.arrive(provider, detaching, &nics, Place::Nowhere).await?)?;
    }
    works(DELETE, provider.delete_nics(&nics).await)?;
    broken_if(LIST, bench.reach(&nics, Place::Gone, bench.world.lag).await?)
}

/// Fails where something else was seen than the clause says.
pub(super) fn broken_if(clause: Clause, seen: Option<String>) -> Outcome {
    seen.map_or(Ok(()), |seen| Err(clause.broken(seen)))
}
