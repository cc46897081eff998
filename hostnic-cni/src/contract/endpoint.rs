//! Where a daemon is asked.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;
use tokio::net::TcpStream;

/// A place where a daemon may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Socket(PathBuf),
    /// A TCP address, as the daemons before this one had.
    Tcp(TcpAddress),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// A host and a port to connect to, as `localhost:31080`, `:31080` or `[fe80::1%eth0]:31080`.
///
/// No host, and the addresses that stand for any host, mean this machine, as they did for the Go programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpAddress {
    /// A name or an address without brackets; may be empty.
    host: String,
    port: u16,
}

impl TcpAddress {
    /// The port of the daemons before this one.
    pub const USUAL_PORT: u16 = 31080;

    /// That port on the loopback.
    pub fn usual() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.to_string(), port: Self::USUAL_PORT }
    }

    /// Whether it leads to this machine whatever anybody's name server says.
    pub fn is_loopback(&self) -> bool {
        !self.own().is_empty()
    }

    /// The addresses of this machine that it stands for; none where it is another's, or has to be looked up.
    fn own(&self) -> Vec<IpAddr> {
        const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let name = self.host.strip_suffix('.').unwrap_or(&self.host);
        if name.is_empty() || name.eq_ignore_ascii_case("localhost") {
            return vec![FOUR, SIX];
        }
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(any)) if any.is_unspecified() => vec![FOUR],
            Ok(IpAddr::V6(any)) if any.is_unspecified() => vec![SIX, FOUR],
            Ok(address) if address.to_canonical().is_loopback() => vec![address],
            _ => Vec::new(),
        }
    }

    /// Connects. Names are looked up by the system, but for `localhost`.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let own: Vec<SocketAddr> =
            self.own().into_iter().map(|address| SocketAddr::new(address, self.port)).collect();
        let stream = if own.is_empty() {
            TcpStream::connect((self.host.as_str(), self.port)).await?
        } else {
            TcpStream::connect(own.as_slice()).await?
        };
        // Requests are small and are waited for.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl FromStr for TcpAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::new("address", text, "a host and a port, as in 127.0.0.1:31080");
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or_else(invalid)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(six)) if six.split('%').next().is_some_and(|a| a.parse::<Ipv6Addr>().is_ok()) => six,
            Some(_) => return Err(invalid()),
            None => host,
        };
        // What the system could take for something else than one host.
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '[' | ']' | '@');
        let bare_six = host.contains(':') && !text.starts_with('[');
        if bare_six || host.contains(odd) {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_those_of_this_machine_are_known() {
        for (text, own) in [
            ("127.0.0.1:31080", true),
            ("localhost:31080", true),
            ("LOCALHOST.:31080", true),
            (":31080", true),
            ("0.0.0.0:31080", true),
            ("[::1]:31080", true),
            ("[::]:31080", true),
            ("[::ffff:127.0.0.1]:31080", true),
            ("127.9.9.9:1", true),
            ("192.168.0.2:31080", false),
            ("[fe80::1%lo0]:80", false),
            ("localhost.example.org:31080", false),
            ("node-1:31080", false),
        ] {
            let address: TcpAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_loopback(), own, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            "31080",
            "localhost:",
            "localhost:http",
            "localhost:+1",
            "localhost:0",
            "localhost:65536",
            "::1:31080",
            "[::1:31080",
            "[::1]31080",
            "[localhost]:31080",
            "a b:1",
            "http://localhost:1",
        ] {
            assert!(text.parse::<TcpAddress>().is_err(), "{text}");
        }
    }
}
