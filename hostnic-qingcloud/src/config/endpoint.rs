//! An address of HTTP: protocol, host, port and path.

use std::fmt;
use std::str::FromStr;

/// The protocols that the API is spoken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Without encryption: for a simulated cloud, or a proxy nearby.
    Http,
    /// With TLS.
    Https,
}

impl Protocol {
    /// The port where none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A part of an endpoint that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} {value:?} is not valid: it must be {rule}")]
pub struct InvalidEndpoint {
    part: &'static str,
    value: String,
    rule: &'static str,
}

impl FromStr for Protocol {
    type Err = InvalidEndpoint;

    fn from_str(value: &str) -> Result<Self, InvalidEndpoint> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|protocol| protocol.to_string() == value.to_ascii_lowercase())
            .ok_or_else(|| InvalidEndpoint {
                part: "protocol",
                value: value.to_owned(),
                rule: "http or https",
            })
    }
}

/// Where a service is. The path is sent, and signed, exactly as it stands here: `/iaas` and `/iaas/` both
/// work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    protocol: Protocol,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Checks and takes the parts. Repeated slashes of the path become one, and it gets one in front.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for an empty host, for port 0, and for a host or path that would change the
    /// meaning of an URL: white space, `?`, `#`, `@` and the like.
    pub fn new(
        protocol: Protocol,
        host: impl Into<String>,
        port: u16,
        path: &str,
    ) -> Result<Self, InvalidEndpoint> {
        let host = host.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(plain),
        };
        if !valid {
            let rule = "a host name, an IPv4 address, or an IPv6 address in brackets";
            return Err(InvalidEndpoint { part: "host", value: host, rule });
        }
        if port == 0 {
            return Err(InvalidEndpoint { part: "port", value: "0".to_owned(), rule: "1 to 65535" });
        }
        if !path.bytes().all(|b| plain(b) || matches!(b, b'/' | b'~')) {
            let rule = "letters, digits, '-', '_', '.', '~' and '/'";
            return Err(InvalidEndpoint { part: "path", value: path.to_owned(), rule });
        }
        Ok(Self { protocol, host, port, path: tidy(path) })
    }

    /// Reads `https://host[:port][/path]`. Without a path it is `/iaas`.
    ///
    /// # Errors
    /// As [`Endpoint::new`], and for anything but http and https.
    pub fn from_url(url: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |part, rule| InvalidEndpoint { part, value: url.to_owned(), rule };
        let (protocol, rest) =
            url.split_once("://").ok_or_else(|| invalid("URL", "http://… or https://…"))?;
        let protocol: Protocol = protocol.parse()?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/iaas"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| invalid("port of the URL", "1 to 65535"))?)
            }
            _ => (authority, protocol.default_port()),
        };
        Self::new(protocol, host, port, path)
    }

    /// Where the metadata service gives the credentials of the instance's role.
    pub fn credential_proxy() -> Self {
        Self {
            protocol: Protocol::Http,
            host: "169.254.169.254".to_owned(),
            port: 80,
            path: "/latest/meta-data/security-credentials".to_owned(),
        }
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, which begins with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same service under another path.
    pub(crate) fn with_path(&self, path: &str) -> Self {
        Self { path: tidy(path), ..self.clone() }
    }
}

impl Default for Endpoint {
    /// `https://api.qingcloud.com:443/iaas`, the public API.
    fn default() -> Self {
        Self {
            protocol: Protocol::Https,
            host: "api.qingcloud.com".to_owned(),
            port: 443,
            path: "/iaas".to_owned(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.protocol, self.host, self.port, self.path)
    }
}

/// One slash in front, none doubled, and one at the end where there was one.
fn tidy(path: &str) -> String {
    let mut tidy = String::from("/");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if !tidy.ends_with('/') {
            tidy.push('/');
        }
        tidy.push_str(part);
    }
    if path.ends_with('/') && !tidy.ends_with('/') {
        tidy.push('/');
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_last_slash_and_loses_doubled_ones() {
        for (given, kept) in
            [("/iaas", "/iaas"), ("iaas/", "/iaas/"), ("//a///b//", "/a/b/"), ("", "/"), ("/", "/")]
        {
            let endpoint = Endpoint::new(Protocol::Http, "localhost", 80, given).unwrap();
            assert_eq!(endpoint.path(), kept, "{given}");
        }
    }

    #[test]
    fn an_url_is_read_with_the_ports_and_the_path_that_the_sdk_assumes() {
        for (url, read) in [
            ("https://api.example.com", "https://api.example.com:443/iaas"),
            ("http://127.0.0.1:7777/iaas/", "http://127.0.0.1:7777/iaas/"),
            ("http://[::1]/iaas", "http://[::1]:80/iaas"),
            ("http://[::1]:8080", "http://[::1]:8080/iaas"),
        ] {
            assert_eq!(Endpoint::from_url(url).unwrap().to_string(), read);
        }
    }

    #[test]
    fn what_would_send_requests_elsewhere_is_refused() {
        for url in [
            "api.example.com",
            "ftp://a/",
            "http://",
            "http://user@host/",
            "http://a b/",
            "http://a:0/",
            "http://a:99999/",
            "http://a/iaas?x=1",
            "http://a/iaas#",
            "http://[::1/",
        ] {
            assert!(Endpoint::from_url(url).is_err(), "{url}");
        }
    }
}
