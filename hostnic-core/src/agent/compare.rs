//! Records, cloud and kernel side by side: what differs, and what is to be done about it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::cloud::{Nic, NicAttachment, NicName};
use crate::gateway::GatewayNumber;
use crate::id::{InstanceId, NicId, SubnetId};
use crate::ledger::{
    AddressRecord, AddressState, LeaseRecord, LeaseState, NicRecord, NicRole, NicState, State, SubnetRange,
};
use crate::route::{HostLink, KernelView};

use super::found::{has_left, holder, lent, rebuild, unleased};
use super::found_shared::sharing;
use super::veth::VethCommon;

/// One moment of everything.
#[derive(Debug)]
pub struct Observation<'a> {
    /// The moment.
    pub now: BootTime,
    /// The records.
    pub state: &'a State,
    /// The kernel.
    pub kernel: &'a KernelView,
    /// What the cloud told, if it was asked and answered.
    pub cloud: Option<&'a Evidence>,
    /// NICs and attachments that something is happening to: they are left alone.
    pub busy_nics: &'a BTreeSet<NicId>,
    /// See `busy_nics`.
    pub busy_leases: &'a BTreeSet<AttachmentMark>,
    /// What pods behind veths have in common; `None` where there are none, or where it is not known yet.
    pub veth: Option<VethCommon>,
}

/// What the cloud told.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// This node.
    pub instance: InstanceId,
    /// The NICs attached to it, and those attached nowhere in our subnets.
    pub nics: Vec<Nic>,
    /// Our subnets.
    pub subnets: BTreeMap<SubnetId, SubnetRange>,
}

/// One difference and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The cloud has no such NIC any more: forget it.
    Forget(NicId),
    /// Our NIC is here and unused, and unrecorded or quarantined: record it, free after its cooling; or it is a gateway, or
    /// pods share it: record it as that.
    Adopt(Box<NicRecord>),
    /// Our NIC is a pod's that no lease names: record it and what the pod holds. A pod that was silenced, or that is gone and
    /// was behind a veth, holds it no more: its lease is `releasing`, and is finished.
    Rebuild(Box<NicRecord>, Box<LeaseRecord>),
    /// A pod that shares a NIC is there, and no lease names it: record what it holds. The lease of one that was silenced is
    /// `releasing`, and is finished.
    RebuildShared(Box<LeaseRecord>),
    /// Our NIC is attached here, and whose it is cannot be told: record it so, and never touch it while that lasts.
    Quarantine(Box<NicRecord>),
    /// Our NIC is attached nowhere and unrecorded: record it as to be deleted.
    Expel(Box<NicRecord>),
    /// The NIC was unplugged behind our back: plug it in again when a pod has it, let it go otherwise. So a person lets a
    /// quarantined one go.
    Unplugged(NicId),
    /// The NIC is in another instance: never touch it again.
    Lose(NicId),
    /// An operation stopped half-way: nobody was answered, or its DEL is owed.
    Unfinished(AttachmentMark),
    /// A pod's interface is not in its namespace any more, where the NIC is moved into pods because the NIC is back in the
    /// node's: its sandbox is gone, or somebody took the interface out.
    CameBack(AttachmentMark),
    /// So many sandboxes look gone at once that it is rather our view that is wrong: nothing is released.
    BlindToSandboxes(usize),
}

/// What must be seen more than once before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Suspicion {
    Unplugged,
    Elsewhere,
    Stray,
    Ownerless,
    Missing,
}

/// How long what was seen must have been so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long the cloud's lists may lag behind the truth.
    pub list_lag: Duration,
    /// The age from which a NIC that nobody knows is deleted.
    pub grace: Duration,
}

/// What was seen once and is acted on only when it is seen again: the cloud's lists lag.
#[derive(Debug, Default)]
pub struct Suspicions {
    seen: BTreeMap<(Suspicion, NicId), (u32, BootTime)>,
}

impl Suspicions {
    /// Whether there is nothing to be looked at again.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether it was seen at least `times` times in a row, this one included, over at least `age`.
    fn confirm(
        &mut self,
        fresh: &mut Self,
        what: Suspicion,
        nic: &NicId,
        now: BootTime,
        times: u32,
        age: Duration,
    ) -> bool {
        let key = (what, nic.clone());
        let (count, first) = self.seen.get(&key).copied().unwrap_or((0, now));
        fresh.seen.insert(key, (count + 1, first));
        count + 1 >= times && now.since(first) >= age
    }
}

/// How often a NIC must be missing from the cloud before that is believed though its link is there.
const DOUBTS: u32 = 5;

/// Compares, and says what to do. `suspicions` carries what was seen from one comparison to the next.
pub fn compare(seen: &Observation<'_>, suspicions: &mut Suspicions, patience: Patience) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(cloud) = seen.cloud {
        let mut fresh = Suspicions::default();
        for nic in &cloud.nics {
            findings.extend(compare_nic(seen, cloud, nic, suspicions, &mut fresh, patience));
        }
        findings.extend(missing(seen, cloud, suspicions, &mut fresh, patience.list_lag));
        *suspicions = fresh;
    }
    findings.extend(unleased(seen));
    let sharing = sharing(seen, &findings);
    findings.extend(sharing);
    findings.extend(leases(seen));
    findings
}

