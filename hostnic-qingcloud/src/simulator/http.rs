//! HTTP/1.1, and how it can break: a listener that can be taken away, connections that are reset, answers that end early.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// What came in.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: String,
}

/// What goes out.
#[derive(Debug)]
pub(super) enum Reply {
    Whole {
        status: u16,
        content_type: &'static str,
        body: Vec<u8>,
    },
    /// JSON that ends in the middle.
    Cut(Vec<u8>),
    /// No answer, and the connection is reset.
    Reset,
}

/// Answers requests.
pub(super) trait Responder: Send + Sync + 'static {
    fn respond(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// Listeners and their connections. They end with it.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

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
    async fn bind(&self) -> Result<Vec<TcpListener>, Refused> {
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

#[derive(Debug)]
struct Command {
    listen: bool,
    done: oneshot::Sender<Result<(), Refused>>,
}

impl Server {
    pub(super) async fn start(
        mut addresses: Addresses,
        responder: Arc<impl Responder>,
    ) -> Result<Self, Refused> {
        let listeners = addresses.bind().await?;
        // When it listens again it is at the same port.
        if let Some(Ok(bound)) = listeners.first().map(TcpListener::local_addr) {
            addresses.first = bound;
        }
        let address = addresses.first;
        let (commands, inbox) = mpsc::channel(1);
        let task = tokio::spawn(serve(listeners, addresses, inbox, responder));
        Ok(Self { address, commands, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the listeners and all connections away, or listens again at the same addresses.
    pub(super) async fn listen(&self, listen: bool) -> Result<(), Refused> {
        let (done, answer) = oneshot::channel();
        let over = || Refused { address: self.address, source: io::Error::other("the server has ended") };
        self.commands.send(Command { listen, done }).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut listeners: Vec<TcpListener>,
    addresses: Addresses,
    mut inbox: mpsc::Receiver<Command>,
    responder: Arc<impl Responder>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(&listeners) => {
                connections.spawn(connection(stream, Arc::clone(&responder)));
            }
            Some(_) = connections.join_next() => {}
            command = inbox.recv() => {
                let Some(Command { listen, done }) = command else { return };
                let result = if listen && listeners.is_empty() {
                    addresses.bind().await.map(|again| listeners = again)
                } else {
                    if !listen {
                        listeners.clear();
                        connections.shutdown().await;
                    }
                    Ok(())
                };
                // Nobody listens any more when the caller was dropped.
                let _ = done.send(result);
            }
        }
    }
}

/// The next connection; never one where nobody listens.
async fn accept(listeners: &[TcpListener]) -> TcpStream {
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
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, responder: Arc<impl Responder>) {
    // Answers are small and are waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let responder = Arc::clone(&responder);
        Box::pin(async move { answer(request, &*responder).await })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    let broken = |error: &hyper::Error| error.source().is_some_and(|source| source.is::<Broken>());
    if ended.is_err_and(|error| broken(&error)) && stream.set_zero_linger().is_err() {
        tracing::warn!("a connection that was to be reset is closed instead");
    }
}

/// Why a connection ends that the simulator breaks.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulator breaks this connection")
    }
}

impl StdError for Broken {}

async fn answer(
    request: hyper::Request<Incoming>,
    responder: &impl Responder,
) -> Result<Response<Payload>, Broken> {
    /// More than any form of the API.
    const MOST: usize = 1 << 20;
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(|_| Broken)?.to_bytes();
    let request = Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let (status, content_type, body, cut) = match responder.respond(request).await {
        Reply::Whole { status, content_type, body } => (status, content_type, body, false),
        Reply::Cut(body) => (200, "application/json", body, true),
        Reply::Reset => return Err(Broken),
    };
    let length = body.len();
    let mut response = Response::new(Payload::new(body, cut));
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Broken)?;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// A body that is sent whole, or half and then no further.
#[derive(Debug)]
struct Payload {
    data: Option<Bytes>,
    length: usize,
    cut: bool,
    flushed: bool,
}

impl Payload {
    fn new(body: Vec<u8>, cut: bool) -> Self {
        let length = body.len();
        let mut data = Bytes::from(body);
        if cut {
            data.truncate(length / 2);
        }
        Self { data: Some(data), length, cut, flushed: false }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        if !self.flushed {
            // What is there is sent while there is nothing more to be had.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Cut)))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}

/// Ends a body early. The connection is closed and not reset, so that the half arrives.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulator cuts this answer")
    }
}

impl StdError for Cut {}
