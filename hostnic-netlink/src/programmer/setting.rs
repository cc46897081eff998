//! Writing the kernel's settings.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where all of them are.
const OWN: &str = "/proc/sys/net";
/// Where else: container runtimes make the own folder read-only and refuse other mounts in /proc, so the manifests mount the
/// host's here. Which network's settings are shown depends on who looks, and not on where.
const HOSTS: &str = "/host/proc/sys/net";

/// Writes a setting, wherever it can be written.
///
/// # Errors
/// That of the own folder, where nothing is mounted elsewhere.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    let error = match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => error,
        written => return written,
    };
    match elsewhere(path).map(|path| fs::write(path, value)) {
        Some(Err(missing)) if missing.kind() == io::ErrorKind::NotFound => Err(error),
        Some(written) => written,
        None => Err(error),
    }
}

/// Whether nobody here can write a setting of the network, because its folder is read-only and the host's settings are not
/// mounted where the manifests mount them. Writes nothing.
pub fn setting_is_read_only(path: &Path) -> bool {
    let open = |path: &Path| fs::OpenOptions::new().write(true).open(path);
    let read_only = open(path).is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
    read_only && elsewhere(path).is_none_or(|path| open(&path).is_err())
}

fn elsewhere(path: &Path) -> Option<PathBuf> {
    Some(Path::new(HOSTS).join(path.strip_prefix(OWN).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_network_are_elsewhere_too_and_others_are_not() {
        let forward = elsewhere(Path::new("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(forward, Some("/host/proc/sys/net/ipv4/ip_forward".into()));
        assert_eq!(elsewhere(Path::new("/proc/sys/kernel/hostname")), None);
    }

    #[test]
    fn another_failure_is_told_as_it_is() {
        let error = write(Path::new("/nonexistent/net/x"), "1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
