//! Addresses to listen at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use hostnic_core::id::InvalidValue;
use nix::net::if_::if_nametoindex;

const RULE: &str =
    "a host and a port, as in 127.0.0.1:31080, [::1]:31080 or localhost:31080, or a port alone, as in :31080";

/// A host and a port to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// The host.
    pub host: ListenHost,
    /// The port; 0 lets the kernel choose one.
    pub port: u16,
}

/// A host of this machine to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenHost {
    /// An address.
    Address(IpAddr),
    /// A link-local address and its interface, as in `fe80::1%eth0`.
    Scoped(Ipv6Addr, String),
    /// A name that has to be looked up.
    Name(String),
}

/// An address as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// A port, or nothing: which host is left to us.
    Bare(ListenAddress),
    /// With its host.
    Spelled(ListenAddress),
}

impl ListenAddress {
    /// 127.0.0.1 with a port.
    pub fn loopback(port: u16) -> Self {
        Self { host: ListenHost::Address(Ipv4Addr::LOCALHOST.into()), port }
    }

    /// Whether only this machine reaches it; `None` for a name, which has to be looked up first.
    ///
    /// `localhost` is loopback wherever it is looked up.
    pub fn is_loopback(&self) -> Option<bool> {
        match &self.host {
            ListenHost::Address(address) => Some(is_loopback(*address)),
            // What an interface of that name is, is not known here.
            ListenHost::Scoped(..) => Some(false),
            ListenHost::Name(name) => {
                let name = name.trim_end_matches('.');
                name.eq_ignore_ascii_case("localhost").then_some(true)
            }
        }
    }

    /// The addresses to bind, names and interfaces looked up by the system.
    ///
    /// Dropping the future gives the look-up up.
    ///
    /// # Errors
    /// When the system knows no such name or interface.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        match &self.host {
            ListenHost::Address(address) => Ok(vec![SocketAddr::new(*address, self.port)]),
            // No name server is to be asked about an interface.
            ListenHost::Scoped(address, scope) => {
                let index = scope.parse().or_else(|_| if_nametoindex(scope.as_str()))?;
                Ok(vec![SocketAddrV6::new(*address, self.port, 0, index).into()])
            }
            ListenHost::Name(name) => {
                Ok(tokio::net::lookup_host((name.as_str(), self.port)).await?.collect())
            }
        }
    }
}

/// Whether only this machine reaches an address, also where an IPv4 address is written as an IPv6 one.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl Written {
    /// Reads `text`; the port is `port` where none is written.
    pub(super) fn parse(text: &str, port: u16) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::new("listening address", text, RULE);
        if text.is_empty() {
            return Ok(Self::Bare(ListenAddress::loopback(port)));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Ok(Self::Bare(ListenAddress::loopback(number(text).ok_or_else(invalid)?)));
        };
        let port = number(port).ok_or_else(invalid)?;
        if host.is_empty() {
            return Ok(Self::Bare(ListenAddress::loopback(port)));
        }
        let host = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').and_then(six),
            None => {
                host.parse().map(|v4: Ipv4Addr| ListenHost::Address(v4.into())).ok().or_else(|| name(host))
            }
        };
        Ok(Self::Spelled(ListenAddress { host: host.ok_or_else(invalid)?, port }))
    }
}

/// A port; `+1` is none.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn six(text: &str) -> Option<ListenHost> {
    let Some((address, scope)) = text.split_once('%') else {
        return text.parse().map(|v6: Ipv6Addr| ListenHost::Address(v6.into())).ok();
    };
    let named =
        (1..=15).contains(&scope.len()) && !scope.contains(|c: char| c == '/' || !c.is_ascii_graphic());
    Some(ListenHost::Scoped(address.parse().ok()?, scope.to_owned())).filter(|_| named)
}

/// A host's name by RFC 1123, which no misspelt address may pass for.
fn name(text: &str) -> Option<ListenHost> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.trim_end_matches('.').rsplit('.').next()?;
    let address_like = last.bytes().all(|byte| byte.is_ascii_digit());
    let valid = text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label);
    (valid && !address_like).then(|| ListenHost::Name(text.to_owned()))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            ListenHost::Address(address) => SocketAddr::new(*address, port).fmt(f),
            ListenHost::Scoped(address, scope) => write!(f, "[{address}%{scope}]:{port}"),
            ListenHost::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written, what it is read as, and whether that is loopback.
    #[test]
    fn addresses_are_read() {
        let cases = [
            ("", "127.0.0.1:31080", Some(true), true),
            (":31081", "127.0.0.1:31081", Some(true), true),
            ("31081", "127.0.0.1:31081", Some(true), true),
            ("127.0.0.1:31080", "127.0.0.1:31080", Some(true), false),
            ("127.8.8.8:1", "127.8.8.8:1", Some(true), false),
            ("0.0.0.0:31080", "0.0.0.0:31080", Some(false), false),
            ("192.168.0.2:80", "192.168.0.2:80", Some(false), false),
            ("[::1]:80", "[::1]:80", Some(true), false),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", Some(true), false),
            ("[::]:80", "[::]:80", Some(false), false),
            ("[fe80::1%lo0]:80", "[fe80::1%lo0]:80", Some(false), false),
            ("localhost:31080", "localhost:31080", Some(true), false),
            ("LocalHost.:31080", "LocalHost.:31080", Some(true), false),
            ("node-1.example:31080", "node-1.example:31080", None, false),
        ];
        for (text, want, loopback, bare) in cases {
            let written = Written::parse(text, 31080).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            let (address, is_bare) = match &written {
                Written::Bare(address) => (address, true),
                Written::Spelled(address) => (address, false),
            };
            assert_eq!((address.to_string().as_str(), is_bare), (want, bare), "{text:?}");
            assert_eq!(address.is_loopback(), loopback, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let wrong = [
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:http",
            "127.0.0.1:65536",
            "127.0.0.1:+80",
            "256.0.0.1:80",
            "1.2.3:80",
            "::1:80",
            "[::1]80",
            "[::1",
            "[]:80",
            "[fe80::1%]:80",
            "[fe80::1%a/b]:80",
            "*:80",
            "a b:80",
            "-a:80",
            "http://a:80",
            "a..b:80",
            "unix:/run/x",
            ".:80",
        ];
        for text in wrong {
            assert!(Written::parse(text, 1).is_err(), "{text:?}: {:?}", Written::parse(text, 1));
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let address = ListenAddress::loopback(31080);
        assert_eq!(address.resolve().await.unwrap(), ["127.0.0.1:31080".parse().unwrap()]);
    }

    #[tokio::test]
    async fn an_interface_is_looked_for_among_those_of_this_machine() {
        let resolved = async |text: &str| match Written::parse(text, 1).unwrap() {
            Written::Bare(address) | Written::Spelled(address) => address.resolve().await,
        };
        for lo in ["[fe80::1%lo]:80", "[fe80::1%1]:80"] {
            assert_eq!(resolved(lo).await.unwrap(), ["[fe80::1%1]:80".parse().unwrap()]);
        }
        let error = resolved("[fe80::1%no-such-one]:80").await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENODEV as i32));
    }
}
