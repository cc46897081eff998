//! One word and one sentence for what happened to a pod.

use hostnic_core::error::{Error, ErrorKind, QuotaScope};
use hostnic_core::ipam::Lease;

use super::{Notice, Severity};

/// The reason of the event on a pod that got its NIC.
pub(super) const ATTACHED: &str = "NicAttached";

pub(super) fn attached(lease: &Lease) -> Notice {
    let Lease { nic, mac, subnet, address, .. } = lease;
    // QingCloud's ids of NICs are their MAC addresses.
    let mac = if nic.as_str() == mac.to_string() { String::new() } else { format!(" ({mac})") };
    let message = format!("NIC {nic}{mac} in {subnet}: address {}", address.addr());
    Notice { severity: Severity::Normal, reason: ATTACHED, message }
}

/// `None` for what nobody has to act on: the pod is gone, or its ADD was called off.
pub(super) fn failed(error: &Error) -> Option<Notice> {
    let (reason, message) = match error.refusal() {
        Some(refusal) => (refusal.word(), refusal.to_string()),
        None => (word(error.kind())?, error.chain().to_string()),
    };
    Some(Notice { severity: Severity::Warning, reason, message })
}

fn word(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound | ErrorKind::Cancelled => return None,
        ErrorKind::Exhausted | ErrorKind::Quota(QuotaScope::Instance) => "NoNicLeft",
        ErrorKind::Quota(QuotaScope::Subnet) => "SubnetFull",
        ErrorKind::Quota(QuotaScope::Account) => "AccountFull",
        ErrorKind::Throttled { .. } => "CloudThrottles",
        ErrorKind::Unauthorised => "AccessDenied",
        ErrorKind::Conflict => "Conflict",
        ErrorKind::Invalid => "InvalidRequest",
        ErrorKind::Unsupported => "NotSupportedHere",
        ErrorKind::Damaged | ErrorKind::Internal => "NodeAgentFault",
        _ => "NotReadyYet",
    })
}
