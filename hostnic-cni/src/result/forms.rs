//! The forms that results have had from version to version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{CniError, Code};
use crate::version::Version;

use super::{CniResult, InterfaceEntry, IpEntry, RouteEntry};

/// The form since 0.3.0.
#[derive(Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    #[serde(skip_deserializing)]
    cni_version: &'static str,
    #[serde(deserialize_with = "null_is_empty")]
    interfaces: Vec<InterfaceEntry>,
    #[serde(deserialize_with = "null_is_empty")]
    ips: Vec<IpEntry>,
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteEntry>,
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Map::is_empty")]
    dns: Map<String, Value>,
}

impl Default for Listed {
    fn default() -> Self {
        Self { cni_version: "", interfaces: Vec::new(), ips: Vec::new(), routes: Vec::new(), dns: Map::new() }
    }
}

/// The form of 0.1.0 and 0.2.0: one address of each family, and no interfaces.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PerFamily {
    #[serde(skip_deserializing)]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<Family>,
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Map::is_empty")]
    dns: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Family {
    ip: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteEntry>,
}

/// Go programs write null for a list that they never made.
fn null_is_empty<'de, T: Deserialize<'de> + Default, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn has_lists(version: Version) -> bool {
    version >= Version::V0_3_0
}

impl CniResult {
    /// Reads a result that another plugin, or this one, has written. Its version is `inherited` where it names none.
    ///
    /// # Errors
    /// Code 7 when it is no result of its version, 1 when its version is unknown.
    pub fn read(value: &Value, inherited: Version) -> Result<Self, CniError> {
        let version = match value.get("cniVersion") {
            None | Some(Value::Null) => inherited,
            Some(Value::String(text)) if text.is_empty() => inherited,
            Some(Value::String(text)) => text.parse().map_err(|error| {
                CniError::new(Code::IncompatibleVersion, format_args!("prevResult.cniVersion: {error}"))
            })?,
            Some(other) => {
                let message = format!(
                    "prevResult.cniVersion in the network configuration is {other}; it must be a string"
                );
                return Err(CniError::new(Code::InvalidConfig, message));
            }
        };
        // A derived reader would take a list for an object whose fields are in order.
        let read = if !value.is_object() {
            Err(serde::de::Error::custom("it is not an object"))
        } else if has_lists(version) {
            Listed::deserialize(value).map(Into::into)
        } else {
            PerFamily::deserialize(value).map(Into::into)
        };
        read.map_err(|error| {
            CniError::new(
                Code::InvalidConfig,
                format_args!("prevResult in the network configuration is not a result of CNI {version}"),
            )
            .details(error)
        })
    }

    /// The result in the form of `version`; what that form has no room for is left out.
    ///
    /// # Errors
    /// Code 999 when it cannot be written, which cannot happen with a JSON writer into memory.
    pub fn write(&self, version: Version) -> Result<String, CniError> {
        let written = if has_lists(version) {
            serde_json::to_string_pretty(&self.listed(version))
        } else {
            serde_json::to_string_pretty(&self.per_family(version))
        };
        written.map_err(|error| CniError::new(Code::Internal, "write the result").details(error))
    }

