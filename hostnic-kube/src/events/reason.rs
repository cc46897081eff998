//! One word and one sentence for what happened to a pod.

use hostnic_core::error::{Error, ErrorKind, QuotaScope};
use hostnic_core::ipam::Lease;

use super::{Notice, Severity};

/// The reason of the event on a pod that got its NIC.
pub(super) const ATTACHED: &str = "NicAttached";

pub(super) fn attached(lease: &Lease) -> Notice {
    Notice {
        severity: Severity::Normal,
        reason: ATTACHED,
        message: format!(
            "NIC {} ({}) in {}: address {}",
            lease.nic,
            lease.mac,
            lease.subnet,
            lease.address.addr()
        ),
    }
}

pub(super) fn failed(error: &Error) -> Notice {
    Notice { severity: Severity::Warning, reason: word(error.kind()), message: error.chain().to_string() }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Exhausted | ErrorKind::Quota(QuotaScope::Instance) => "NoNicLeft",
        ErrorKind::Quota(QuotaScope::Subnet) => "VxnetFull",
        ErrorKind::Quota(QuotaScope::Account) => "CloudQuotaUsedUp",
        ErrorKind::Throttled { .. } => "CloudThrottled",
        ErrorKind::Unauthorised => "CloudAccessDenied",
        ErrorKind::Conflict => "AddressOrNicTaken",
        ErrorKind::Invalid => "InvalidRequest",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::Unsupported => "NotSupportedHere",
        ErrorKind::Cancelled => "Superseded",
        ErrorKind::Damaged | ErrorKind::Internal => "NodeAgentFault",
        _ => "NotReadyYet",
    }
}
