//! Where the simulator listens.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// Where to listen: at an address, and at more of the same port.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) first: SocketAddr,
    pub(super) more: Vec<IpAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) address: SocketAddr,
    pub(super) source: io::Error,
}

impl Addresses {
    /// All of them, or none.
    pub(super) async fn bind(&self) -> Result<Vec<TcpListener>, Refused> {
        let first = bind(self.first).await?;
        let port = first.local_addr().map_or(self.first.port(), |address| address.port());
        let mut listeners = vec![first];
        for ip in &self.more {
            listeners.push(bind(SocketAddr::new(*ip, port)).await?);
        }
        Ok(listeners)
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Refused> {
    TcpListener::bind(address).await.map_err(|source| Refused { address, source })
}

/// The next connection; never one where nobody listens.
pub(super) async fn accept(listeners: &[TcpListener]) -> TcpStream {
    loop {
        let next = poll_fn(|context| {
            let mut asked = listeners.iter().map(|listener| listener.poll_accept(context));
            asked.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        match next.await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "the simulator could not accept a connection");
                // Descriptors may run out for a while.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
