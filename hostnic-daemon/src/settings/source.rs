//! Where a value comes from.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::personality::Personality;

/// Where a value comes from. Later ones in this list win over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// Nobody said anything.
    Default {
        /// The program whose default it is.
        of: Personality,
    },
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The key as it is written there.
        key: String,
    },
    /// An environment variable; ours, which begin with `HOSTNIC_`, win over those of the earlier programs.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag.
    Flag {
        /// The flag as it was spelt, without dashes.
        flag: &'static str,
    },
}

impl Source {
    /// Higher wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default { .. } => 0,
            Self::File { .. } => 1,
            Self::Environment { variable } if !variable.starts_with("HOSTNIC_") => 2,
            Self::Environment { .. } => 3,
            Self::Flag { .. } => 4,
        }
    }

    /// The line that would set `value` there.
    pub fn line(&self, value: &str) -> String {
        match self {
            Self::Default { .. } => value.to_owned(),
            Self::File { key, .. } if is_plain(value) => format!("{key}: {value}"),
            Self::File { key, .. } => format!("{key}: {value:?}"),
            Self::Environment { variable } => format!("{variable}={value}"),
            Self::Flag { flag } => format!("--{flag} {value}"),
        }
    }
}

/// Whether a text needs no quotes in a file.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { of: Personality::Own } => f.write_str("default"),
            Self::Default { of } => write!(f, "default as {of}"),
            Self::File { path, key } => write!(f, "{}: {key}", path.display()),
            Self::Environment { variable } => write!(f, "environment: {variable}"),
            Self::Flag { flag } => write!(f, "flag: --{flag}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
}

impl<T> Setting<T> {
    /// Whether somebody gave it.
    pub fn is_given(&self) -> bool {
        !matches!(self.source, Source::Default { .. })
    }
}
