//! Where the API is, and who we are to it.

mod endpoint;
mod file;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::sign::Digest;

pub use endpoint::{Endpoint, InvalidEndpoint, Protocol};
pub use file::{ConfigError, Loaded, Warning};

/// How to reach the API, and with which credentials.
///
/// It comes from the file that the vendor's SDK reads ([`Config::load`]), or from [`Config::with_key`] and
/// [`Config::with_instance_role`]. Its `Debug` never shows a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What requests are signed with.
    pub credentials: Credentials,
    /// Where the API is.
    pub endpoint: Endpoint,
    /// The zone that every call is about, such as `pek3a`. The API needs one.
    pub zone: String,
    /// How often a connection that could not be made is tried again, a second apart. Nothing was sent then,
    /// so this is safe for every call. All other retries are the business of [`hostnic_core::layer::Retry`].
    pub connection_retries: u32,
    /// How long making a connection may take, TLS included.
    pub connection_timeout: Duration,
    /// How long one request may take, from the connection to the last byte of its answer.
    pub call_timeout: Duration,
    /// How long one operation may take: all its pages, looks and repetitions together.
    pub operation_timeout: Duration,
    /// A file of certificate authorities (PEM) that are trusted as well as the system's.
    pub ca_file: Option<PathBuf>,
    /// The hash of the signatures.
    pub digest: Digest,
    /// How much the vendor's SDK would log. Nothing here obeys it: it is for whoever sets up logging.
    pub log_level: LogLevel,
}

impl Config {
    /// The public API with an access key, in `zone`.
    pub fn with_key(
        access_key_id: impl Into<String>,
        secret: impl Into<SecretString>,
        zone: impl Into<String>,
    ) -> Self {
        let key = Credentials::Key { access_key_id: access_key_id.into(), secret: secret.into() };
        Self::with(key, zone.into())
    }

    /// The public API with the credentials that the role of this instance gives, in `zone`.
    pub fn with_instance_role(zone: impl Into<String>) -> Self {
        Self::with(Credentials::InstanceRole(Endpoint::credential_proxy()), zone.into())
    }

    fn with(credentials: Credentials, zone: String) -> Self {
        Self {
            credentials,
            endpoint: Endpoint::default(),
            zone,
            connection_retries: 3,
            connection_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(120),
            ca_file: None,
            digest: Digest::default(),
            log_level: LogLevel::default(),
        }
    }
}

/// What requests are signed with.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// An access key.
    Key {
        /// Its id, which is not secret.
        access_key_id: String,
        /// Its secret.
        secret: SecretString,
    },
    /// Keys that the metadata service hands out to an instance with a role, and that are renewed in time.
    InstanceRole(Endpoint),
}

/// The levels of the vendor's SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// `debug`.
    Debug,
    /// `info`.
    Info,
    /// `warn`.
    #[default]
    Warn,
    /// `error`.
    Error,
    /// `fatal`.
    Fatal,
}

impl LogLevel {
    const ALL: [(&'static str, Self); 5] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("fatal", Self::Fatal),
    ];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, level)| level)
    }
}
