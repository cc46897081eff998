//! Who the webhooks are, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::account::Accounts;

/// How API servers reach the webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// By a Service in the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port, which need not be the one that is listened at.
        port: u16,
    },
    /// Without one: for a controller that runs beside the cluster.
    Address {
        /// A name or an address.
        host: String,
        /// The port that is listened at.
        port: u16,
    },
}

impl Endpoint {
    /// Whose certificate API servers expect.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Service { namespace, name, .. } => {
                vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
            }
            Self::Address { host, .. } => vec![host.clone()],
        }
    }
}

/// What time it is. Tests set it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The time as `now` tells it. It may be set back.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    /// The machine's.
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// All that [`Admission`](super::Admission) needs to know.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// How API servers reach the webhooks.
    pub endpoint: Endpoint,
    /// The namespace of the Secret `hostnic-admission`, in which replicas share the certificate.
    pub namespace: String,
    /// Whose changes are never refused.
    pub accounts: Accounts,
    /// How long a certificate is valid. Its successor is in its place before two thirds of that are over.
    pub life: Duration,
    /// How often everything is compared. It is also how long API servers may take to hear of a change.
    pub period: Duration,
    /// What time it is.
    pub clock: Clock,
}

impl AdmissionSettings {
    /// With certificates for 90 days, compared every 30 s.
    pub fn new(endpoint: Endpoint, namespace: impl Into<String>, accounts: Accounts) -> Self {
        let life = Duration::from_secs(90 * 24 * 3600);
        let (namespace, period) = (namespace.into(), Duration::from_secs(30));
        Self { endpoint, namespace, accounts, life, period, clock: Clock::default() }
    }
}
