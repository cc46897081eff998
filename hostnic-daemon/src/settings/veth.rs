//! What nodes are told about pods behind veths.

use std::fmt;
use std::str::FromStr;

use hostnic_core::agent::{PodMtu, VethConfig, VethPrefix};
use hostnic_core::attachment::IfName;
use hostnic_core::id::InvalidValue;
use hostnic_core::route::{Datapath, Hairpin, NatMark, NicTable, PodsTable};
use ipnet::IpNet;

use super::Settings;
use super::key::Key;
use super::reading::Reading;
use super::source::Setting;
use super::values::boolean;

/// The settings of pods behind veths.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VethSettings {
    /// The addresses of services, each once. Not empty where the node is in veth mode.
    pub services: Setting<Vec<IpNet>>,
    /// Whether pods of the node reach each other by their NICs.
    pub hairpin: Setting<bool>,
    /// What the names of veths' ends in the node begin with.
    pub prefix: Setting<VethPrefix>,
    /// The MTU of pods' interfaces.
    pub mtu: Setting<PodMtu>,
    /// The mark of flows that go by the node's own routes.
    pub nat_mark: Setting<NatMark>,
    /// The table of the routes to pods.
    pub pods: Setting<PodsTable>,
    /// The lowest table of a NIC.
    pub first_table: Setting<NicTable>,
}

impl VethSettings {
    pub(super) fn read(reading: &mut Reading<'_>) -> Self {
        let usual = VethConfig::new(Vec::new());
        Self {
            services: reading.list(Key::ServiceCidr, services),
            hairpin: reading.one(Key::Hairpin, false, boolean),
            prefix: reading.parsed(Key::VethPrefix, usual.prefix),
            mtu: reading.one(Key::Mtu, usual.mtu, mtu),
            nat_mark: reading.one(Key::NatMark, usual.nat_mark, nat_mark),
            pods: reading.one(Key::PodTable, usual.pods, pod_table),
            first_table: reading.one(Key::FirstTable, usual.first_table, first_table),
        }
    }

    /// The same for an agent, where `primary` is the node's own interface, if anybody named it.
    pub fn config(&self, primary: Option<IfName>) -> VethConfig {
        VethConfig {
            hairpin: if self.hairpin.value { Hairpin::On } else { Hairpin::Off },
            first_table: self.first_table.value,
            pods: self.pods.value,
            nat_mark: self.nat_mark.value,
            prefix: self.prefix.value.clone(),
            mtu: self.mtu.value,
            primary,
            ..VethConfig::new(self.services.value.clone())
        }
    }
}

impl Settings {
    /// Whether the node's pods are behind veths unless they ask for something else.
    pub fn has_veths(&self) -> bool {
        match self.mode.value {
            ModeChoice::Only(datapath) => datapath != Datapath::Passthrough,
            ModeChoice::Auto => self.kubernetes.enabled.value,
        }
    }
}

/// How a node is to join its pods to their NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeChoice {
    /// In this way.
    Only(Datapath),
    /// As suits a node of its kind.
    Auto,
}

impl FromStr for ModeChoice {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "shared" => Ok(Self::Only(Datapath::Shared)),
            _ => datapath("mode", text, "passthrough, veth, shared or auto").map(Self::Only),
        }
    }
}

impl fmt::Display for ModeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Only(datapath) => name(*datapath),
            Self::Auto => "auto",
        })
    }
}

/// A datapath by its name, in any case.
fn datapath(what: &'static str, text: &str, rule: &'static str) -> Result<Datapath, InvalidValue> {
    let known = [Datapath::Passthrough, Datapath::Veth];
    let named = known.into_iter().find(|datapath| name(*datapath).eq_ignore_ascii_case(text));
    named.ok_or_else(|| InvalidValue::new(what, text, rule))
}

/// The way of pods that ask for none.
pub(super) fn pod_type(text: &str) -> Result<Datapath, InvalidValue> {
    datapath("type of a pod", text, "veth or passthrough")
}

/// What a way of joining pods is called.
pub fn name(datapath: Datapath) -> &'static str {
    match datapath {
        Datapath::Passthrough => "passthrough",
        Datapath::Veth => "veth",
        Datapath::Shared => "shared",
        _ => "",
    }
}

/// The addresses of services.
pub(super) fn services(text: &str) -> Result<IpNet, InvalidValue> {
    let rule = "an address with its prefix length, as in 10.96.0.0/12, and not all addresses there are";
    let prefix = text.parse::<IpNet>().ok().filter(|prefix| prefix.prefix_len() > 0);
    prefix.map(|prefix| prefix.trunc()).ok_or_else(|| InvalidValue::new("service CIDR", text, rule))
}

pub(super) fn mtu(text: &str) -> Result<PodMtu, InvalidValue> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(PodMtu::Nics);
    }
    let bytes = text.parse().ok().filter(|bytes| (68..=65_535).contains(bytes));
    bytes.map(PodMtu::Exactly).ok_or_else(|| InvalidValue::new("MTU", text, "auto, or 68 to 65535 bytes"))
}

pub(super) fn show_mtu(mtu: PodMtu) -> Option<String> {
    match mtu {
        PodMtu::Nics => Some("auto".to_owned()),
        PodMtu::Exactly(bytes) => Some(bytes.to_string()),
        PodMtu::AtMost(_) => None,
    }
}

/// Bits, in either notation that the Go version took.
pub(super) fn nat_mark(text: &str) -> Result<NatMark, InvalidValue> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let bits = match digits {
        Some(hex) => u32::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')),
        None => text.parse().ok().filter(|_| !text.starts_with('+')),
    };
    let rule = "1 to 4294967295, or 0x1 to 0xffffffff";
    bits.and_then(NatMark::new).ok_or_else(|| InvalidValue::new("mark", text, rule))
}

pub(super) fn pod_table(text: &str) -> Result<PodsTable, InvalidValue> {
    table(text, PodsTable::new)
}

pub(super) fn first_table(text: &str) -> Result<NicTable, InvalidValue> {
    table(text, NicTable::new)
}

/// A number as a table. What is none breaks the same rule as 0, which no table has.
fn table<T>(text: &str, new: impl Fn(u32) -> Result<T, InvalidValue>) -> Result<T, InvalidValue> {
    new(text.parse().unwrap_or(0)).map_err(|error| InvalidValue { value: text.to_owned(), ..error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_in_both_notations() {
        for (text, bits) in [("0x10000", 0x10000), ("65536", 65536), ("0XFF", 255), ("4294967295", u32::MAX)]
        {
            assert_eq!(nat_mark(text).unwrap().bits(), bits, "{text}");
        }
        for wrong in ["0", "0x0", "", "0x", "x", "0x100000000", "-1", "+1", "0x+1", "10000h"] {
            assert!(nat_mark(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn service_addresses_are_prefixes_and_not_everything() {
        assert_eq!(services("10.233.0.7/18").unwrap().to_string(), "10.233.0.0/18");
        assert_eq!(services("fd00::/108").unwrap().to_string(), "fd00::/108");
        for wrong in ["10.96.0.0", "10.96.0.0/33", "0.0.0.0/0", "services", "10.96/12"] {
            assert!(services(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_mtu_is_a_number_or_the_nics() {
        assert_eq!(mtu("AUTO").unwrap(), PodMtu::Nics);
        assert_eq!(mtu("68").unwrap(), PodMtu::Exactly(68));
        for wrong in ["67", "65536", "jumbo", "-1"] {
            assert!(mtu(wrong).is_err(), "{wrong}");
        }
    }
}
