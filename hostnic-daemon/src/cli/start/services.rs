//! Which addresses services have, and who says so.

use std::fmt;

use ipnet::IpNet;

use crate::settings::{ModeChoice, Settings};
use hostnic_core::route::Datapath;

/// The addresses of services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Services {
    /// As the settings say.
    Given(Vec<IpNet>),
    /// As the cluster says, and what in it.
    Told(Vec<IpNet>, String),
    /// Nobody says so.
    Untold,
}

impl Services {
    /// What the settings say.
    pub(super) fn of(settings: &Settings) -> Self {
        match settings.veth.services.is_given() {
            true => Self::Given(settings.veth.services.value.clone()),
            false => Self::Untold,
        }
    }

    /// Whether the cluster is to be asked: on a node of Kubernetes where pods may be behind veths and nobody gave them.
    pub(super) fn are_asked_for(settings: &Settings) -> bool {
        let no_veths = settings.mode.value == ModeChoice::Only(Datapath::Passthrough);
        settings.kubernetes.enabled.value && !no_veths && !settings.veth.services.is_given()
    }

    /// The addresses; none where they are not known.
    pub(super) fn prefixes(&self) -> &[IpNet] {
        match self {
            Self::Given(prefixes) | Self::Told(prefixes, _) => prefixes,
            Self::Untold => &[],
        }
    }
}

/// For whoever asks why the node is as it is; nothing where the settings say it.
impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => Ok(()),
            Self::Told(prefixes, by) => {
                let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
                write!(f, "; services have {}, as {by} says", prefixes.join(", "))
            }
            Self::Untold => write!(f, "; {UNKNOWN}"),
        }
    }
}

/// What does not work where nobody says it, and what to do.
pub(super) const UNKNOWN: &str = "the addresses of services are not known, so that pods of this node may not reach services; give them by \
                                  serviceCIDR in ConfigMap hostnic-cfg-cm, or by --service-cidr, and restart the daemon";
