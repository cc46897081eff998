//! Times as the API writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2024-01-02T03:04:05Z`.
pub(super) fn write(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Reads that form, and no other.
pub(super) fn read(text: &str) -> Option<SystemTime> {
    let time = humantime::parse_rfc3339(text).ok()?;
    (write(time) == text).then_some(time)
}

/// What the cloud's time `since` is on the clock, when its time began at `epoch` (since 1970).
pub(super) fn at(epoch: Duration, since: Duration) -> String {
    // Years beyond 9999 have no such form.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    write(UNIX_EPOCH + epoch.saturating_add(since).min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seconds_with_a_z_are_a_time() {
        assert_eq!(read("2013-08-27T14:30:10Z").map(write).as_deref(), Some("2013-08-27T14:30:10Z"));
        for text in ["2013-08-27T14:30:10", "2013-08-27 14:30:10Z", "2013-08-27T14:30:10.5Z", "now"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
