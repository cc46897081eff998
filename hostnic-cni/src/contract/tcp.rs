//! TCP connections for the contract: at most so many at a time, and none that nothing is asked by.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::Connected;

/// How long to wait before the next try where no connection can be accepted: descriptors may run out for a while.
const PAUSE: Duration = Duration::from_millis(100);

/// What those who come by TCP may take up. The address is open to every process of the machine at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections at a time, at least one; more wait to be accepted. A plugin has one for one call.
    pub connections: usize,
    /// How long a connection may have no call under way before it is closed. A call may take as long as its own deadline
    /// allows.
    pub idle: Duration,
}

impl Default for TcpLimits {
    /// 256 connections, 10 s.
    fn default() -> Self {
        Self { connections: 256, idle: Duration::from_secs(10) }
    }
}

type Acquire = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

/// The connections of a listener, each when there is a place for it.
pub(super) struct Incoming {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle: Duration,
    next: Next,
}

/// What comes before the next connection.
enum Next {
    Place(Pin<Box<Acquire>>),
    Connection(OwnedSemaphorePermit),
    Pause(Pin<Box<Sleep>>),
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, limits: TcpLimits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let next = Next::Place(Box::pin(places.clone().acquire_owned()));
        Self { listener, places, idle: limits.idle, next }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Caller>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.next = match &mut self.next {
                Next::Place(place) => match ready!(place.as_mut().poll(cx)) {
                    Ok(place) => Next::Connection(place),
                    // Nobody closes the semaphore.
                    Err(_) => return Poll::Ready(None),
                },
                Next::Pause(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    Next::Place(Box::pin(self.places.clone().acquire_owned()))
                }
                Next::Connection(_) => {
                    let accepted = ready!(self.listener.poll_accept(cx));
                    let then = match accepted {
                        Ok(_) => Next::Place(Box::pin(self.places.clone().acquire_owned())),
                        Err(_) => Next::Pause(Box::pin(sleep(PAUSE))),
                    };
                    let idle = self.idle;
                    let Next::Connection(place) = std::mem::replace(&mut self.next, then) else { continue };
                    return Poll::Ready(Some(
                        accepted.and_then(|(stream, _)| Caller::new(stream, place, idle)),
                    ));
                }
            };
        }
    }
}

/// A connection, which ends when nothing was asked by it for long enough.
pub(super) struct Caller {
    stream: TcpStream,
    calls: Calls,
    idle: Duration,
    look: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Caller {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, idle: Duration) -> io::Result<Self> {
        // Answers are small and are waited for.
        stream.set_nodelay(true)?;
        let look = Box::pin(sleep(idle));
        Ok(Self { stream, calls: Calls::default(), idle, look, _place: place })
    }

    /// Whether nothing was asked for too long. Has the task woken when it is to look again.
    fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        while self.look.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let again = self.calls.idle_since().unwrap_or(now) + self.idle;
            if again <= now {
                return true;
            }
            self.look = Box::pin(sleep_until(again));
        }
        false
    }

    /// The stream to write to, unless the connection is over.
    fn writable(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.is_idle(cx) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Pin::new(&mut self.stream)) }
    }
}

impl AsyncRead for Caller {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // To the server it is as if the caller had hung up.
        if self.is_idle(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Caller {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writable(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Caller {
    type ConnectInfo = Calls;

    fn connect_info(&self) -> Calls {
        self.calls.clone()
    }
}

/// The calls of one connection.
#[derive(Debug, Clone)]
pub(super) struct Calls(Arc<Mutex<Counted>>);

#[derive(Debug)]
struct Counted {
    running: usize,
    /// When the last of them ended, or the connection began.
    ended: Instant,
}

impl Default for Calls {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Counted { running: 0, ended: Instant::now() })))
    }
}

impl Calls {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        // A number is changed, and nothing else.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; it ends with what is given back.
    pub(super) fn begin(&self) -> Running {
        self.counted().running += 1;
        Running(self.clone())
    }

    /// Since when no call is under way.
    fn idle_since(&self) -> Option<Instant> {
        let counted = self.counted();
        (counted.running == 0).then_some(counted.ended)
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Running(Calls);

impl Drop for Running {
    fn drop(&mut self) {
        let mut counted = self.0.counted();
        counted.running -= 1;
        counted.ended = Instant::now();
    }
}
