//! What tells this run of the node from others.

use std::io::Read;

use hostnic_core::{Error, ErrorKind, Result};

/// A number that no other run starts with, for create tokens and random choices.
///
/// # Errors
/// `Unsupported` where the kernel gives no random bytes.
pub fn seed() -> Result<u64> {
    const PATH: &str = "/dev/urandom";
    let mut bytes = [0; 8];
    std::fs::File::open(PATH).and_then(|mut file| file.read_exact(&mut bytes)).map_err(|error| {
        Error::new(ErrorKind::Unsupported, "read", PATH).detail("is /dev populated?").source(error)
    })?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The machine's own name, for metrics; empty where it has none.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}
