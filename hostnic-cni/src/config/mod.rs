//! The network configuration, as a runtime writes it to the plugin's standard input.
//!
//! The configurations of qingcloud-cni (`args.BindAddr`) and of hostnic-cni (`bindaddr`) are understood as they are.
//! Unknown keys are left aside, as the specification wants. Only what a command needs is read: a route that somebody
//! wrote wrongly must not keep a pod from being deleted.

mod keys;

use std::path::PathBuf;
use std::time::Duration;

use hostnic_core::attachment::{ContainerId, IfName, NetworkName};
use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::contract::{DEFAULT_SOCKET, Endpoint, Mtu, NextHop, TcpAddress, ValidAttachment, WantedRoute};
use crate::error::{CniError, Code};
use crate::result::CniResult;
use crate::version::Version;

use keys::Keys;

/// What every command needs of a configuration; the rest is read on demand.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    version: Version,
    name: NetworkName,
    endpoints: Vec<Endpoint>,
    unusable: Option<String>,
    timeout: Option<Duration>,
    object: Map<String, Value>,
}

/// What an ADD asks for beside the attachment itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// `ipam.routes`, in that order.
    pub routes: Vec<WantedRoute>,
    /// `mtu`; `None` leaves it to the daemon, as `auto` does.
    pub mtu: Option<Mtu>,
    /// `isGateway`.
    pub is_gateway: bool,
    /// `ipMasq`.
    pub ip_masq: bool,
}

/// A configuration's bytes as a JSON object.
///
/// # Errors
/// Code 6 when it is no JSON object.
pub fn decode(stdin: &[u8]) -> Result<Map<String, Value>, CniError> {
    serde_json::from_slice(stdin).map_err(|error| {
        CniError::new(Code::Decode, "the network configuration on standard input is not a JSON object")
            .details(error)
    })
}

/// The version that a configuration names.
///
/// # Errors
/// Code 1 for a version that this plugin does not speak, 7 for one that is no string.
pub fn stated_version(object: &Map<String, Value>) -> Result<Option<Version>, CniError> {
    match Keys::new(object).text("cniVersion")? {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error| CniError::new(Code::IncompatibleVersion, error)),
    }
}

/// The version of a configuration; the oldest where it names none.
///
/// # Errors
/// As [`stated_version`].
pub fn version(object: &Map<String, Value>) -> Result<Version, CniError> {
    Ok(stated_version(object)?.unwrap_or(Version::UNSPECIFIED))
}

impl NetworkConfig {
    /// Reads what every command needs.
    ///
    /// # Errors
    /// Code 1 for the version, 7 for the rest; the message names the key and its value.
    pub fn new(object: Map<String, Value>) -> Result<Self, CniError> {
        let keys = Keys::new(&object);
        let version = version(&object)?;
        keys.text("type")?.filter(|text| !text.is_empty()).ok_or_else(|| keys.missing("type"))?;
        let name = keys.text("name")?.filter(|text| !text.is_empty()).ok_or_else(|| keys.missing("name"))?;
        let name = NetworkName::new(name)
            .map_err(|error| keys.wrong("name", format_args!("{name:?}"), error.rule))?;
        let socket = keys.text("socket")?.map(PathBuf::from);
        if let Some(socket) = socket.as_ref().filter(|socket| !socket.is_absolute()) {
            return Err(keys.wrong("socket", format_args!("{socket:?}"), "an absolute path"));
        }
        let seconds = "a number of seconds from 1 to 600";
        let timeout = keys.number("timeout", seconds)?;
        if let Some(number) = timeout.filter(|number| !(1..=600).contains(number)) {
            return Err(keys.wrong("timeout", number, seconds));
        }
        let timeout = timeout.map(|number| Duration::from_secs(number.into()));
        let (endpoints, unusable) = endpoints(socket, bind_address(&keys).as_deref());
        Ok(Self { version, name, endpoints, unusable, timeout, object })
    }