    fn listed(&self, version: Version) -> Listed {
        let mut listed = Listed {
            cni_version: version.as_str(),
            interfaces: self.interfaces.clone(),
            ips: self.ips.clone(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
        };
        if version < Version::V1_1_0 {
            for entry in &mut listed.interfaces {
                (entry.mtu, entry.socket_path, entry.pci_id) = (None, None, None);
            }
            for route in &mut listed.routes {
                *route = RouteEntry::new(route.dst, route.gw);
            }
        }
        for ip in &mut listed.ips {
            let family = if ip.address.addr().is_ipv4() { "4" } else { "6" };
            ip.version = (version < Version::V1_0_0).then(|| family.to_owned());
        }
        listed
    }

    fn per_family(&self, version: Version) -> PerFamily {
        let family = |v4: bool| {
            let ip = self.ips.iter().find(|ip| ip.address.addr().is_ipv4() == v4)?;
            let routes = self.routes.iter().filter(|route| route.dst.addr().is_ipv4() == v4);
            Some(Family {
                ip: ip.address,
                gateway: ip.gateway,
                routes: routes.map(|route| RouteEntry::new(route.dst, route.gw)).collect(),
            })
        };
        PerFamily {
            cni_version: version.as_str(),
            ip4: family(true),
            ip6: family(false),
            dns: self.dns.clone(),
        }
    }
}

impl From<Listed> for CniResult {
    fn from(listed: Listed) -> Self {
        Self { interfaces: listed.interfaces, ips: listed.ips, routes: listed.routes, dns: listed.dns }
    }
}

impl From<PerFamily> for CniResult {
    fn from(result: PerFamily) -> Self {
        let mut attachments = Self { dns: result.dns, ..Self::default() };
        for family in [result.ip4, result.ip6].into_iter().flatten() {
            attachments.ips.push(IpEntry {
                version: None,
                interface: None,
                address: family.ip,
                gateway: family.gateway,
            });
            attachments.routes.extend(family.routes);
        }
        attachments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// One of everything, in both families.
    fn everything() -> CniResult {
        let value = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "eth0", "mac": "52:54:00:00:00:01", "mtu": 1400, "sandbox": "/run/netns/a", "pciID": "0000:00:1f.6"},
                {"name": "veth1", "socketPath": "/run/s"}
            ],
            "ips": [
                {"interface": 0, "address": "10.0.0.2/24", "gateway": "10.0.0.1"},
                {"interface": 0, "address": "10.0.0.3/24"},
                {"address": "fd00::2/64", "gateway": "fd00::1"}
            ],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1300, "advmss": 1200, "priority": 5, "table": 7, "scope": 253},
                {"dst": "::/0"}
            ],
            "dns": {"nameservers": ["10.0.0.53"], "x-unknown": 1}
        });
        CniResult::read(&value, Version::V0_1_0).unwrap()
    }

    #[test]
    fn the_newest_form_loses_nothing() {
        let written: Value = serde_json::from_str(&everything().write(Version::NEWEST).unwrap()).unwrap();
        assert_eq!(CniResult::read(&written, Version::V0_1_0).unwrap(), everything());
        assert_eq!(written["interfaces"][0]["pciID"], "0000:00:1f.6");
        assert_eq!(written["routes"][0]["scope"], 253);
        assert_eq!(written["dns"]["x-unknown"], 1);
    }

    #[test]
    fn a_form_is_read_back_in_every_version_as_it_was_written() {
        for version in Version::ALL {
            let text = everything().write(version).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["cniVersion"], version.as_str());
            let read = CniResult::read(&value, Version::NEWEST).unwrap();
            assert_eq!(read.write(version).unwrap(), text);
        }
    }

    #[test]
    fn older_forms_leave_out_what_they_have_no_room_for() {
        let value = |version| serde_json::from_str::<Value>(&everything().write(version).unwrap()).unwrap();
        let first = value(Version::V0_2_0);
        assert_eq!(first["ip4"]["ip"], "10.0.0.2/24");
        assert_eq!(first["ip6"]["routes"], json!([{"dst": "::/0"}]));
        assert_eq!(first.get("interfaces"), None);
        let middle = value(Version::V0_4_0);
        assert_eq!(middle["ips"][2]["version"], "6");
        assert_eq!(middle["routes"][0], json!({"dst": "0.0.0.0/0", "gw": "10.0.0.1"}));
        let late = value(Version::V1_0_0);
        assert_eq!(late["ips"][0].get("version"), None);
        assert_eq!(late["interfaces"][0].get("mtu"), None);
    }

    #[test]
    fn a_version_6_only_result_of_the_oldest_form_is_read() {
        let value = json!({"ip6": {"ip": "fd00::2/64", "routes": null}, "dns": {}});
        let read = CniResult::read(&value, Version::V0_2_0).unwrap();
        assert_eq!(read.ips[0].address.to_string(), "fd00::2/64");
    }

    #[test]
    fn null_lists_of_go_programs_are_empty_lists() {
        let value = json!({"interfaces": null, "ips": null, "routes": null, "dns": null});
        assert_eq!(CniResult::read(&value, Version::V1_0_0).unwrap(), CniResult::default());
    }

    #[test]
    fn what_is_no_result_is_refused_with_the_code_of_the_configuration() {
        for value in [json!("x"), json!([]), json!({"ips": [{"address": "x"}]}), json!({"cniVersion": 1})] {
            assert_eq!(
                CniResult::read(&value, Version::V1_0_0).unwrap_err().code,
                Code::InvalidConfig,
                "{value}"
            );
        }
        let value = json!({"cniVersion": "9.0.0"});
        assert_eq!(CniResult::read(&value, Version::V1_0_0).unwrap_err().code, Code::IncompatibleVersion);
    }
}
