//! What a person should hear about the settings, though they are in force.

use std::path::PathBuf;

use super::listen::ListenAddress;
use super::personality::Personality;
use super::source::Source;

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// An earlier program's ways are followed without its name having been used.
    #[error("behaving as {personality} did, because of {because}; --compat says otherwise")]
    Behaves {
        /// Which one.
        personality: Personality,
        /// The flag or file that told.
        because: String,
    },
    /// An address without a host became one of loopback.
    #[error("{key} is {address}, reached from this machine only, as no host is spelled out ({origin})")]
    OnLoopback {
        /// The setting, by our spelling.
        key: &'static str,
        /// Where the address, or its absence, comes from.
        origin: Source,
        /// The address in force.
        address: ListenAddress,
    },
    /// A key of an earlier program's file that nobody knows.
    #[error("{}: the key {key:?} is not known and has no effect{}", .path.display(), meant(.nearest))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The key that may have been meant, by our spelling.
        nearest: Option<&'static str>,
    },
    /// A variable that looks like one of ours.
    #[error("environment: {} is not known and has no effect; {nearest} is", .variable.escape_debug())]
    UnknownVariable {
        /// The variable.
        variable: String,
        /// The one that may have been meant.
        nearest: String,
    },
    /// A variable of the earlier programs has an effect on this one.
    #[error(
        "environment: {variable} sets {ours}, as it did for the earlier daemons; unset it if it was not meant to"
    )]
    BareVariable {
        /// The variable.
        variable: String,
        /// The setting, by our spelling.
        ours: &'static str,
    },
    /// What an earlier program knew and nobody needs any more.
    #[error("{0} has no effect any more; take it out")]
    Obsolete(Source),
    /// A setting that will have an effect in a later release.
    #[error("{origin}: understood and kept, but without effect in this release")]
    NotYet {
        /// Where it comes from.
        origin: Source,
    },
    /// Only one file of a name is read.
    #[error("{} is not read, as {} is", .ignored.display(), .read.display())]
    OtherFile {
        /// The file that is read.
        read: PathBuf,
        /// The file that is not.
        ignored: PathBuf,
    },
    /// A subnet, or whatever the setting lists, that is listed again.
    #[error("{origin}: {item} is listed more than once; once counts")]
    Repeated {
        /// Where the list comes from.
        origin: Source,
        /// What is listed.
        item: String,
    },
    /// The pool can never be as large as it is asked to be.
    #[error("{origin}: {low} free NICs are wanted, and {max} NICs are the most that there may be")]
    PoolTooLarge {
        /// Where the low mark comes from.
        origin: Source,
        /// The low mark.
        low: u32,
        /// The most NICs.
        max: u32,
    },
}

pub(super) fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map(|key| format!("; the nearest known one is {key:?}")).unwrap_or_default()
}

impl Notice {
    /// Whether somebody should change something; otherwise it only tells.
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::Behaves { .. } | Self::OnLoopback { .. } | Self::BareVariable { .. } | Self::NotYet { .. }
        )
    }
}
