//! Which instance this machine is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hostnic_core::id::{InstanceId, InvalidValue};

use crate::config::Endpoint;
use crate::sign::Method;
use crate::transport::{HttpRequest, Transport, TransportError};

/// Where every instance finds its own id.
const FILE: &str = "/etc/qingcloud/instance-id";

/// How long the metadata service, which is on the same host, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the instance's id comes from.
#[derive(Debug, Clone)]
pub enum InstanceSource {
    /// It is given.
    Given(InstanceId),
    /// It stands in a file; white space around it does not count.
    File(PathBuf),
    /// The metadata service tells it, as plain text.
    Metadata(Endpoint),
}

impl InstanceSource {
    /// The file that the cloud puts into every instance.
    pub fn system_file() -> Self {
        Self::File(FILE.into())
    }

    /// The metadata service at its usual address.
    ///
    /// The path `/latest/meta-data/instance-id` is that of other clouds; no documentation of this one has it.
    /// The file is what its own tools read.
    pub fn metadata() -> Self {
        Self::Metadata(Endpoint::credential_proxy().with_path("/latest/meta-data/instance-id"))
    }

    pub(crate) async fn find(&self, transport: &dyn Transport) -> Result<InstanceId, InstanceIdError> {
        let text = match self {
            Self::Given(id) => return Ok(id.clone()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                text.map_err(|source| InstanceIdError::File { path: path.clone(), source })?
            }
            Self::Metadata(endpoint) => ask(transport, endpoint).await?,
        };
        Ok(InstanceId::new(text.trim())?)
    }
}

async fn ask(transport: &dyn Transport, endpoint: &Endpoint) -> Result<String, InstanceIdError> {
    let request = HttpRequest { method: Method::Get, endpoint: endpoint.clone(), parameters: String::new() };
    let response = tokio::time::timeout(PATIENCE, transport.send(request)).await;
    let response = response.map_err(|_| InstanceIdError::Late)??;
    match response.status {
        200 => Ok(String::from_utf8_lossy(&response.body).into_owned()),
        status => Err(InstanceIdError::Status(status)),
    }
}

/// Why it is not known which instance this is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceIdError {
    /// The file cannot be read.
    #[error("cannot read the instance's id from {}; give it in the configuration where this is no instance of the cloud", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The metadata service cannot be asked.
    #[error("the metadata service cannot be asked for the instance's id")]
    Unreachable(#[from] TransportError),
    /// The metadata service does not answer.
    #[error("the metadata service did not tell the instance's id within {PATIENCE:?}")]
    Late,
    /// The metadata service does not know.
    #[error("the metadata service answers with HTTP status {0} to the question for the instance's id")]
    Status(u16),
    /// What was found is no id.
    #[error("what was found is not an instance's id")]
    Invalid(#[from] InvalidValue),
}
