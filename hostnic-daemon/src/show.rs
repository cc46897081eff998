//! Records, as the contract lists them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hostnic_cni::contract::v1;
use hostnic_core::agent::{Agent, SharedNicPhase, SharedNicStatus};
use hostnic_core::attachment::{AttachmentKey, AttachmentMark};
use hostnic_core::gateway::{GatewayOwner, GatewayProgress, GatewayStatus};
use hostnic_core::id::SubnetId;
use hostnic_core::ledger::{AddressState, LeaseRecord, LeaseState, NicRecord, NicRole, NicState};
use hostnic_core::route::{Datapath, PodDatapath};

use crate::facts::Facts;
use crate::observe::{CloudCalls, HOURLY_LIMIT, Observer, Seen};
use crate::settings::datapath_name;
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
        note: note(record),
    }
}

fn holder(state: &AddressState) -> Option<&AttachmentMark> {
    match state {
        AddressState::Leased { mark } => Some(mark),
        _ => None,
    }
}

fn note(record: &NicRecord) -> String {
    match &record.state {
        NicState::Attaching { failures, .. } if *failures > 0 => format!("attach failed {failures} times"),
        NicState::Lost => "in another instance; not touched again".to_owned(),
        NicState::Quarantined => {
            "ours, but nobody knows whose; see that no pod uses it, then move its link to the node and set it down, or \
             detach it in the cloud"
                .to_owned()
        }
        _ => match record.role {
            NicRole::Gateway(number) => format!("the node's own, gateway {number} for pods in the subnet"),
            NicRole::Own(_) => "for this pod alone; deleted with it".to_owned(),
            NicRole::Lent(_) => "lent to this pod; detached with it, not deleted".to_owned(),
            NicRole::Shared(_) => "for all pods of the subnet that share a NIC".to_owned(),
            NicRole::Pods => String::new(),
        },
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
        subnet: record.lease.subnet.to_string(),
        way: match record.plan.datapath {
            PodDatapath::Veth(_) => datapath_name(Datapath::Veth),
            PodDatapath::Shared(_) => "shared",
            _ => datapath_name(Datapath::Passthrough),
        }
        .to_owned(),
    }
}

pub(crate) fn node_state(facts: &Facts) -> v1::NodeState {
    v1::NodeState {
        mode: facts.mode_name().to_owned(),
        reason: facts.mode_because.to_string(),
        subnets: subnets(facts),
        daemon: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix_s: unix(facts.observer.started()),
        pool: Some(pool_settings(facts)),
        pods: Some(pod_counts(&facts.agent.leases())),
        api: Some(api(facts.observer.calls())),
        errors: facts.observer.errors().latest().into_iter().map(last_error).collect(),
        gateways: gateways(&facts.agent),
        shared_nics: shared_nics(&facts.agent),
        // Empty until the daemon knows it.
        instance: String::new(),
    }
}

/// Of a node that is not set up yet: whose daemon runs, and since when.
pub(crate) fn waiting_state(observer: &Observer) -> v1::NodeState {
    v1::NodeState {
        mode: "unknown".to_owned(),
        reason: "not set up yet".to_owned(),
        daemon: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix_s: unix(observer.started()),
        api: Some(api(observer.calls())),
        errors: observer.errors().latest().into_iter().map(last_error).collect(),
        ..v1::NodeState::default()
    }
}

pub(crate) fn pool_settings(facts: &Facts) -> v1::PoolSettings {
    let pool = &facts.pool;
    v1::PoolSettings {
        policy: pool.policy.to_string(),
        low: pool.low,
        high: pool.high,
        max_nics: pool.max_nics,
    }
}

