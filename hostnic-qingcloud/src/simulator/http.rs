//! HTTP/1.1, and how it can break: a listener that can be taken away, connections that are reset, answers that end early.
//! On a port, and on connections that stay in the process.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::listeners::{Addresses, Refused, accept};

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
    /// No answer; this connection and all others are closed, and nobody listens for so long.
    Leave(Duration),
}

/// Answers requests.
pub(super) trait Responder: Send + Sync + 'static {
    fn respond(&self, request: Request) -> impl Future<Output = Reply> + Send;

    /// The time that answers tell; `None` for the machine's own.
    fn time(&self) -> Option<SystemTime> {
        None
    }
}

/// Listeners and their connections. They end with it.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Command {
    Listen { listen: bool, done: oneshot::Sender<Result<(), Refused>> },
    Leave(Duration),
    Connect(oneshot::Sender<io::Result<DuplexStream>>),
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
        let door = Door {
            addresses,
            listeners,
            back: None,
            connections: JoinSet::new(),
            commands: commands.downgrade(),
            responder,
        };
        let task = tokio::spawn(door.keep(inbox));
        Ok(Self { address, commands, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the listeners and all connections away, or listens again at the same addresses.
    pub(super) async fn listen(&self, listen: bool) -> Result<(), Refused> {
        let over = |source| Refused { address: self.address, source };
        self.ask(|done| Command::Listen { listen, done }).await.map_err(over)?
    }

    /// A connection that stays in the process.
    pub(super) async fn connect(&self) -> io::Result<DuplexStream> {
        self.ask(Command::Connect).await?
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        let over = || io::Error::other("the server has ended");
        self.commands.send(command(done)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The listeners and all that came through them.
struct Door<R> {
    addresses: Addresses,
    /// Empty while nobody listens.
    listeners: Vec<TcpListener>,
    /// When somebody listens again.
    back: Option<Instant>,
    connections: JoinSet<()>,
    /// For connections: it must not keep the server alive.
    commands: mpsc::WeakSender<Command>,
    responder: Arc<R>,
}

impl<R: Responder> Door<R> {
    /// How long a connection in the process buffers; more than any answer.
    const BUFFER: usize = 1 << 20;
    /// The time until the address is tried again that somebody took meanwhile.
    const RETRY: Duration = Duration::from_millis(100);

    async fn keep(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                stream = accept(&self.listeners) => {
                    // Answers are small and are waited for.
                    let _ = stream.set_nodelay(true);
                    self.let_in(stream);
                }
                Some(_) = self.connections.join_next() => {}
                () = until(self.back) => self.come_back().await,
                command = inbox.recv() => {
                    let Some(command) = command else { return };
                    self.obey(command).await;
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // Whoever asked may be gone, and then nobody wants the answer.
        match command {
            Command::Listen { listen, done } => {
                self.back = None;
                let result = if !listen {
                    self.leave().await;
                    Ok(())
                } else if self.listeners.is_empty() {
                    self.addresses.bind().await.map(|again| self.listeners = again)
                } else {
                    Ok(())
                };
                let _ = done.send(result);
            }
            Command::Leave(time) => {
                self.leave().await;
                self.back = Some(Instant::now() + time);
            }
            Command::Connect(done) => {
                let _ = done.send(self.connected());
            }
        }
    }

    async fn leave(&mut self) {
        self.listeners.clear();
        self.connections.shutdown().await;
    }

    async fn come_back(&mut self) {
        match self.addresses.bind().await {
            Ok(again) => (self.listeners, self.back) = (again, None),
            Err(Refused { address, source }) => {
                tracing::warn!(%address, error = %source, "the simulator cannot listen again yet");
                self.back = Some(Instant::now() + Self::RETRY);
            }
        }
    }

    fn connected(&mut self) -> io::Result<DuplexStream> {
        if self.listeners.is_empty() {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        let (theirs, ours) = tokio::io::duplex(Self::BUFFER);
        self.let_in(ours);
        Ok(theirs)
    }

    fn let_in(&mut self, stream: impl Stream) {
        let (commands, responder) = (self.commands.clone(), Arc::clone(&self.responder));
        self.connections.spawn(connection(stream, commands, responder));
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What a connection is made on.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends it as a broken one ends.
    fn reset(self);
}

impl Stream for TcpStream {
    fn reset(self) {
        if self.set_zero_linger().is_err() {
            tracing::warn!("a connection that was to be reset is closed instead");
        }
    }
}

/// Here there is no difference between closed and reset: the other end reads its end.
impl Stream for DuplexStream {
    fn reset(self) {}
}

async fn connection(
    stream: impl Stream,
    commands: mpsc::WeakSender<Command>,
    responder: Arc<impl Responder>,
) {
    let service = service_fn(move |request| {
        let (commands, responder) = (commands.clone(), Arc::clone(&responder));
        Box::pin(async move { answer(request, &commands, &*responder).await })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    let broken = |error: &hyper::Error| error.source().is_some_and(|source| source.is::<Broken>());
    if ended.is_err_and(|error| broken(&error)) {
        stream.reset();
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
    commands: &mpsc::WeakSender<Command>,
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
        Reply::Leave(time) => {
            if let Some(commands) = commands.upgrade()
                && commands.send(Command::Leave(time)).await.is_ok()
            {
                // Leaving ends this connection too. If it ended first, its caller could come again at once.
                std::future::pending::<()>().await;
            }
            return Err(Broken);
        }
    };
    let length = body.len();
    let mut response = Response::new(Payload::new(body, cut));
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Broken)?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if let Some(time) = responder.time() {
        let date = HeaderValue::from_str(&httpdate::fmt_http_date(time)).map_err(|_| Broken)?;
        response.headers_mut().insert(DATE, date);
    }
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
