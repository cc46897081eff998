//! What the cloud says of this node, for a comparison.

use std::collections::{BTreeMap, BTreeSet};

use crate::cloud::{Nic, NicFilter, NicName, Subnet};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InstanceId, NicId, SubnetId};
use crate::ledger::{NicRecord, NicState, SubnetRange};
use crate::point::Point;

use super::super::Inner;
use super::super::compare::Evidence;

/// What a comparison asks the cloud for besides the NICs of this instance.
///
/// One of the two each time, by turns: both are there to learn what others did, which is rarely urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// NICs that are attached nowhere: strays of ours, and what was unplugged.
    Strays,
    /// The subnets, for the room that is left in them.
    Subnets,
    /// Both, as somebody asked for a comparison.
    All,
}

/// Asks the cloud, once it has described this node.
///
/// NICs that are attached nowhere are asked for also where they were not meant to be, when there is something that they
/// may explain: so no NIC seems to be gone that was not asked for.
pub(super) async fn gather(inner: &Inner, scope: Scope, suspicious: bool) -> Result<Evidence> {
    let Some((instance, subnets)) = inner.pool.surveyed(inner.config.survey_patience).await else {
        let why = inner.pool.trouble().unwrap_or_else(|| "it has not answered yet".to_owned());
        return Err(Error::new(ErrorKind::Transient, "describe", "this instance").detail(why));
    };
    let attached = match inner.pool.take_attached() {
        Some(attached) => attached,
        None => {
            let here = NicFilter { instance: Some(instance.id.clone()), ..NicFilter::default() };
            inner.provider.at(Point::ListAttached, |cloud| cloud.list_nics(&here)).await?
        }
    };
    if matches!(scope, Scope::Subnets | Scope::All) {
        inner.pool.describe_subnets().await?;
    }
    let available = if scope != Scope::Subnets || suspicious || !all_explained(inner, &attached) {
        // Of all subnets: pods may have had NICs in others than the pool's.
        let available = NicFilter { available: true, ..NicFilter::default() };
        inner.provider.at(Point::ListAvailable, |cloud| cloud.list_nics(&available)).await?
    } else {
        Vec::new()
    };
    let strange = strange_subnets(inner, &instance.id, attached.iter().chain(&available), &subnets).await?;
    let ranges = subnets.into_iter().chain(strange).map(|s| {
        let range = SubnetRange::from(&s);
        (s.id, range)
    });
    // A NIC that was unplugged between the two answers is in both.
    let mut nics: BTreeMap<NicId, _> = available.into_iter().map(|nic| (nic.id.clone(), nic)).collect();
    nics.extend(attached.into_iter().map(|nic| (nic.id.clone(), nic)));
    Ok(Evidence { instance: instance.id, nics: nics.into_values().collect(), subnets: ranges.collect() })
}

/// Whether every NIC is attached here that should be, by our records.
fn all_explained(inner: &Inner, attached: &[Nic]) -> bool {
    let told: BTreeSet<&NicId> = attached.iter().map(|nic| &nic.id).collect();
    let settled = |nic: &&NicRecord| matches!(nic.state, NicState::Ready | NicState::Quarantined);
    inner.ledger.read(|state| state.nics.values().filter(settled).all(|nic| told.contains(&nic.id)))
}

/// The subnets of unrecorded NICs of ours that the pool does not draw from, or no more.
async fn strange_subnets(
    inner: &Inner,
    instance: &InstanceId,
    nics: impl Iterator<Item = &Nic>,
    known: &[Subnet],
) -> Result<Vec<Subnet>> {
    let ours = |nic: &&Nic| NicName::parse(&nic.name).is_some_and(|name| name.instance == *instance);
    let strange: BTreeSet<SubnetId> = inner.ledger.read(|state| {
        let unrecorded = nics.filter(|nic| !state.nics.contains_key(&nic.id)).filter(ours);
        unrecorded.map(|nic| nic.subnet.clone()).filter(|id| !known.iter().any(|s| s.id == *id)).collect()
    });
    if strange.is_empty() {
        return Ok(Vec::new());
    }
    let strange: Vec<SubnetId> = strange.into_iter().collect();
    inner.provider.at(Point::DescribeStrangeSubnets, |cloud| cloud.subnets(&strange)).await
}
