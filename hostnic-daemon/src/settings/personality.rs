//! As which program the daemon behaves where nothing was said.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;
use hostnic_core::policy::PolicyName;
use serde::Serialize;

/// Whose defaults, files and listening address are in force.
///
/// The first of these that says something decides: `--compat` or `HOSTNIC_COMPAT`; the name that the program was started
/// by; a flag in a spelling that only one of the earlier programs had; the file that was found or named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    /// `hostnic-daemon` itself.
    #[serde(rename = "hostnic-daemon")]
    Own,
    /// `daemon` of hostnic-cni 0.x.
    Daemon,
    /// `qingagent` of qingcloud-cni.
    QingAgent,
    /// `hostnic-node` of hostnic-cni on Kubernetes.
    #[serde(rename = "hostnic-node")]
    Node,
}

impl Personality {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Own, Self::Daemon, Self::QingAgent, Self::Node];
    /// The programs before this one.
    const EARLIER: [Self; 3] = [Self::Daemon, Self::QingAgent, Self::Node];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "hostnic-daemon",
            Self::Daemon => "daemon",
            Self::QingAgent => "qingagent",
            Self::Node => "hostnic-node",
        }
    }

    /// The personality of a program that was started as `argv0`; `None` for any name but those of the earlier programs.
    pub fn of_program(argv0: &OsStr) -> Option<Self> {
        let name = Path::new(argv0).file_name()?;
        Self::EARLIER.into_iter().find(|personality| name == personality.name())
    }

    /// The personality of a file by its name: `.daemon.*`, `QingAgent.*` and `hostnic.*` belong to the earlier programs.
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::EARLIER.into_iter().find(|p| path.file_stem() == Some(OsStr::new(p.stem())))
    }

    /// What its configuration file is called, without the ending.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Own => "hostnic-daemon",
            Self::Daemon => ".daemon",
            Self::QingAgent => "QingAgent",
            Self::Node => "hostnic",
        }
    }

    /// How the subnet of the next NIC is chosen unless told.
    pub(super) fn policy(self) -> PolicyName {
        match self {
            Self::Own | Self::QingAgent | Self::Node => PolicyName::FailRotate,
            Self::Daemon => PolicyName::Random,
        }
    }

    /// The zone where neither the settings nor the access file names one.
    pub(super) fn zone(self) -> Option<&'static str> {
        (self == Self::QingAgent).then_some("pek3a")
    }

    /// The NIC that is left alone unless told.
    pub(super) fn iface(self) -> Option<&'static str> {
        (self == Self::QingAgent).then_some("eth0")
    }

    /// Whether it takes commands over TCP unless told.
    pub(super) fn listens(self) -> bool {
        matches!(self, Self::Daemon | Self::QingAgent)
    }

    /// Whether it is a node of Kubernetes unless told.
    pub(super) fn kubernetes(self) -> bool {
        self == Self::Node
    }

    /// Where its CNI configuration is that has settings, too.
    pub(super) fn network(self) -> Option<&'static Path> {
        (self == Self::Node).then(|| Path::new("/etc/hostnic/hostnic-cni.json"))
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Personality {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL.into_iter().find(|personality| personality.name() == text).ok_or_else(|| {
            InvalidValue::new("personality", text, "hostnic-daemon, daemon, qingagent or hostnic-node")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_its_folder_chooses() {
        let of = |name: &str| Personality::of_program(OsStr::new(name));
        assert_eq!(of("./bin/daemon"), Some(Personality::Daemon));
        assert_eq!(of("qingagent"), Some(Personality::QingAgent));
        assert_eq!(of("/app/hostnic-node"), Some(Personality::Node));
        for other in ["hostnic-daemon", "Daemon", "daemon-x", "", "/"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_chooses_by_its_name() {
        let of = |path: &str| Personality::of_file(Path::new(path));
        assert_eq!(of("/root/.daemon.yaml"), Some(Personality::Daemon));
        assert_eq!(of("QingAgent.xml"), Some(Personality::QingAgent));
        assert_eq!(of("/etc/hostnic/hostnic.json"), Some(Personality::Node));
        assert_eq!(of("/etc/hostnic/hostnic-daemon.yaml"), None);
    }
}
