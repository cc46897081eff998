//! What the API server answers, in the words of hostnic-core.

use std::fmt::Display;

use hostnic_core::error::{Error, ErrorKind};
use std::path::PathBuf;

/// Why there is no way to speak to a cluster at all. That the API server does not answer is no such reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// This is no pod, or it has no service account.
    #[error(
        "no access to the cluster from within it: outside of a pod name a kubeconfig; in a pod, the service account must be mounted"
    )]
    InCluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file does not say how to reach a cluster.
    #[error("the kubeconfig {} cannot be used: correct it, or name another one", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificates or keys that no connection can be made with.
    #[error(
        "the certificates and keys for the API server cannot be used: look at the kubeconfig or the service account"
    )]
    Credentials(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A request that had no answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", after.as_secs_f32())]
pub(crate) struct NoAnswer {
    pub(crate) after: std::time::Duration,
}

/// What a failed request means for whoever made it. `operation` and `subject` are as in [`Error::new`].
pub(crate) fn api_error(operation: &'static str, subject: impl Display, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => {
            let kind = kind_of(status.code);
            let message =
                if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
            let hint = if kind == ErrorKind::Unauthorised {
                "; look at the ClusterRole and the Role of the daemon's service account"
            } else {
                ""
            };
            Error::new(kind, operation, subject)
                .detail(format_args!("the API server says ({}): {message}{hint}", status.code))
        }
        kube::Error::SerdeError(source) => Error::new(ErrorKind::Internal, operation, subject)
            .detail("the API server's answer cannot be read")
            .source(source),
        kube::Error::Auth(source) => Error::new(ErrorKind::Unauthorised, operation, subject)
            .detail("no credentials for the API server")
            .source(source),
        other => Error::new(ErrorKind::Transient, operation, subject)
            .detail("the API server cannot be asked; it is tried again")
            .source(Unreached::of(&other)),
    }
}

/// The first cause of an error, where those between that and what is seen repeat each other.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreached(String);

impl Unreached {
    pub(crate) fn of(mut error: &dyn std::error::Error) -> Self {
        while let Some(source) = error.source() {
            error = source;
        }
        Self(error.to_string())
    }
}

fn kind_of(code: u16) -> ErrorKind {
    match code {
        401 | 403 => ErrorKind::Unauthorised,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::Throttled { retry_after: None },
        400 | 422 => ErrorKind::Invalid,
        _ => ErrorKind::Transient,
    }
}

/// In one line, for a log: what the API server says, or why it says nothing.
pub(crate) fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server says ({}): {}", status.code, status.message),
        other => format!("the API server cannot be asked: {}", Unreached::of(other)),
    }
}
