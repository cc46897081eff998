//! A NIC that is there already, for one pod: whether the pod may have it, and how it is taken in.

use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::cloud::{Nic, NicFilter, NicName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::NicId;
use crate::ledger::{
    AddressRecord, AddressState, LeaseState, NicRecord, NicRole, NicState, State, SubnetRange, Write,
};
use crate::point::Point;
use crate::refusal::Refusal;

use super::wish::Refused;
use super::{Change, Shared, make};

/// How long the cloud may take to tell a NIC's tags.
const TAGS_DEADLINE: Duration = Duration::from_secs(30);

/// Takes the NIC in for that attachment, or says why not.
pub(super) async fn lend(shared: &Shared, mark: &AttachmentMark, nic: &NicId) -> Result<()> {
    let record = match looked_at(shared, mark, nic).await {
        Ok(record) => record,
        Err(refused) => {
            settle(shared, mark, Some(refused));
            return Ok(());
        }
    };
    let lent = shared.parts.ledger.transact(Point::RecordLent, |state| {
        // Another pod may have been faster.
        let new = !state.nics.contains_key(nic);
        Ok((if new { vec![Write::PutNic(record)] } else { Vec::new() }, new))
    });
    let lent = lent.await;
    let refused = match &lent {
        Ok(false) => shared.parts.ledger.read(|state| recorded(state, nic)),
        _ => None,
    };
    settle(shared, mark, refused);
    lent.map(drop)
}

fn settle(shared: &Shared, mark: &AttachmentMark, refused: Option<Refused>) {
    let now = shared.now();
    let mut inflight = shared.inflight();
    inflight.wishes.looking(mark, false);
    if let Some(refused) = refused {
        inflight.wishes.refuse(mark, refused, now);
    }
}

async fn looked_at(shared: &Shared, mark: &AttachmentMark, id: &NicId) -> Result<NicRecord, Refused> {
    if let Some(refused) = shared.parts.ledger.read(|state| recorded(state, id)) {
        return Err(refused);
    }
    let instance = shared.inflight().instance.clone();
    // The planner lends nothing before it is known.
    let instance = instance.ok_or_else(|| unknown("this instance is not described yet"))?;
    let exact = NicFilter { ids: Some(vec![id.clone()]), ..NicFilter::default() };
    let listed = shared.parts.provider.at(Point::FindWished, |cloud| cloud.list_nics(&exact)).await;
    let listed = listed.map_err(|error| Refused::by_cloud(&error))?;
    let nic = listed.into_iter().find(|nic| nic.id == *id);
    let nic = nic.ok_or_else(|| Refused::at_last(Refusal::UnknownNic(id.clone())))?;
    if let Some(at) = nic.attachment.instance() {
        let in_use = Refusal::NicInUse { nic: id.clone(), instance: Some(at.clone()) };
        return Err(Refused::at_last(in_use));
    }
    let name = NicName::parse(&nic.name);
    if !is_named_for_us(shared, name.as_ref(), &instance.id) && !is_tagged(shared, id).await? {
        return Err(Refused::at_last(Refusal::NicNotOffered(id.clone())));
    }
    let subnet = make::subnet(shared, &instance, &nic.subnet, None).await?;
    if nic.addresses.is_empty() {
        let bare = Error::new(ErrorKind::Invalid, "lend NIC", id).detail("it has no address");
        return Err(Refused::by_cloud(&bare));
    }
    let range = SubnetRange::from(&subnet);
    Ok(record(shared, mark, nic, range))
}

fn record(shared: &Shared, mark: &AttachmentMark, nic: Nic, range: SubnetRange) -> NicRecord {
    let claimed = |address| AddressRecord { address, state: AddressState::Claimed };
    NicRecord {
        id: nic.id,
        mac: nic.mac,
        subnet: range,
        token: None,
        role: NicRole::Lent(mark.clone()),
        state: NicState::Attaching { job: None, failures: 0 },
        since: shared.now(),
        addresses: nic.addresses.into_iter().map(claimed).collect(),
    }
}

fn unknown(why: &str) -> Refused {
    Refused::by_cloud(&Error::new(ErrorKind::Transient, "lend", "a NIC").detail(why))
}

/// Why a NIC cannot be lent that we have; one that is on its way out can be, a little later.
fn recorded(state: &State, id: &NicId) -> Option<Refused> {
    let record = state.nics.get(id)?;
    let ends = |mark| state.leases.get(mark).is_none_or(|lease| lease.state == LeaseState::Releasing);
    let leaves = record.role.is_lent()
        && (matches!(record.state, NicState::Detaching { .. }) || record.role.pod().is_some_and(ends));
    let in_use = Refusal::NicInUse { nic: id.clone(), instance: None };
    Some(if leaves { Refused::for_now(in_use) } else { Refused::at_last(in_use) })
}

/// Whether the name says that the NIC is for pods. One that a node has just made carries the token of its create, and is
/// that node's.
fn is_named_for_us(shared: &Shared, name: Option<&NicName>, here: &crate::id::InstanceId) -> bool {
    match name {
        None => false,
        Some(NicName { token: None, .. }) => true,
        Some(NicName { token: Some(token), instance }) => {
            let made = shared.inflight().creates.contains_key(token)
                || shared.parts.ledger.read(|state| state.intents.contains_key(token));
            instance == here && !made
        }
    }
}

async fn is_tagged(shared: &Shared, id: &NicId) -> Result<bool, Refused> {
    let tags = &shared.config.lent_tags;
    let Some(tagging) = shared.parts.tagging.as_ref().filter(|_| !tags.is_empty()) else { return Ok(false) };
    let asked = [id.clone()];
    let tagged = tagging.at(Point::ReadTags, |cloud| cloud.tagged(tags, &asked));
    let late = |_| unknown(&format!("the cloud did not tell its tags within {TAGS_DEADLINE:?}"));
    let tagged = tokio::time::timeout(TAGS_DEADLINE, tagged).await.map_err(late)?;
    Ok(tagged.map_err(|error| Refused::by_cloud(&error))?.contains(id))
}

/// Leaves a NIC to an attachment that another has left.
pub(super) async fn entrust(shared: &Shared, mark: &AttachmentMark, nic: &NicId) -> Result<()> {
    let left = |record: &NicRecord| {
        let role = match &record.role {
            NicRole::Own(_) => NicRole::Own(mark.clone()),
            NicRole::Lent(_) => NicRole::Lent(mark.clone()),
            NicRole::Pods | NicRole::Gateway(_) | NicRole::Shared(_) => return None,
        };
        (!record.has_holder()).then(|| Change::put(NicRecord { role, ..record.clone() }))
    };
    let done = shared.change(Point::RecordEntrusted, std::slice::from_ref(nic), left).await;
    shared.inflight().busy.remove(nic);
    done
}
