//! What the runtime says in environment variables.

use std::ffi::OsString;
use std::fmt;

use hostnic_core::attachment::{ContainerId, IfName, NetnsPath};
use hostnic_core::id::InvalidValue;

use crate::error::{CniError, Code};

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Compare an attachment with what was answered.
    Check,
    /// Free what no living container holds.
    Gc,
    /// Say whether an ADD would be served.
    Status,
    /// Say which versions are spoken.
    Version,
}

impl Command {
    const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As `CNI_COMMAND` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The variables that must be set. The specification asks for `CNI_PATH` in a GC only, and so does this plugin,
    /// though the Go library wants it everywhere.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &[CONTAINER_ID, NETNS, IFNAME],
            Self::Del => &[CONTAINER_ID, IFNAME],
            Self::Gc => &["CNI_PATH"],
            Self::Status | Self::Version => &[],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const COMMAND: &str = "CNI_COMMAND";
const CONTAINER_ID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
const ARGS: &str = "CNI_ARGS";
const NETNS_OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// Where variables are looked up: the process's environment, or a test's.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of one call. A variable that is empty counts as missing.
#[derive(Clone, Copy)]
pub struct Environment<'a>(Lookup<'a>);

/// What a DEL is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detached {
    /// The container.
    pub container: ContainerId,
    /// The interface in it.
    pub ifname: IfName,
    /// Its namespace, where the runtime still names one that can be looked for.
    pub netns: Option<NetnsPath>,
}

/// What an ADD or a CHECK is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The container.
    pub container: ContainerId,
    /// The interface in it.
    pub ifname: IfName,
    /// Its namespace.
    pub netns: NetnsPath,
    /// Whether the namespace may be the plugin's own (`CNI_NETNS_OVERRIDE`).
    pub own_netns_allowed: bool,
}

impl<'a> Environment<'a> {
    /// An environment whose variables `lookup` finds.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Self(lookup)
    }

    fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, CniError> {
        let not_text = |value: OsString| {
            CniError::new(Code::InvalidEnvironment, format_args!("{name} is {value:?}, which is not UTF-8"))
        };
        self.get(name).map(|value| value.into_string().map_err(not_text)).transpose()
    }

    fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, InvalidValue>,
    ) -> Result<T, CniError> {
        parse(self.text(name)?.unwrap_or_default())
            .map_err(|error| CniError::new(Code::InvalidEnvironment, format_args!("{name}: {error}")))
    }

    /// The command.
    ///
    /// # Errors
    /// Code 4 when it is missing or unknown.
    pub fn command(&self) -> Result<Command, CniError> {
        let one_of = || Command::ALL.map(Command::as_str).join(", ");
        let refuse = |what: String| {
            CniError::new(
                Code::InvalidEnvironment,
                format_args!("{COMMAND} {what}; it must be one of {}", one_of()),
            )
        };
        let Some(text) = self.text(COMMAND)? else { return Err(refuse("is missing".to_owned())) };
        Command::ALL
            .into_iter()
            .find(|command| command.as_str() == text)
            .ok_or_else(|| refuse(format!("is {text:?}")))
    }

    /// Whether a command is given at all.
    pub fn has_command(&self) -> bool {
        self.get(COMMAND).is_some()
    }

    /// Makes sure that everything the command needs is there.
    ///
    /// # Errors
    /// Code 4 with the names of all that is missing.
    pub fn require(&self, command: Command) -> Result<(), CniError> {
        let missing: Vec<&str> =
            command.required().iter().copied().filter(|name| self.get(name).is_none()).collect();
        match missing.as_slice() {
            [] => Ok(()),
            names => Err(CniError::new(
                Code::InvalidEnvironment,
                format_args!("{command} needs environment variables that are missing: {}", names.join(", ")),
            )),
        }
    }

    /// What an ADD or CHECK is about.
    ///
    /// # Errors
    /// Code 4 with the name of a wrong variable.
    pub fn attached(&self) -> Result<Attached, CniError> {
        Ok(Attached {
            container: self.parsed(CONTAINER_ID, ContainerId::new)?,
            ifname: self.parsed(IFNAME, IfName::new)?,
            netns: self.parsed(NETNS, NetnsPath::new)?,
            own_netns_allowed: self.get(NETNS_OVERRIDE).is_some_and(|value| {
                value.to_str().is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("true"))
            }),
        })
    }

    /// What a DEL is about. A namespace that no ADD can have had is none: its address must be freed all the same.
    ///
    /// # Errors
    /// Code 4 with the name of a wrong variable.
    pub fn detached(&self) -> Result<Detached, CniError> {
        Ok(Detached {
            container: self.parsed(CONTAINER_ID, ContainerId::new)?,
            ifname: self.parsed(IFNAME, IfName::new)?,
            netns: self
                .get(NETNS)
                .and_then(|path| path.into_string().ok())
                .and_then(|p| NetnsPath::new(p).ok()),
        })
    }

    /// The text of `CNI_ARGS`; empty when there is none.
    ///
    /// # Errors
    /// Code 4 when it is not UTF-8.
    pub fn args(&self) -> Result<String, CniError> {
        Ok(self.text(ARGS)?.unwrap_or_default())
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
