//! The configuration file of the vendor's SDK.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Config, Credentials, Endpoint, LogLevel, Protocol};

/// Where a file is looked for when none is named; the first that is there is read.
const SYSTEM: &str = "/etc/qingcloud/client.yaml";
const OF_USER: &str = ".qingcloud/config.yaml";

/// A configuration, and what a person should hear about the file that it came from.
#[derive(Debug)]
#[must_use]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file; `None` where the text came from elsewhere.
    pub file: Option<PathBuf>,
    /// What is odd about the file, but does not stop us.
    pub warnings: Vec<Warning>,
}

/// Something odd about a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A key that means nothing to us.
    #[error("the key {0:?} is not known and has no effect")]
    UnknownKey(String),
    /// Others may read the secret.
    #[error("{path} holds a secret and can be read by others (mode {mode:03o}); run: chmod 600 {path}", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why there is no configuration. Never shows a value of the file, as it may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no file to read.
    #[error("there is no configuration: none of {} exists; write the access key there", listed(.0))]
    NotFound(Vec<PathBuf>),
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not YAML, or not a list of keys with plain values.
    #[error("line {line}, column {column}: this is not YAML of the form `key: value`")]
    Syntax {
        /// The line, from 1; 0 where it is not known.
        line: u64,
        /// The column, from 1; 0 where it is not known.
        column: u64,
    },
    /// A value that its key cannot have.
    #[error("the value of {key} is not valid: it must be {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// What the value must be.
        rule: &'static str,
    },
    /// One half of an access key.
    #[error("{present} is set and {missing} is not: set both, or neither to use the instance's role")]
    HalfKey {
        /// The key that is set.
        present: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// The text of the documentation, which was not filled in.
    #[error("the value of {key} is a placeholder of the documentation: write your own in its place")]
    Placeholder {
        /// The key.
        key: &'static str,
    },
    /// Something is wrong in this file.
    #[error("{} is not valid", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Config {
    /// Reads the file at `path`; a leading `~/` is `home`.
    ///
    /// Unlike the vendor's SDK this never creates a file. Keys that nobody knows are warned of. With neither
    /// `qy_access_key_id` nor `qy_secret_access_key` the credentials are those of the instance's role.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be read or understood.
    pub fn load(path: &Path, home: Option<&Path>) -> Result<Loaded, ConfigError> {
        let path = match (path.strip_prefix("~"), home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let mut loaded = Self::parse(&text)
            .map_err(|source| ConfigError::Invalid { path: path.clone(), source: Box::new(source) })?;
        loaded.warnings.extend(exposed(&path, &loaded.config));
        loaded.file = Some(path);
        Ok(loaded)
    }

    /// Reads `/etc/qingcloud/client.yaml`, or where that does not exist `~/.qingcloud/config.yaml`.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] where neither exists; as [`Config::load`] otherwise.
    pub fn load_default(home: Option<&Path>) -> Result<Loaded, ConfigError> {
        let mut places = vec![PathBuf::from(SYSTEM)];
        places.extend(home.map(|home| home.join(OF_USER)));
        match places.iter().find(|place| place.exists()) {
            Some(place) => Self::load(place, home),
            None => Err(ConfigError::NotFound(places)),
        }
    }

    /// Reads the text of such a file.
    ///
    /// ```
    /// use hostnic_qingcloud::{Config, Warning};
    ///
    /// let loaded = Config::parse("qy_access_key_id: K\nqy_secret_access_key: S\nzone: pek3a\ncolour: red\n")?;
    /// assert_eq!(loaded.config.zone, "pek3a");
    /// assert_eq!(loaded.warnings, [Warning::UnknownKey("colour".into())]);
    /// # Ok::<_, hostnic_qingcloud::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be understood.
    pub fn parse(text: &str) -> Result<Loaded, ConfigError> {
        let keys = Keys::parse(text)?;
        let mut config = Self::with(keys.credentials()?, keys.zone.clone().unwrap_or_default());
        config.endpoint = keys.endpoint()?;
        if let Some(retries) = &keys.connection_retries {
            config.connection_retries = number("connection_retries", retries)?;
        }
        if let Some(seconds) = keys.connection_timeout.as_deref() {
            match number("connection_timeout", seconds)? {
                0 => {}
                seconds => config.connection_timeout = Duration::from_secs(seconds),
            }
        }
        if let Some(level) = &keys.log_level {
            let rule = "debug, info, warn, error or fatal";
            config.log_level =
                LogLevel::from_name(level).ok_or(ConfigError::Value { key: "log_level", rule })?;
        }
        config.ca_file = keys.ca_file.map(PathBuf::from);
        let warnings = keys.unknown.into_iter().map(Warning::UnknownKey).collect();
        Ok(Loaded { config, file: None, warnings })
    }
}

/// The warning that others can read the secret in a file.
fn exposed(path: &Path, config: &Config) -> Option<Warning> {
    use std::os::unix::fs::PermissionsExt;

    let Credentials::Key { .. } = config.credentials else { return None };
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| Warning::Exposed { path: path.to_owned(), mode })
}