pub(crate) fn subnets(facts: &Facts) -> Vec<v1::SubnetState> {
    let rooms = facts.agent.subnet_room();
    let subnet = |(id, stock): (SubnetId, Stock)| v1::SubnetState {
        room: rooms.iter().find(|room| room.subnet == id).map(|room| room.nics),
        subnet: id.to_string(),
        nics: Some(v1::NicCounts {
            attaching: stock.attaching,
            ready: stock.ready,
            detaching: stock.detaching,
            deleting: stock.deleting,
            lost: stock.lost,
            quarantined: stock.quarantined,
        }),
        addresses: Some(v1::AddressCounts {
            coming: stock.coming,
            free: stock.free,
            leased: stock.leased,
            cooling: stock.cooling,
        }),
    };
    facts.stock().into_iter().map(subnet).collect()
}

pub(crate) fn gateways(agent: &Agent) -> Vec<v1::GatewayState> {
    agent.gateways().into_iter().map(gateway).collect()
}

fn gateway(status: GatewayStatus) -> v1::GatewayState {
    let (nic, link) = match status.owner {
        GatewayOwner::Node { nic, ifname } => (nic.to_string(), ifname.to_string()),
        GatewayOwner::Operator => Default::default(),
    };
    let (progress, trouble) = match status.progress {
        GatewayProgress::Ready => (v1::GatewayProgress::Ready, None),
        GatewayProgress::Coming(trouble) => (v1::GatewayProgress::Coming, trouble),
        GatewayProgress::Leaving => (v1::GatewayProgress::Leaving, None),
    };
    v1::GatewayState {
        subnet: status.subnet.to_string(),
        mac: status.mac.to_string(),
        address: status.address.map(|address| address.to_string()).unwrap_or_default(),
        operators: nic.is_empty(),
        nic,
        link,
        progress: progress.into(),
        trouble: trouble.unwrap_or_default(),
    }
}

pub(crate) fn shared_nics(agent: &Agent) -> Vec<v1::SharedNic> {
    agent.shared_nics().into_iter().map(shared_nic).collect()
}

fn shared_nic(status: SharedNicStatus) -> v1::SharedNic {
    let phase = match status.phase {
        SharedNicPhase::Creating => v1::SharedNicPhase::Creating,
        SharedNicPhase::Attaching => v1::SharedNicPhase::Attaching,
        SharedNicPhase::SettingUp => v1::SharedNicPhase::SettingUp,
        SharedNicPhase::Ready => v1::SharedNicPhase::Ready,
        SharedNicPhase::Leaving => v1::SharedNicPhase::Leaving,
        SharedNicPhase::Astray => v1::SharedNicPhase::Astray,
    };
    let (nic, mac) = status.nic.map(|(nic, mac)| (nic.to_string(), mac.to_string())).unwrap_or_default();
    v1::SharedNic {
        subnet: status.subnet.to_string(),
        nic,
        mac,
        table: status.table.map(|table| table.number()),
        phase: phase.into(),
        pods: u32::try_from(status.pods).unwrap_or(u32::MAX),
        free_s: status.free_s,
        trouble: status.trouble.unwrap_or_default(),
    }
}

fn pod_counts(leases: &[LeaseRecord]) -> v1::PodCounts {
    let mut counts = v1::PodCounts::default();
    for lease in leases {
        match lease.state {
            LeaseState::Preparing => counts.preparing += 1,
            LeaseState::Active => counts.active += 1,
            LeaseState::Releasing => counts.releasing += 1,
        }
    }
    counts
}

fn api(calls: &CloudCalls) -> v1::ApiBudget {
    let action = |(action, calls): (&'static str, u32)| v1::ActionCalls { action: action.to_owned(), calls };
    v1::ApiBudget { limit: HOURLY_LIMIT, actions: calls.last_hour().into_iter().map(action).collect() }
}

fn last_error(seen: Seen) -> v1::LastError {
    v1::LastError {
        kind: seen.kind.to_owned(),
        operation: seen.operation.to_owned(),
        subject: seen.subject,
        message: seen.message,
        first_unix_s: unix(seen.first),
        last_unix_s: unix(seen.last),
        times: seen.times,
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
