//! What a node has, in JSON: the same for whoever asks by a command and over HTTP.

mod pool;
mod vxnet;

use std::time::{Duration, SystemTime};

use hostnic_cni::contract::v1;
use serde::Serialize;

use crate::observe::Seen;

pub(crate) use pool::{Gateway, Pool, Subnet};
pub(crate) use vxnet::Vxnet;

#[derive(Debug, Serialize)]
pub(crate) struct Nic {
    pub(crate) id: String,
    pub(crate) mac: String,
    pub(crate) subnet: String,
    pub(crate) state: &'static str,
    pub(crate) addresses: Vec<Address>,
    pub(crate) note: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) state: &'static str,
    pub(crate) holder: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Pod {
    pub(crate) attachment: String,
    pub(crate) pod: Option<String>,
    pub(crate) address: String,
    pub(crate) nic: String,
    pub(crate) subnet: String,
    /// How it is joined to its NIC.
    pub(crate) way: String,
    pub(crate) state: &'static str,
    pub(crate) netns: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct LastError {
    pub(crate) kind: String,
    pub(crate) operation: String,
    pub(crate) subject: String,
    pub(crate) message: String,
    /// RFC 3339, in UTC.
    pub(crate) first: String,
    /// As `first`.
    pub(crate) last: String,
    pub(crate) times: u64,
}

impl From<Seen> for LastError {
    fn from(seen: Seen) -> Self {
        Self {
            kind: seen.kind.to_owned(),
            operation: seen.operation.to_owned(),
            subject: seen.subject,
            message: seen.message,
            first: humantime::format_rfc3339_seconds(seen.first).to_string(),
            last: humantime::format_rfc3339_seconds(seen.last).to_string(),
            times: seen.times,
        }
    }
}

impl From<v1::LastError> for LastError {
    fn from(error: v1::LastError) -> Self {
        Self {
            kind: error.kind,
            operation: error.operation,
            subject: error.subject,
            message: error.message,
            first: humantime::format_rfc3339_seconds(at(error.first_unix_s)).to_string(),
            last: humantime::format_rfc3339_seconds(at(error.last_unix_s)).to_string(),
            times: error.times,
        }
    }
}

/// A moment of the last and the next thousands of years; what lies beyond is the beginning of Unix time.
pub(crate) fn at(unix_s: u64) -> SystemTime {
    // humantime prints four-digit years only.
    const LAST: u64 = 253_402_300_799;
    SystemTime::UNIX_EPOCH + Duration::from_secs(if unix_s > LAST { 0 } else { unix_s })
}

fn key(key: &v1::AttachmentKey) -> String {
    format!("{}/{}/{}", key.network, key.container_id, key.ifname)
}

impl From<v1::Nic> for Nic {
    fn from(nic: v1::Nic) -> Self {
        Self {
            state: match nic.state() {
                v1::NicState::Unspecified => "unknown",
                v1::NicState::Creating => "creating",
                v1::NicState::Attaching => "attaching",
                v1::NicState::Ready => "ready",
                v1::NicState::Detaching => "detaching",
                v1::NicState::Deleting => "deleting",
                v1::NicState::Lost => "lost",
                v1::NicState::Quarantined => "quarantined",
            },
            addresses: nic.addresses.iter().map(address).collect(),
            id: nic.id,
            mac: nic.mac,
            subnet: nic.subnet,
            note: nic.note,
        }
    }
}

fn address(address: &v1::NicAddress) -> Address {
    Address {
        address: address.address.clone(),
        state: match address.state() {
            v1::AddressState::Unspecified => "unknown",
            v1::AddressState::Claimed => "claimed",
            v1::AddressState::Free => "free",
            v1::AddressState::Leased => "leased",
            v1::AddressState::Cooling => "cooling",
        },
        // Of a lease that was found in the kernel only the mark is known.
        holder: address.holder.as_ref().map(key).or((!address.mark.is_empty()).then(|| address.mark.clone())),
    }
}

impl From<v1::PodAttachment> for Pod {
    fn from(pod: v1::PodAttachment) -> Self {
        Self {
            state: match pod.phase() {
                v1::AttachmentPhase::Unspecified => "unknown",
                v1::AttachmentPhase::Preparing => "preparing",
                v1::AttachmentPhase::Active => "active",
                v1::AttachmentPhase::Releasing => "releasing",
            },
            attachment: pod.key.as_ref().map_or(pod.mark, key),
            pod: pod.pod.map(|p| format!("{}/{}", p.namespace, p.name)),
            address: pod.address,
            nic: pod.nic,
            subnet: pod.subnet,
            way: pod.way,
            netns: pod.netns,
        }
    }
}