    /// The version that the configuration is written in, and the answer has to be.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The network's name.
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// Where to ask the daemon, one after the other as long as nobody is there; at least one.
    ///
    /// - `bindaddr` or `args.BindAddr` leads to this machine, as those of the earlier systems did: the socket, then it.
    /// - Neither is there: the socket, then the port of the earlier systems; the socket alone where `socket` names it.
    /// - It leads elsewhere: there and nowhere else, but for a `socket` that is named as well, which comes first.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The value of `bindaddr` or `args.BindAddr` that is no address and is therefore left aside.
    pub fn unusable_address(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// How long a call may take in all: `timeout`, in seconds; `None` leaves it to the command.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// What an ADD asks for.
    ///
    /// # Errors
    /// Code 7, which names the key and its value.
    pub fn wishes(&self) -> Result<Wishes, CniError> {
        let keys = Keys::new(&self.object);
        let mtu = match keys.get("mtu").and_then(Value::as_str) {
            // What it is then, the daemon knows.
            Some(text) if text.is_empty() || text.eq_ignore_ascii_case("auto") => None,
            _ => keys.number("mtu", "a number of bytes from 68 to 65535, or auto")?.filter(|mtu| *mtu != 0),
        };
        let checked = |mtu| Mtu::new(mtu).map_err(|error| keys.wrong("mtu", mtu, error.rule));
        let routes = match keys.object("ipam")? {
            Some(ipam) => ipam.list("routes")?.unwrap_or_default(),
            None => Vec::new(),
        };
        Ok(Wishes {
            routes: routes.iter().map(route).collect::<Result<_, _>>()?,
            mtu: mtu.map(checked).transpose()?,
            is_gateway: keys.flag("isGateway")?,
            ip_masq: keys.flag("ipMasq")?,
        })
    }

    /// The result of the plugins before this one, or of the ADD that a CHECK is about.
    ///
    /// # Errors
    /// Code 7 when it cannot be read.
    pub fn previous(&self) -> Result<Option<CniResult>, CniError> {
        let read = |value| CniResult::read(value, self.version);
        Keys::new(&self.object).get("prevResult").map(read).transpose()
    }

    /// The attachments that live, for a GC; `None` where the runtime does not tell.
    ///
    /// `cni.dev/attachments` is what runtimes sent before the key had its present name. An empty list says that none
    /// lives; null says nothing, as a Go program writes it for a list that it never made.
    ///
    /// # Errors
    /// Code 7, which names the key and its value.
    pub fn valid_attachments(&self) -> Result<Option<Vec<ValidAttachment>>, CniError> {
        let keys = Keys::new(&self.object);
        let listed = match keys.list("cni.dev/valid-attachments")? {
            Some(list) => Some(list),
            None => keys.list("cni.dev/attachments")?,
        };
        listed.map(|list| list.iter().map(attachment).collect()).transpose()
    }
}

fn bind_address(keys: &Keys<'_>) -> Option<String> {
    let in_args = || keys.object("args").ok()??.text("BindAddr").ok()?;
    keys.text("bindaddr").ok().flatten().or_else(in_args).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Where to ask, and the address that is none. A mistake in it must not keep a pod from being deleted.
fn endpoints(socket: Option<PathBuf>, address: Option<&str>) -> (Vec<Endpoint>, Option<String>) {
    let named = socket.is_some();
    let socket = Endpoint::Socket(socket.unwrap_or_else(|| DEFAULT_SOCKET.into()));
    match address.map(str::parse::<TcpAddress>) {
        None if named => (vec![socket], None),
        None => (vec![socket, Endpoint::Tcp(TcpAddress::usual())], None),
        Some(Ok(address)) if named || address.is_loopback() => (vec![socket, Endpoint::Tcp(address)], None),
        Some(Ok(address)) => (vec![Endpoint::Tcp(address)], None),
        Some(Err(error)) => (vec![socket], Some(error.value)),
    }
}

fn route(keys: &Keys<'_>) -> Result<WantedRoute, CniError> {
    let destination: IpNet = keys
        .parsed("dst", "an address with its prefix length, such as 10.96.0.0/12")?
        .ok_or_else(|| keys.missing("dst"))?;
    let rule = "an address, or 0.0.0.0 for the node's own in the pod's subnet";
    let next_hop = match keys.parsed::<std::net::IpAddr>("gw", rule)? {
        None => NextHop::Gateway,
        Some(address) if address.is_unspecified() && address.is_ipv4() == destination.addr().is_ipv4() => {
            NextHop::Host
        }
        Some(address) => NextHop::Address(address),
    };
    WantedRoute::new(destination, next_hop)
        .map_err(|error| keys.wrong("gw", format_args!("{:?}", error.value), error.rule))
}

fn attachment(keys: &Keys<'_>) -> Result<ValidAttachment, CniError> {
    let text = |key| keys.text(key)?.ok_or_else(|| keys.missing(key));
    let (container, ifname) = (text("containerID")?, text("ifname")?);
    Ok(ValidAttachment {
        container: ContainerId::new(container)
            .map_err(|error| keys.wrong("containerID", format_args!("{container:?}"), error.rule))?,
        ifname: IfName::new(ifname)
            .map_err(|error| keys.wrong("ifname", format_args!("{ifname:?}"), error.rule))?,
    })
}

#[cfg(test)]
mod tests;