/// A NIC that the cloud told of.
fn compare_nic(
    seen: &Observation<'_>,
    cloud: &Evidence,
    nic: &Nic,
    suspicions: &mut Suspicions,
    fresh: &mut Suspicions,
    patience: Patience,
) -> Option<Finding> {
    if seen.busy_nics.contains(&nic.id) {
        return None;
    }
    let here = nic.attachment.instance() == Some(&cloud.instance);
    if let Some(record) = seen.state.nics.get(&nic.id) {
        return recorded(seen, record, &nic.attachment, here, suspicions, fresh, patience);
    }
    let primary = matches!(nic.attachment, NicAttachment::Attached { primary: true, .. });
    if primary {
        return None;
    }
    let Some(name) = NicName::parse(&nic.name).filter(|name| name.instance == cloud.instance) else {
        return lent(seen, cloud, nic);
    };
    let range = cloud.subnets.get(&nic.subnet)?;
    if here {
        return unrecorded(seen, nic, &name, range, suspicions, fresh, patience.list_lag);
    }
    let intended = name.token.as_ref().is_some_and(|token| seen.state.intents.contains_key(token));
    let confirmed = nic.attachment == NicAttachment::Available
        && !intended
        && suspicions.confirm(fresh, Suspicion::Stray, &nic.id, seen.now, 2, patience.grace);
    confirmed.then(|| {
        Finding::Expel(Box::new(record(
            nic,
            &name,
            range,
            NicState::Deleting,
            AddressState::Claimed,
            seen.now,
        )))
    })
}

/// A NIC of ours that has a record.
fn recorded(
    seen: &Observation<'_>,
    record: &NicRecord,
    attachment: &NicAttachment,
    here: bool,
    suspicions: &mut Suspicions,
    fresh: &mut Suspicions,
    patience: Patience,
) -> Option<Finding> {
    let mut confirm = |what, age| suspicions.confirm(fresh, what, &record.id, seen.now, 2, age);
    let idle = |state, address| Box::new(every_address(record, state, address, seen.now));
    match (&record.state, attachment) {
        (NicState::Ready | NicState::Quarantined, NicAttachment::Available) => {
            confirm(Suspicion::Unplugged, patience.list_lag).then(|| Finding::Unplugged(record.id.clone()))
        }
        (NicState::Ready | NicState::Attaching { .. }, NicAttachment::Attached { .. }) if !here => {
            confirm(Suspicion::Elsewhere, patience.list_lag).then(|| Finding::Lose(record.id.clone()))
        }
        // Attached again, it may come to light; else its pods get another one.
        (NicState::Ready, _) if record.role.is_shared() && !has_link(seen, record) => {
            confirm(Suspicion::Unplugged, patience.list_lag).then(|| Finding::Unplugged(record.id.clone()))
        }
        (NicState::Ready, _) if is_nowhere(seen, record) => {
            confirm(Suspicion::Ownerless, patience.list_lag.max(patience.grace))
                .then(|| Finding::Quarantine(idle(NicState::Quarantined, AddressState::Claimed)))
        }
        (NicState::Quarantined, _) if here && is_back(seen, record) => {
            Some(Finding::Adopt(idle(NicState::Ready, AddressState::Cooling { since: seen.now })))
        }
        _ => None,
    }
}

/// A NIC of ours, attached here, that no record names.
fn unrecorded(
    seen: &Observation<'_>,
    nic: &Nic,
    name: &NicName,
    range: &SubnetRange,
    suspicions: &mut Suspicions,
    fresh: &mut Suspicions,
    list_lag: Duration,
) -> Option<Finding> {
    if let Some(holder) = holder(seen.kernel, nic.mac) {
        let cooling = AddressState::Cooling { since: seen.now };
        let ready = record(nic, name, range, NicState::Ready, cooling, seen.now);
        let unknown = || {
            let unknown = record(nic, name, range, NicState::Quarantined, AddressState::Claimed, seen.now);
            Finding::Quarantine(Box::new(unknown))
        };
        return rebuild(seen, ready, holder).or_else(|| holder.is_in_node().then(unknown));
    }
    let shared = seen.kernel.shared_nics.iter().find(|shared| shared.mac == nic.mac);
    let as_shared = |table| {
        let record = record(nic, name, range, NicState::Ready, AddressState::Claimed, seen.now);
        let role = NicRole::Shared(table);
        Some(Finding::Adopt(Box::new(NicRecord { role, addresses: Vec::new(), ..record })))
    };
    match seen.kernel.host.iter().find(|link| link.mac == nic.mac) {
        Some(_) if shared.is_some() => as_shared(shared.map(|shared| shared.table)),
        // It was made for pods to share, and none has come.
        Some(HostLink { in_use: false, .. }) if nic.addresses.is_empty() => as_shared(None),
        Some(HostLink { gateway: Some(number), .. }) if !has_gateway(seen.state, *number) => {
            let record = record(nic, name, range, NicState::Ready, AddressState::Claimed, seen.now);
            let role = NicRole::Gateway(*number);
            Some(Finding::Adopt(Box::new(NicRecord { role, ..record })))
        }
        Some(HostLink { in_use: false, .. }) => {
            let cooling = AddressState::Cooling { since: seen.now };
            Some(Finding::Adopt(Box::new(record(nic, name, range, NicState::Ready, cooling, seen.now))))
        }
        // Up, or with an address: somebody uses it. Nowhere: it is in a namespace that cannot be seen, or on its way.
        other => {
            let (times, age) = if other.is_some() { (1, Duration::ZERO) } else { (2, list_lag) };
            let confirmed = suspicions.confirm(fresh, Suspicion::Ownerless, &nic.id, seen.now, times, age);
            confirmed.then(|| {
                let quarantined =
                    record(nic, name, range, NicState::Quarantined, AddressState::Claimed, seen.now);
                Finding::Quarantine(Box::new(quarantined))
            })
        }
    }
}

