//! The first record: which versions may read a store, and whose it is.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::identity::{BootId, HostId, Identity};

/// The format that this version writes.
///
/// A new field with a default needs no new number. A new kind of record or a new variant in a record does; when
/// versions before it would misread such a store, [`READABLE_FROM`] goes up with it.
pub(super) const FORMAT: u32 = 1;

/// The lowest format whose versions may read what this version writes.
const READABLE_FROM: u32 = 1;

/// The part of the header that every version, also a later one, writes in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    /// The highest format of any record in the store.
    pub(super) format: u32,
    /// The lowest format whose versions may read it.
    pub(super) readable_from: u32,
    /// The version that brought `format` in, as a person would install it.
    pub(super) written_by: String,
}

/// The first record of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(flatten)]
    pub(super) format: Format,
    pub(super) boot: BootId,
    pub(super) host: HostId,
}

/// What a store is to whoever opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinship {
    /// Of this boot of this host.
    Ours,
    /// Of this host, before it was booted the last time.
    AnotherBoot,
    /// Of another host.
    AnotherHost,
}

impl Header {
    /// The header of a store that begins now.
    pub(super) fn new(identity: &Identity) -> Self {
        Self {
            format: Format {
                format: FORMAT,
                readable_from: READABLE_FROM,
                written_by: env!("CARGO_PKG_VERSION").to_owned(),
            },
            boot: identity.boot.clone(),
            host: identity.host.clone(),
        }
    }

    /// Reads the header's text.
    ///
    /// # Errors
    /// [`Failure::TooNew`] when only later versions may read the store, whatever else is in the text; `Damage` when
    /// it is no header at all.
    pub(super) fn read(json: &[u8]) -> Result<Self, Failure> {
        let format: Format = serde_json::from_slice(json).map_err(Failure::unreadable("the first record"))?;
        if format.readable_from > FORMAT {
            return Err(Failure::TooNew {
                written_by: format.written_by,
                readable_from: format.readable_from,
            });
        }
        serde_json::from_slice(json).map_err(Failure::unreadable("the first record"))
    }

    /// The same store in the present boot. Marks of a later format stay: its records are still in there.
    pub(super) fn in_boot(self, boot: BootId) -> Self {
        Self { boot, ..self }
    }

    pub(super) fn kinship(&self, identity: &Identity) -> Kinship {
        if self.host != identity.host {
            Kinship::AnotherHost
        } else if self.boot != identity.boot {
            Kinship::AnotherBoot
        } else {
            Kinship::Ours
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(boot: &str, host: &str) -> Identity {
        Identity { boot: boot.parse().unwrap(), host: host.parse().unwrap() }
    }

    #[test]
    fn a_store_of_a_later_format_is_read_as_long_as_that_format_allows_it() {
        let text = |readable_from: u32| {
            format!(
                r#"{{"format":9,"readable_from":{readable_from},"written_by":"7.0.0","boot":"b","host":"h","new":1}}"#
            )
        };
        let header = Header::read(text(FORMAT).as_bytes()).unwrap();
        assert_eq!(header.kinship(&identity("b", "h")), Kinship::Ours);
        assert_eq!(header.in_boot("c".parse().unwrap()).format.format, 9);
        assert!(
            matches!(Header::read(text(FORMAT + 1).as_bytes()), Err(Failure::TooNew { written_by, .. }) if written_by == "7.0.0")
        );
    }

    #[test]
    fn another_host_counts_before_another_boot() {
        let header = Header::new(&identity("b", "h"));
        assert_eq!(header.kinship(&identity("c", "h")), Kinship::AnotherBoot);
        assert_eq!(header.kinship(&identity("c", "g")), Kinship::AnotherHost);
        assert_eq!(header.kinship(&identity("b", "g")), Kinship::AnotherHost);
    }
}
