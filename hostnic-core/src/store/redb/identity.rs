//! Whose a store is: the boot and the host that its records are about.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::id::text_type;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

text_type! {
    /// What tells one boot of a node from another.
    BootId, "boot id", "1 to 64 letters, digits or '-'",
    |v| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
text_type! {
    /// What tells one host from another: its instance id in the cloud, or its machine id.
    HostId, "host id", "1 to 128 letters, digits, '-', '_', '.' or ':'",
    |v| (1..=128).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

impl BootId {
    /// The present boot's, as the kernel tells it. The same inside containers.
    ///
    /// # Errors
    /// `Internal` where /proc does not have it.
    pub fn of_this_boot() -> Result<Self> {
        let text = std::fs::read_to_string(BOOT_ID).map_err(|error| {
            Error::new(ErrorKind::Internal, "read", BOOT_ID)
                .detail("the kernel does not tell its boot id; is /proc mounted?")
                .source(error)
        })?;
        Ok(text.trim_end().parse()?)
    }
}

/// Whose records a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The boot that leases and times belong to.
    pub boot: BootId,
    /// The host that NICs belong to.
    pub host: HostId,
}