fn has_link(seen: &Observation<'_>, record: &NicRecord) -> bool {
    seen.kernel.host.iter().any(|link| link.mac == record.mac)
}

/// Whether the NIC is attached and nobody's, and yet its link is not where it can be given to a pod.
fn is_nowhere(seen: &Observation<'_>, record: &NicRecord) -> bool {
    let pod = seen.kernel.pods.iter().any(|link| link.mac == record.mac);
    let host = has_link(seen, record);
    !record.role.is_gateway() && !record.has_holder() && !pod && !host
}

/// Whether the NIC is in the node's own namespace and nobody uses it (any more).
fn is_back(seen: &Observation<'_>, record: &NicRecord) -> bool {
    let unused = |link: &HostLink| link.mac == record.mac && !link.in_use && link.gateway.is_none();
    let marked = seen.kernel.veths.iter().any(|veth| veth.nic == Some(record.mac));
    !seen.state.is_leased(record) && !marked && seen.kernel.host.iter().any(unused)
}

fn every_address(record: &NicRecord, state: NicState, address: AddressState, now: BootTime) -> NicRecord {
    let mut next = record.clone().in_state(state, now);
    // What is for one attachment is nobody else's, and need not rest.
    let address = if record.role.pod().is_some() { AddressState::Claimed } else { address };
    next.addresses.iter_mut().for_each(|own| own.state = address.clone());
    next
}

fn has_gateway(state: &State, number: GatewayNumber) -> bool {
    state.nics.values().any(|nic| nic.role == NicRole::Gateway(number))
}

fn record(
    nic: &Nic,
    name: &NicName,
    range: &SubnetRange,
    state: NicState,
    addresses: AddressState,
    now: BootTime,
) -> NicRecord {
    NicRecord {
        id: nic.id.clone(),
        mac: nic.mac,
        subnet: range.clone(),
        token: name.token.clone(),
        role: NicRole::Pods,
        state,
        since: now,
        addresses: nic
            .addresses
            .iter()
            .map(|address| AddressRecord { address: *address, state: addresses.clone() })
            .collect(),
    }
}

/// Records that the cloud told nothing of.
fn missing(
    seen: &Observation<'_>,
    cloud: &Evidence,
    suspicions: &mut Suspicions,
    fresh: &mut Suspicions,
    list_lag: Duration,
) -> Vec<Finding> {
    let told: BTreeSet<&NicId> = cloud.nics.iter().map(|nic| &nic.id).collect();
    let mut findings = Vec::new();
    for record in seen.state.nics.values() {
        let settled = matches!(record.state, NicState::Ready | NicState::Quarantined | NicState::Lost);
        // Pods that share one get another in its place; those that have one of their own keep it until their DEL.
        let kept = record.has_holder() || record.state == NicState::Lost && seen.state.is_leased(record);
        if !settled || told.contains(&record.id) || seen.busy_nics.contains(&record.id) || kept {
            continue;
        }
        let link = has_link(seen, record);
        let times = if link { DOUBTS } else { 2 };
        if suspicions.confirm(fresh, Suspicion::Missing, &record.id, seen.now, times, list_lag) {
            findings.push(Finding::Forget(record.id.clone()));
        }
    }
    findings
}

/// Leases that stopped half-way, or whose interface is not in their pod any more.
fn leases(seen: &Observation<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut came_back = Vec::new();
    let mut active = 0;
    for lease in seen.state.leases.values() {
        active += usize::from(lease.state == LeaseState::Active);
        if seen.busy_leases.contains(&lease.mark) {
            continue;
        }
        match lease.state {
            LeaseState::Preparing | LeaseState::Releasing => {
                findings.push(Finding::Unfinished(lease.mark.clone()))
            }
            LeaseState::Active if has_left(seen.kernel, lease) => {
                came_back.push(Finding::CameBack(lease.mark.clone()));
            }
            LeaseState::Active => {}
        }
    }
    if came_back.len() > 3 && came_back.len() * 4 > active {
        findings.push(Finding::BlindToSandboxes(came_back.len()));
    } else {
        findings.extend(came_back);
    }
    findings
}
