//! CNI's error: a code to act on, what failed, and why.

use std::fmt;

use hostnic_core::{Chain, ErrorKind};
use serde::Serialize;

use crate::environment::Command;
use crate::version::Version;

/// What kind of failure it is, by CNI's numbers.
///
/// Below 100 they are those of the specification; 8 and 999 come from the Go library, which runtimes are built on; the
/// others from 100 on are this plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// 1: the plugin cannot serve the configuration's version.
    IncompatibleVersion,
    /// 2: a field of the configuration is not supported.
    UnsupportedField,
    /// 4: an environment variable is missing or wrong; the message names it.
    InvalidEnvironment,
    /// 5: reading the configuration or writing the result failed.
    Io,
    /// 6: what was read is not JSON.
    Decode,
    /// 7: a value of the configuration is missing or wrong; the message names its key.
    InvalidConfig,
    /// 8: `CNI_NETNS` names no network namespace, or the plugin's own.
    InvalidNetns,
    /// 11: the same call can succeed later.
    TryAgainLater,
    /// 50: no ADD can be served.
    NotAvailable,
    /// 51: no ADD can be served, and containers that run may have lost their network.
    LimitedConnectivity,
    /// 100: the container has an interface of that name that is not this attachment's, or lives elsewhere.
    Conflict,
    /// 101: CHECK found the attachment other than ADD had left it.
    Drift,
    /// 102: CHECK asked about an attachment that the node does not know.
    NotAttached,
    /// 103: the node cannot do what is asked.
    Unsupported,
    /// 104: the daemon's records are damaged.
    Damaged,
    /// 999: a defect of ours.
    Internal,
    /// Any other number, from a daemon of another release.
    Other(u32),
}

impl Code {
    const ALL: [Self; 16] = [
        Self::IncompatibleVersion,
        Self::UnsupportedField,
        Self::InvalidEnvironment,
        Self::Io,
        Self::Decode,
        Self::InvalidConfig,
        Self::InvalidNetns,
        Self::TryAgainLater,
        Self::NotAvailable,
        Self::LimitedConnectivity,
        Self::Conflict,
        Self::Drift,
        Self::NotAttached,
        Self::Unsupported,
        Self::Damaged,
        Self::Internal,
    ];

    /// The number that stands in the error.
    pub fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidConfig => 7,
            Self::InvalidNetns => 8,
            Self::TryAgainLater => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::Conflict => 100,
            Self::Drift => 101,
            Self::NotAttached => 102,
            Self::Unsupported => 103,
            Self::Damaged => 104,
            Self::Internal => 999,
            Self::Other(number) => number,
        }
    }

    /// The code of a number. 0, which would mean success, is an internal error.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Internal,
            _ => Self::ALL.into_iter().find(|code| code.number() == number).unwrap_or(Self::Other(number)),
        }
    }

    /// What a failure of `kind` is called by CNI when `command` meets it.
    ///
    /// Whatever time, a person or another request can mend is "try again later", so that a runtime does try again. Of
    /// all that an ADD names, only the namespace can be missing; a CHECK misses the attachment. CNI's 3, "unknown
    /// container", is never used: a runtime may leave out the DEL after it, and the address would stay leased.
    pub fn of(command: Command, kind: ErrorKind) -> Self {
        match (kind, command) {
            (
                ErrorKind::Exhausted
                | ErrorKind::Quota(_)
                | ErrorKind::Throttled { .. }
                | ErrorKind::Transient
                | ErrorKind::Unauthorised
                | ErrorKind::Cancelled,
                _,
            ) => Self::TryAgainLater,
            (ErrorKind::NotFound, Command::Add) => Self::InvalidNetns,
            (ErrorKind::NotFound, Command::Check) => Self::NotAttached,
            (ErrorKind::NotFound, _) => Self::TryAgainLater,
            // A CHECK meets only one conflict: between what was given and what is there.
            (ErrorKind::Conflict, Command::Check) => Self::Drift,
            (ErrorKind::Conflict, _) => Self::Conflict,
            (ErrorKind::Invalid, _) => Self::InvalidConfig,
            (ErrorKind::Unsupported, _) => Self::Unsupported,
            (ErrorKind::Damaged, _) => Self::Damaged,
            // The kinds may grow; one that is unknown here is a defect of ours.
            (_, _) => Self::Internal,
        }
    }
}

/// Why a call failed, as the plugin prints it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    /// The code.
    pub code: Code,
    /// What failed, on what, and what to do: one line.
    pub message: String,
    /// The causes, or what helps to find them; may be empty.
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), details: String::new() }
    }

    /// Adds the causes, or what helps to find them.
    #[must_use]
    pub fn details(mut self, details: impl fmt::Display) -> Self {
        self.details = details.to_string();
        self
    }

    /// A failure of the daemon's parts while it served `command`: its message is the error's, its details the causes.
    pub fn from_core(command: Command, error: &hostnic_core::Error) -> Self {
        let details = std::error::Error::source(error).map(|source| Chain(source).to_string());
        Self {
            code: Code::of(command, error.kind()),
            message: error.to_string(),
            details: details.unwrap_or_default(),
        }
    }

    /// The JSON that a runtime reads, in the form of `version`.
    pub fn to_json(&self, version: Version) -> String {
        #[derive(Serialize)]
        struct Printed<'a> {
            #[serde(rename = "cniVersion")]
            cni_version: Version,
            code: u32,
            msg: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            details: &'a str,
        }
        let printed = Printed {
            cni_version: version,
            code: self.code.number(),
            msg: &self.message,
            details: &self.details,
        };
        // Strings and a number always have a JSON form; the fallback keeps even that from being a panic.
        serde_json::to_string_pretty(&printed).unwrap_or_else(|_| {
            format!(r#"{{"code":{},"msg":"the error cannot be printed"}}"#, self.code.number())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostnic_core::QuotaScope;

    #[test]
    fn every_code_is_found_by_its_number() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), code);
        }
        assert_eq!(Code::from_number(0), Code::Internal);
        assert_eq!(Code::from_number(123).number(), 123);
    }

    #[test]
    fn what_time_or_a_person_can_mend_asks_the_runtime_to_try_again() {
        for kind in [
            ErrorKind::Exhausted,
            ErrorKind::Quota(QuotaScope::Account),
            ErrorKind::Throttled { retry_after: None },
            ErrorKind::Transient,
            ErrorKind::Unauthorised,
            ErrorKind::Cancelled,
        ] {
            assert_eq!(Code::of(Command::Add, kind).number(), 11, "{kind}");
        }
    }

    #[test]
    fn what_is_missing_or_in_conflict_depends_on_who_asks() {
        assert_eq!(Code::of(Command::Add, ErrorKind::NotFound), Code::InvalidNetns);
        assert_eq!(Code::of(Command::Check, ErrorKind::NotFound), Code::NotAttached);
        assert_eq!(Code::of(Command::Del, ErrorKind::NotFound), Code::TryAgainLater);
        assert_eq!(Code::of(Command::Add, ErrorKind::Conflict), Code::Conflict);
        assert_eq!(Code::of(Command::Check, ErrorKind::Conflict), Code::Drift);
    }

    #[test]
    fn an_error_of_the_daemon_keeps_its_message_and_its_causes_apart() {
        let error = hostnic_core::Error::new(ErrorKind::Exhausted, "lease an address for", "net/c1/eth0")
            .detail("no NIC is free")
            .source(std::io::Error::other("the subnet is full"));
        let error = CniError::from_core(Command::Add, &error);
        assert_eq!(error.message, "lease an address for net/c1/eth0: no NIC is free");
        assert_eq!(error.details, "the subnet is full");
    }
}
