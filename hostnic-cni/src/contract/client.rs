//! The asking side.

use std::io;
use std::path::Path;
use std::time::Duration;

use hostnic_core::id::InvalidValue;
use tonic::codegen::http::Uri;
use tonic::{Code as Status, Response};

use crate::error::CniError;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::reply::{Cleaned, Freed, Interface, NodeStatus};
use super::request::{Add, Check, Del, Gc};
use super::v1;
use super::v1::control_client::ControlClient;
use super::v1::node_client::NodeClient;
use super::wire::millis;

/// A connection to the daemon of this node.
///
/// The calls have no deadline of their own; the caller sets one by dropping the future. That, and dropping the client,
/// tells the daemon that nobody waits for the answer any more; an ADD is then called off and undone.
#[derive(Debug)]
pub struct Client {
    node: NodeClient<Connection>,
    control: ControlClient<Connection>,
}

/// Why a call to the daemon gave no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody accepts connections.
    #[error("the hostnic daemon cannot be reached at {endpoint}; start it with `hostnic-daemon start`")]
    Unreachable {
        /// The socket or the address that was tried.
        endpoint: Endpoint,
        /// Why it failed.
        source: io::Error,
    },
    /// The daemon is of a release that does not know the call.
    #[error("the hostnic daemon does not know this call; it is of another release: upgrade it")]
    UnknownCall,
    /// The connection broke, or the daemon was too busy; whether the call was carried out is not known.
    #[error("the hostnic daemon did not answer: {0}")]
    Interrupted(String),
    /// The daemon's answer breaks the contract.
    #[error("the hostnic daemon's answer cannot be used")]
    Malformed(#[source] InvalidValue),
    /// The daemon says why it did not do what was asked.
    #[error(transparent)]
    Refused(CniError),
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            Status::Unimplemented => Self::UnknownCall,
            code if status.message().is_empty() => Self::Interrupted(code.to_string()),
            _ => Self::Interrupted(status.message().to_owned()),
        }
    }
}

impl From<InvalidValue> for CallError {
    fn from(error: InvalidValue) -> Self {
        Self::Malformed(error)
    }
}

impl From<v1::Failure> for CallError {
    fn from(failure: v1::Failure) -> Self {
        Self::Refused(failure.into())
    }
}

fn no_outcome() -> CallError {
    InvalidValue::new("outcome", "", "present").into()
}

impl Client {
    /// Connects to the daemon that listens on `socket`, within half a second.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub async fn connect(socket: &Path) -> Result<Self, CallError> {
        Self::connect_to(&Endpoint::Socket(socket.to_owned())).await
    }

    /// Connects to the daemon that listens on `endpoint`, within half a second.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub async fn connect_to(endpoint: &Endpoint) -> Result<Self, CallError> {
        let connection = Connection::open(endpoint).await?;
        // The name stands in each request as HTTP demands; nobody looks at it.
        let name = Uri::from_static("http://hostnic");
        Ok(Self {
            control: ControlClient::with_origin(connection.clone(), name.clone()),
            node: NodeClient::with_origin(connection, name),
        })
    }

    /// Gives a container an interface.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the daemon's reason; the others when there was no usable answer.
    pub async fn add(&mut self, add: &Add) -> Result<Interface, CallError> {
        use v1::add_reply::Outcome;
        match self.node.add(v1::AddRequest::from(add)).await.map(Response::into_inner)?.outcome {
            Some(Outcome::Interface(interface)) => Ok(interface.try_into()?),
            Some(Outcome::Failure(failure)) => Err(failure.into()),
            None => Err(no_outcome()),
        }
    }

    /// Takes a container's interface back.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn del(&mut self, del: &Del) -> Result<(), CallError> {
        let reply = self.node.del(v1::DelRequest::from(del)).await?.into_inner();
        reply.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// The attachment on record, when the kernel agrees with it.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn check(&mut self, check: &Check) -> Result<Interface, CallError> {
        use v1::check_reply::Outcome;
        match self.node.check(v1::CheckRequest::from(check)).await.map(Response::into_inner)?.outcome {
            Some(Outcome::Interface(interface)) => Ok(interface.try_into()?),
            Some(Outcome::Failure(failure)) => Err(failure.into()),
            None => Err(no_outcome()),
        }
    }

    /// Frees the attachments of a network that are not listed.
    ///
    /// # Errors
    /// As [`Client::add`]; what could not be freed is in the answer.
    pub async fn gc(&mut self, gc: &Gc) -> Result<Freed, CallError> {
        Ok(self.node.gc(v1::GcRequest::from(gc)).await?.into_inner().into())
    }

    /// How the node is.
    ///
    /// # Errors
    /// As [`Client::add`]; that the node is not ready is an answer.
    pub async fn status(&mut self) -> Result<NodeStatus, CallError> {
        Ok(self.node.status(v1::StatusRequest {}).await?.into_inner().into())
    }

    /// The NICs of the node.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn nics(&mut self) -> Result<Vec<v1::Nic>, CallError> {
        use v1::list_nics_reply::Outcome;
        match self.node.list_nics(v1::ListNicsRequest {}).await?.into_inner().outcome {
            Some(Outcome::Nics(list)) => Ok(list.nics),
            Some(Outcome::Failure(failure)) => Err(failure.into()),
            None => Err(no_outcome()),
        }
    }

    /// The attachments of the node.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn pods(&mut self) -> Result<Vec<v1::PodAttachment>, CallError> {
        use v1::list_pods_reply::Outcome;
        match self.node.list_pods(v1::ListPodsRequest {}).await?.into_inner().outcome {
            Some(Outcome::Pods(list)) => Ok(list.pods),
            Some(Outcome::Failure(failure)) => Err(failure.into()),
            None => Err(no_outcome()),
        }
    }

    /// Has the NICs given back that no pod has, and waits until they are gone, at most `patience`.
    ///
    /// # Errors
    /// As [`Client::add`]; over TCP it is always refused.
    pub async fn clean(&mut self, patience: Duration) -> Result<Cleaned, CallError> {
        use v1::clean_reply::Outcome;
        let request = v1::CleanRequest { deadline_ms: millis(patience) };
        match self.control.clean(request).await?.into_inner().outcome {
            Some(Outcome::Cleaned(cleaned)) => Ok(cleaned.into()),
            Some(Outcome::Failure(failure)) => Err(failure.into()),
            None => Err(no_outcome()),
        }
    }

    /// Has the daemon end in good order. It is still there when this returns.
    ///
    /// # Errors
    /// As [`Client::clean`].
    pub async fn shutdown(&mut self) -> Result<(), CallError> {
        let reply = self.control.shutdown(v1::ShutdownRequest {}).await?.into_inner();
        reply.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// The daemon's release.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn version(&mut self) -> Result<String, CallError> {
        Ok(self.node.version(v1::VersionRequest {}).await?.into_inner().daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_know_a_call_is_told_from_one_that_went_away() {
        assert!(matches!(CallError::from(tonic::Status::unimplemented("")), CallError::UnknownCall));
        let gone = CallError::from(tonic::Status::unavailable("connection reset"));
        assert_eq!(gone.to_string(), "the hostnic daemon did not answer: connection reset");
    }
}