/// The keys of the file, as text. What is empty counts as not there.
#[derive(Default)]
struct Keys {
    access_key_id: Option<String>,
    secret: Option<SecretString>,
    host: Option<String>,
    port: Option<String>,
    protocol: Option<String>,
    uri: Option<String>,
    connection_retries: Option<String>,
    connection_timeout: Option<String>,
    log_level: Option<String>,
    zone: Option<String>,
    proxy_protocol: Option<String>,
    proxy_host: Option<String>,
    proxy_port: Option<String>,
    proxy_uri: Option<String>,
    ca_file: Option<String>,
    unknown: Vec<String>,
}

impl Keys {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            // The parser's own words may quote a value.
            let location = error.location();
            ConfigError::Syntax {
                line: location.map_or(0, |place| place.line()),
                column: location.map_or(0, |place| place.column()),
            }
        })
    }

    /// The place of a key's value.
    fn slot(&mut self, key: &str) -> Option<&mut Option<String>> {
        Some(match key {
            "qy_access_key_id" => &mut self.access_key_id,
            "host" => &mut self.host,
            "port" => &mut self.port,
            "protocol" => &mut self.protocol,
            "uri" => &mut self.uri,
            "connection_retries" => &mut self.connection_retries,
            "connection_timeout" => &mut self.connection_timeout,
            "log_level" => &mut self.log_level,
            "zone" => &mut self.zone,
            "credential_proxy_protocol" => &mut self.proxy_protocol,
            "credential_proxy_host" => &mut self.proxy_host,
            "credential_proxy_port" => &mut self.proxy_port,
            "credential_proxy_uri" => &mut self.proxy_uri,
            "ca_file" => &mut self.ca_file,
            _ => return None,
        })
    }

    fn credentials(&self) -> Result<Credentials, ConfigError> {
        const ID: &str = "qy_access_key_id";
        const SECRET: &str = "qy_secret_access_key";
        match (&self.access_key_id, &self.secret) {
            (Some(id), _) if is_placeholder(id) => Err(ConfigError::Placeholder { key: ID }),
            (_, Some(secret)) if is_placeholder(secret.expose_secret()) => {
                Err(ConfigError::Placeholder { key: SECRET })
            }
            (Some(id), Some(secret)) => {
                Ok(Credentials::Key { access_key_id: id.clone(), secret: secret.clone() })
            }
            (None, None) => Ok(Credentials::InstanceRole(self.credential_proxy()?)),
            (Some(_), None) => Err(ConfigError::HalfKey { present: ID, missing: SECRET }),
            (None, Some(_)) => Err(ConfigError::HalfKey { present: SECRET, missing: ID }),
        }
    }

    fn endpoint(&self) -> Result<Endpoint, ConfigError> {
        let names = ["protocol", "host", "port", "uri"];
        endpoint(names, [&self.protocol, &self.host, &self.port, &self.uri], &Endpoint::default())
    }

    fn credential_proxy(&self) -> Result<Endpoint, ConfigError> {
        let names = [
            "credential_proxy_protocol",
            "credential_proxy_host",
            "credential_proxy_port",
            "credential_proxy_uri",
        ];
        let values = [&self.proxy_protocol, &self.proxy_host, &self.proxy_port, &self.proxy_uri];
        endpoint(names, values, &Endpoint::credential_proxy())
    }
}

/// Whether a value is what the documents of the earlier programs have in its place.
fn is_placeholder(value: &str) -> bool {
    ["your access key id", "your secret access key"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

/// An endpoint of which only what differs from `default` is written.
fn endpoint(
    names: [&'static str; 4],
    [protocol, host, port, path]: [&Option<String>; 4],
    default: &Endpoint,
) -> Result<Endpoint, ConfigError> {
    let [protocol_key, host_key, port_key, _] = names;
    let read_protocol = match protocol {
        Some(name) => Protocol::from_str(name)
            .map_err(|_| ConfigError::Value { key: protocol_key, rule: "http or https" })?,
        None => default.protocol(),
    };
    let port = match port.as_deref().map(|port| number(port_key, port)).transpose()? {
        None | Some(0) if protocol.is_some() && read_protocol != default.protocol() => {
            read_protocol.default_port()
        }
        None | Some(0) => default.port(),
        Some(port) => port,
    };
    let host = host.as_deref().unwrap_or(default.host());
    let path = path.as_deref().unwrap_or(default.path());
    Endpoint::new(read_protocol, host, port, path).map_err(|_| ConfigError::Value {
        key: host_key,
        rule: "a host name or address, and its uri a path without query",
    })
}

fn number<T: FromStr>(key: &'static str, value: &str) -> Result<T, ConfigError> {
    value.trim().parse().map_err(|_| ConfigError::Value { key, rule: "a whole number that is not too large" })
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys with plain values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = map.next_key::<String>()? {
            let filled = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
            if key == "qy_secret_access_key" {
                keys.secret = filled(map.next_value()?).map(|value| value.trim().into());
            } else if let Some(slot) = keys.slot(&key) {
                *slot = filled(map.next_value()?).map(|value| value.trim().to_owned());
            } else {
                let _: IgnoredAny = map.next_value()?;
                keys.unknown.push(key);
            }
        }
        Ok(keys)
    }
}
