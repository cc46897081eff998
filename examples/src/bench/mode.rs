//! What is measured, and beside which plugin.

use hostnic_core::route::Hairpin;
use serde::Serialize;

/// How pods are joined to their NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The NIC is moved into the pod, as `host-device` does it.
    Passthrough,
    /// The pod is behind a veth, as with `ptp`, and its NIC stays in the node.
    Veth,
    /// The same, and pods of the node reach each other by their NICs.
    VethWithHairpin,
}

/// The most that may be measured, as a part of what the other plugin takes, and in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub(super) add: f64,
    pub(super) del: f64,
    /// `None` where it is measured for information.
    pub(super) adds_at_once: Option<f64>,
    pub(super) plugin_mib: f64,
    pub(super) daemon_mib: f64,
}

impl Mode {
    /// Those with veths.
    pub const VETH: [Self; 2] = [Self::Veth, Self::VethWithHairpin];

    pub(super) fn limits(self) -> Limits {
        match self {
            Self::Passthrough => {
                Limits { add: 0.40, del: 0.40, adds_at_once: None, plugin_mib: 6.0, daemon_mib: 20.0 }
            }
            Self::Veth | Self::VethWithHairpin => {
                Limits { add: 0.45, del: 0.25, adds_at_once: Some(0.45), plugin_mib: 6.0, daemon_mib: 25.0 }
            }
        }
    }

    /// How many pods are added at once. A node has NICs for 63 pods with one each.
    pub(super) fn at_once(self) -> u8 {
        match self {
            Self::Passthrough => 20,
            Self::Veth | Self::VethWithHairpin => 60,
        }
    }

    /// The name of the plugin beside.
    pub fn rival(self) -> &'static str {
        match self {
            Self::Passthrough => "host-device",
            Self::Veth | Self::VethWithHairpin => "ptp",
        }
    }

    /// Whether pods are behind veths.
    pub(super) fn hairpin(self) -> Option<Hairpin> {
        match self {
            Self::Passthrough => None,
            Self::Veth => Some(Hairpin::Off),
            Self::VethWithHairpin => Some(Hairpin::On),
        }
    }

    /// What the daemon is told.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self.hairpin() {
            None => &["--mode", "passthrough"],
            Some(Hairpin::Off) => &["--mode", "veth", "--service-cidr", "10.96.0.0/16"],
            Some(Hairpin::On) => &["--mode", "veth", "--service-cidr", "10.96.0.0/16", "--hairpin"],
        }
    }

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Passthrough => "NICs moved into pods",
            Self::Veth => "pods behind veths, each with a NIC of its own",
            Self::VethWithHairpin => "pods behind veths, each with a NIC of its own, with hairpin",
        }
    }
}
