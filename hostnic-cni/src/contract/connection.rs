//! One HTTP/2 connection over a unix socket.
//!
//! Tonic's own channel reconnects, balances and buffers, which a process with one call to make does not need.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::client::CallError;

/// How long a daemon may take to accept a connection. It accepts within microseconds or not at all.
const CONNECT: Duration = Duration::from_millis(500);

/// An open connection. Dropping it closes it, which tells the daemon that nobody waits for its answer.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects within half a second.
    pub(super) async fn open(socket: &Path) -> Result<Self, CallError> {
        let unreachable =
            |source: std::io::Error| CallError::Unreachable { socket: socket.to_owned(), source };
        let open = async {
            let stream = UnixStream::connect(socket).await?;
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(std::io::Error::other)
        };
        let (requests, connection) = tokio::time::timeout(CONNECT, open)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(unreachable)?;
        // How the connection ended is told to each of its requests.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { requests, driver })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
