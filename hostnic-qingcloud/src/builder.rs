//! From a configuration to a provider.

use std::sync::Arc;

use crate::client::{Client, RequestRecorder};
use crate::clock::{SystemTimeOfDay, WallClock};
use crate::config::Config;
use crate::instance_id::{InstanceIdError, InstanceSource};
use crate::provider::QingCloudProvider;
use crate::transport::Transport;

/// Makes a [`QingCloudProvider`], or a [`Client`] where no instance is involved.
///
/// ```no_run
/// use hostnic_core::NicProvider;
/// use hostnic_qingcloud::{Config, QingCloud};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let loaded = Config::load_default(std::env::home_dir().as_deref())?;
/// for warning in &loaded.warnings {
///     eprintln!("{warning}");
/// }
/// let provider = QingCloud::from_config(loaded.config).connect().await?;
/// let instance = provider.instance().await?;
/// println!("{} takes {} NICs", instance.id, instance.nic_limit);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct QingCloud {
    config: Config,
    instance: InstanceSource,
    transport: Option<Arc<dyn Transport>>,
    recorder: Option<Arc<dyn RequestRecorder>>,
    clock: Arc<dyn WallClock>,
}

impl QingCloud {
    /// Begins with a configuration, the id in `/etc/qingcloud/instance-id`, and real time.
    pub fn from_config(config: Config) -> Self {
        Self {
            config,
            instance: InstanceSource::system_file(),
            transport: None,
            recorder: None,
            clock: Arc::new(SystemTimeOfDay),
        }
    }

    /// Which instance this is.
    pub fn instance(self, instance: InstanceSource) -> Self {
        Self { instance, ..self }
    }

    /// How requests are sent, in place of HTTP by reqwest.
    pub fn transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// Who is told of each request; nobody otherwise.
    pub fn recorder(self, recorder: Arc<dyn RequestRecorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// What time signatures bear, in place of the machine's own.
    pub fn clock(self, clock: Arc<dyn WallClock>) -> Self {
        Self { clock, ..self }
    }

    /// The API without an instance. Makes no call.
    ///
    /// # Errors
    /// [`ConnectError`] where the configuration cannot be used.
    pub fn client(&self) -> Result<Client, ConnectError> {
        let transport = self.make_transport()?;
        self.client_on(transport)
    }

    /// The provider of the instance that this is. Calls nothing but, where so configured, the metadata
    /// service.
    ///
    /// # Errors
    /// [`ConnectError`] where the configuration cannot be used, and where it is not known which instance this
    /// is.
    pub async fn connect(self) -> Result<QingCloudProvider, ConnectError> {
        let transport = self.make_transport()?;
        let client = self.client_on(Arc::clone(&transport))?;
        let instance = self.instance.find(&*transport).await?;
        Ok(QingCloudProvider::new(Arc::new(client), instance))
    }

    fn client_on(&self, transport: Arc<dyn Transport>) -> Result<Client, ConnectError> {
        if self.config.zone.is_empty() {
            return Err(ConnectError::NoZone);
        }
        let client = Client::new(&self.config, transport, Arc::clone(&self.clock));
        Ok(client.recorded(self.recorder.clone()))
    }

    fn make_transport(&self) -> Result<Arc<dyn Transport>, ConnectError> {
        match &self.transport {
            Some(transport) => Ok(Arc::clone(transport)),
            None => of_config(&self.config),
        }
    }
}

#[cfg(feature = "http")]
fn of_config(config: &Config) -> Result<Arc<dyn Transport>, ConnectError> {
    use crate::config::Protocol;
    use crate::transport::{HttpTransport, TransportSetup};

    if cfg!(not(feature = "tls")) && config.endpoint.protocol() == Protocol::Https {
        return Err(ConnectError::NoTls);
    }
    let setup =
        TransportSetup { connect_timeout: config.connection_timeout, ca_file: config.ca_file.clone() };
    Ok(Arc::new(HttpTransport::new(&setup)?))
}

#[cfg(not(feature = "http"))]
fn of_config(_: &Config) -> Result<Arc<dyn Transport>, ConnectError> {
    Err(ConnectError::NoTransport)
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The zone is missing.
    #[error("no zone is configured; set `zone`, such as pek3a")]
    NoZone,
    /// The program was built without TLS.
    #[error("the API is to be reached by https, but this program was built without the feature `tls`")]
    NoTls,
    /// The program was built without a transport.
    #[error("this program was built without the feature `http` and gives no transport of its own")]
    NoTransport,
    /// The transport could not be made.
    #[cfg(feature = "http")]
    #[error("the connection to the API cannot be set up")]
    Transport(#[from] crate::transport::TransportSetupError),
    /// It is not known which instance this is.
    #[error("it is not known which instance this is")]
    Instance(#[from] InstanceIdError),
}
