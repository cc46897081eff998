//! One HTTP/2 connection, over a unix socket or TCP.
//!
//! Tonic's own channel reconnects, balances and buffers, which a process with one call to make does not need.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::client::CallError;
use super::endpoint::Endpoint;

/// How long a daemon may take to accept a connection. It accepts within microseconds or not at all.
const CONNECT: Duration = Duration::from_millis(500);

/// An open connection. Dropping it, and its copies, closes it, which tells the daemon that nobody waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    requests: SendRequest<Body>,
    _driver: Arc<Driver>,
}

/// What moves the bytes.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Connection {
    /// Connects within half a second.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, CallError> {
        let unreachable = |source: io::Error| CallError::Unreachable { endpoint: endpoint.clone(), source };
        let open = async {
            match endpoint {
                Endpoint::Socket(path) => Self::over(UnixStream::connect(path).await?).await,
                Endpoint::Tcp(address) => Self::over(address.connect().await?).await,
            }
        };
        tokio::time::timeout(CONNECT, open)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(unreachable)
    }

    async fn over<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: T) -> io::Result<Self> {
        let (requests, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // How the connection ended is told to each of its requests.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { requests, _driver: Arc::new(Driver(driver)) })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
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
