//! The machine's links, as /sys tells them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use hostnic_core::id::MacAddr;

/// A link with a MAC address that was asked for.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) index: String,
}

/// The links below `sys` (`/sys`) that have one of these MAC addresses, by name.
pub(super) fn links(sys: &Path, macs: &BTreeSet<MacAddr>) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sys.join("class/net"))? {
        let entry = entry?;
        let Some(address) = text(&entry.path().join("address"))? else { continue };
        if !address.trim().parse().is_ok_and(|mac: MacAddr| macs.contains(&mac)) {
            continue;
        }
        let Some(index) = text(&entry.path().join("ifindex"))? else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        found.push(Found { name, index: index.trim().to_owned() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A file's text; `None` where there is none, or no longer.
pub(super) fn text(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
