//! Why settings are refused.

use std::io;
use std::path::PathBuf;

use hostnic_core::id::InvalidValue;

use super::document::Format;
use super::listen::ListenAddress;
use super::notice::{Notice, meant};
use super::source::Source;

/// One thing that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("the configuration file {} cannot be read: name another one, or let the daemon read it", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file whose ending says nothing.
    #[error("{}: the name must end in .yaml, .yml, .json, .toml or .xml, as it says what the file is written in", .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file that is not what its ending says.
    #[error("{}, line {line}, column {column}: this is not {format} made of keys and their values", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What it should be written in.
        format: Format,
        /// The line, from 1; 0 where it is not known.
        line: u64,
        /// The column, from 1; 0 where it is not known.
        column: u64,
    },
    /// A key of our own file that nobody knows.
    #[error("{}: the key {key:?} is not known{}", .path.display(), meant(.nearest))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The key that may have been meant.
        nearest: Option<&'static str>,
    },
    /// A value that its setting cannot have.
    #[error("{origin}")]
    Invalid {
        /// Where it comes from.
        origin: Source,
        /// What is wrong with it.
        source: InvalidValue,
    },
    /// A list, or keys with values, where one value is wanted.
    #[error("{origin}: one plain value is wanted{}", if *.list { ", or a list of them" } else { "" })]
    Shape {
        /// Where it comes from.
        origin: Source,
        /// Whether a list would do.
        list: bool,
    },
    /// A plain value, or a list, where a section with keys is wanted.
    #[error("{origin}: keys with values are wanted here, as in {{\"poolLow\": 3}}")]
    NoSection {
        /// Where it is.
        origin: Source,
    },
    /// A list of plugins where one configuration is wanted.
    #[error(
        "{}: a list of plugins has no settings; give the configuration of hostnic alone, and put a list that runtimes are to use beside 10-hostnic.conf, with a name that sorts before it", .path.display()
    )]
    PluginList {
        /// The file.
        path: PathBuf,
    },
    /// A CNI configuration that the plugin would refuse.
    #[error("{}: the plugin would refuse this configuration", .path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What it would say.
        source: hostnic_cni::error::CniError,
    },
    /// A setting that has no default and that nobody gave.
    #[error("{key} is missing, and {because} needs it: {example}")]
    Missing {
        /// The setting, as a person should write it.
        key: &'static str,
        /// What needs it.
        because: &'static str,
        /// What to write.
        example: &'static str,
    },
    /// A text of the documentation that was not filled in.
    #[error("{origin}: {value:?} is a placeholder of the documentation; write your own value in its place")]
    Placeholder {
        /// Where it comes from.
        origin: Source,
        /// The placeholder.
        value: String,
    },
    /// One source says two things.
    #[error("{first} and {second} both say the same setting, and not the same; take one out")]
    Twice {
        /// The one.
        first: Source,
        /// The other.
        second: Source,
    },
    /// A pool whose marks are the wrong way round.
    #[error("{} is more than {}; lower the one or raise the other", .low_from.line(&.low.to_string()), .high_from.line(&.high.to_string()))]
    Marks {
        /// The low mark.
        low: u32,
        /// Where it comes from.
        low_from: Source,
        /// The high mark.
        high: u32,
        /// Where it comes from.
        high_from: Source,
    },
    /// A listener that takes commands from other machines.
    #[error(
        "{origin}: {address} would take commands from other machines, without asking who they are; write\n    {works}\nor, if that is meant, add --allow-remote"
    )]
    Remote {
        /// Where the address comes from.
        origin: Source,
        /// The address.
        address: ListenAddress,
        /// What to write to be on loopback.
        works: String,
    },
    /// Commands and what is shown at one place.
    #[error(
        "bind-addr ({bind}) and manage-addr ({manage}) are both {address}; give one of them another port"
    )]
    SameAddress {
        /// Where the one comes from.
        bind: Source,
        /// Where the other comes from.
        manage: Source,
        /// The address.
        address: Box<ListenAddress>,
    },
    /// Flags of both earlier programs.
    #[error("--{first} is a flag of {}, --{second} one of {}; say with --compat which one to behave as", .programs.0, .programs.1)]
    TwoPrograms {
        /// A flag of the one.
        first: &'static str,
        /// A flag of the other.
        second: &'static str,
        /// The programs.
        programs: (super::Personality, super::Personality),
    },
}

/// Why there are no settings: everything that is wrong, not only the first.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong; at least one thing.
    pub errors: Vec<SettingsError>,
    /// What would have been worth a line.
    pub notices: Vec<Notice>,
}
