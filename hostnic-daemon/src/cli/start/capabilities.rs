//! What the kernel has to allow this process.

use std::fs;

use hostnic_core::{Error, ErrorKind, Result};

/// The capabilities that no node can do without, with their bits in the kernel's masks (capabilities(7)).
const NEEDED: [(&str, u32); 2] = [("NET_ADMIN", 12), ("SYS_ADMIN", 21)];

/// What a node needs whose pods share NICs.
const ANNOUNCING: (&str, u32) = ("NET_RAW", 13);

/// Whether the kernel allows this process what it cannot do without.
///
/// # Errors
/// `Unauthorised`, which names what is missing. Where that cannot be told, the first call that needs it will.
pub(super) fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing(&status);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unauthorised, "start", "the node").detail(format!(
        "the kernel does not allow it; run as root, or with the capabilities NET_ADMIN and SYS_ADMIN: {} is missing",
        missing.join(" and ")
    )))
}

/// Whether the kernel allows it to announce addresses of pods that share NICs.
///
/// # Errors
/// `Unauthorised`, where it does not.
pub(super) fn check_shared() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if lacks(&status, &[ANNOUNCING]).is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unauthorised, "start", "the node").detail(
        "pods are to share NICs, whose addresses are announced by ARP, and the capability NET_RAW is missing; add it, as          deploy/hostnic.yaml has it",
    ))
}

fn missing(status: &str) -> Vec<&'static str> {
    lacks(status, &NEEDED)
}

fn lacks(status: &str, needed: &[(&'static str, u32)]) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else {
        return Vec::new();
    };
    needed.iter().filter(|(_, bit)| held & (1 << bit) == 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_read_from_the_mask() {
        for (mask, expected) in [
            ("CapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n", vec![]),
            ("CapEff:\t0000000000201000", vec![]),
            ("CapEff:\t0000000000200000", vec!["NET_ADMIN"]),
            ("CapEff:\t0000000000000000", vec!["NET_ADMIN", "SYS_ADMIN"]),
            ("", vec![]),
        ] {
            assert_eq!(missing(mask), expected, "{mask}");
        }
    }
}
