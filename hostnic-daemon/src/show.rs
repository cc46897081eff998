//! Records, as the contract lists them.

use std::collections::BTreeMap;

use hostnic_cni::contract::v1;
use hostnic_core::agent::Agent;
use hostnic_core::attachment::{AttachmentKey, AttachmentMark};
use hostnic_core::id::SubnetId;
use hostnic_core::ledger::{AddressState, LeaseRecord, LeaseState, NicRecord, NicState};

use crate::facts::Facts;
use crate::stock::Stock;

pub(crate) fn nics(agent: &Agent) -> Vec<v1::Nic> {
    let holders: BTreeMap<AttachmentMark, Option<AttachmentKey>> =
        agent.leases().into_iter().map(|lease| (lease.mark, lease.key)).collect();
    agent.nics().iter().map(|record| nic(record, &holders)).collect()
}

fn nic(record: &NicRecord, holders: &BTreeMap<AttachmentMark, Option<AttachmentKey>>) -> v1::Nic {
    let address = |a: &hostnic_core::ledger::AddressRecord| v1::NicAddress {
        address: a.address.to_string(),
        state: address_state(&a.state).into(),
        mark: holder(&a.state).map(ToString::to_string).unwrap_or_default(),
        holder: holder(&a.state).and_then(|mark| holders.get(mark)?.as_ref()).map(Into::into),
    };
    v1::Nic {
        id: record.id.to_string(),
        mac: record.mac.to_string(),
        subnet: record.subnet.id.to_string(),
        state: nic_state(&record.state).into(),
        addresses: record.addresses.iter().map(address).collect(),
        note: note(&record.state),
    }
}

fn holder(state: &AddressState) -> Option<&AttachmentMark> {
    match state {
        AddressState::Leased { mark } => Some(mark),
        _ => None,
    }
}

fn note(state: &NicState) -> String {
    match state {
        NicState::Attaching { failures, .. } if *failures > 0 => format!("attach failed {failures} times"),
        NicState::Lost => "in another instance; not touched again".to_owned(),
        NicState::Quarantined => {
            "ours, but nobody knows whose; see that no pod uses it, then detach it in the cloud".to_owned()
        }
        _ => String::new(),
    }
}

fn nic_state(state: &NicState) -> v1::NicState {
    match state {
        NicState::Attaching { .. } => v1::NicState::Attaching,
        NicState::Ready => v1::NicState::Ready,
        NicState::Detaching { .. } => v1::NicState::Detaching,
        NicState::Deleting => v1::NicState::Deleting,
        NicState::Lost => v1::NicState::Lost,
        NicState::Quarantined => v1::NicState::Quarantined,
    }
}

fn address_state(state: &AddressState) -> v1::AddressState {
    match state {
        AddressState::Claimed => v1::AddressState::Claimed,
        AddressState::Free { .. } => v1::AddressState::Free,
        AddressState::Leased { .. } => v1::AddressState::Leased,
        AddressState::Cooling { .. } => v1::AddressState::Cooling,
    }
}

pub(crate) fn pods(agent: &Agent) -> Vec<v1::PodAttachment> {
    agent.leases().iter().map(pod).collect()
}

fn pod(record: &LeaseRecord) -> v1::PodAttachment {
    let phase = match record.state {
        LeaseState::Preparing => v1::AttachmentPhase::Preparing,
        LeaseState::Active => v1::AttachmentPhase::Active,
        LeaseState::Releasing => v1::AttachmentPhase::Releasing,
    };
    v1::PodAttachment {
        key: record.key.as_ref().map(Into::into),
        pod: record.pod.as_ref().map(|pod| v1::Pod {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone().unwrap_or_default(),
        }),
        netns: record.plan.netns.to_string(),
        nic: record.lease.nic.to_string(),
        address: record.lease.address.to_string(),
        phase: phase.into(),
        mark: record.mark.to_string(),
    }
}

pub(crate) fn node_state(facts: &Facts) -> v1::NodeState {
    let subnet = |(id, stock): (SubnetId, Stock)| v1::SubnetState {
        subnet: id.to_string(),
        coming: stock.coming,
        free: stock.free,
        leased: stock.leased,
        cooling: stock.cooling,
        ..v1::SubnetState::default()
    };
    v1::NodeState {
        mode: facts.mode_name().to_owned(),
        reason: "as configured".to_owned(),
        subnets: facts.stock().into_iter().map(subnet).collect(),
        ..v1::NodeState::default()
    }
}
