//! The manage address: metrics, health and what the node has, over HTTP, to be read and nothing else.
//!
//! The Go daemons took commands here from anybody. Commands are on the unix socket now, which only its owner opens;
//! whoever still asks for them here is told the command to use.

mod cluster_metrics;
mod http;
mod metrics;
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;

use hostnic_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::facts::Facts;
use crate::waiting::Reason;
pub(crate) use http::Answers;
use pages::Pages;
pub(crate) use pages::{Reply, healthy, readiness};

/// A listener on the manage address that nobody answers on yet.
#[derive(Debug)]
pub(crate) struct Bound {
    address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    /// Listens on `address`.
    ///
    /// # Errors
    /// `Conflict` when somebody else listens there, `Invalid` when the address is not this machine's or may not be used.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|e| not_bound(address, e))?;
        let address = listener.local_addr().map_err(|e| not_bound(address, e))?;
        Ok(Self { address, listener })
    }

    /// The same; where nobody needs it, what keeps it from listening is only said.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), where it is required.
    pub(crate) async fn bind_if(address: SocketAddr, required: bool) -> Result<Option<Self>> {
        match Self::bind(address).await {
            Ok(bound) => Ok(Some(bound)),
            Err(error) if required => Err(error),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "metrics and health are served nowhere");
                Ok(None)
            }
        }
    }

    /// Answers from `facts`.
    pub(crate) fn serve(self, facts: Facts) -> Manage {
        self.answer(Pages::new(facts))
    }

    /// Answers that the daemon is alive and waits, for this reason.
    pub(crate) fn wait(self, reason: Reason) -> Manage {
        self.answer(Pages::waiting(reason))
    }

    /// Answers what `pages` says.
    pub(crate) fn answer(self, pages: impl Answers) -> Manage {
        let task = tokio::spawn(http::serve(self.listener, Arc::new(pages)));
        Manage { address: self.address, task }
    }
}

/// The pages, served. The listener and its connections end with this.
#[derive(Debug)]
pub(crate) struct Manage {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Manage {
    /// Where it listens: the port is the one that was found where 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits until nobody listens there any more.
    pub(crate) async fn end(mut self) {
        self.task.abort();
        // It has just been told to end.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Manage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn not_bound(address: SocketAddr, error: std::io::Error) -> Error {
    let failed = |kind| Error::new(kind, "serve metrics and health on", address);
    let error_of = match error.kind() {
        std::io::ErrorKind::AddrInUse => failed(ErrorKind::Conflict)
            .detail("another program listens there; stop it, or choose another address with --manage-addr"),
        _ => failed(ErrorKind::Invalid)
            .detail("the address cannot be listened on; choose one of this machine's with --manage-addr"),
    };
    error_of.source(error)
}
