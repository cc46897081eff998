//! A netlink socket in one network namespace, with a thread that asks by it.
//!
//! The kernel carries out a request while it is being sent, and moving a link takes it some 20 ms; so each
//! connection has a thread of its own, or shares that of all pods, and the runtime's threads never wait for the kernel.
//! The thread is also what enters the namespace.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use hostnic_core::attachment::Sandbox;
use hostnic_core::point::{Point, Points};
use hostnic_core::{Error, ErrorKind, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::{self, KernelError};
use crate::netns::Netns;
use crate::request::{Answered, RequestSocket};
use crate::visitor::Visitor;

/// How long a request may take unless [`Connection::with_deadline`] says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// How often a dump is begun again because the list changed under it.
const DUMP_ATTEMPTS: u32 = 8;

/// A connection to the kernel's routing sockets in one network namespace.
///
/// Requests made at the same time are sent in the order in which their futures are first polled (so, with
/// [`futures::join!`], in the order written), and whoever asks need not wait for one before the next. Dropping a request's
/// future stops waiting for the answer, not the request. The namespace stays alive until the connection is closed or
/// dropped.
pub struct Connection {
    requests: mpsc::UnboundedSender<Request>,
    ended: oneshot::Receiver<()>,
    sandbox: Sandbox,
    deadline: Duration,
    points: Points,
}

/// Asks the kernel, and tells who waits for the answer.
type Request = Box<dyn FnOnce(&mut RequestSocket) + Send>;

impl Connection {
    /// Connects to the kernel in `netns`.
    ///
    /// # Errors
    /// `Invalid` when this is a namespace of another kind, `Unauthorised` when it may not be entered, `Transient`
    /// when no descriptor or thread is to be had.
    pub async fn open(netns: &Netns) -> Result<Self> {
        let inside = netns.try_clone()?;
        let sandbox = netns.sandbox();
        let (ready, opened) = oneshot::channel();
        let (requests, queue) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("hostnic-netlink".into());
        let ask = move || {
            ask(inside, ready, queue);
            drop(end);
        };
        thread.spawn(ask).map_err(|e| error::io(e, "start netlink thread", sandbox))?;
        let lost =
            |_| Error::new(ErrorKind::Internal, "open netlink socket", sandbox).detail("its thread ended");
        opened.await.map_err(lost)??;
        Ok(Self::new(requests, ended, sandbox))
    }

    /// The same, by a thread that many share. It is closed when that ends.
    pub(crate) async fn open_by(visitor: &Visitor, netns: &Netns) -> Result<Self> {
        let sandbox = netns.sandbox();
        let open = move || {
            let mut socket =
                RequestSocket::open().map_err(|e| error::io(e, "open netlink socket", sandbox))?;
            let (requests, mut queue) = mpsc::unbounded_channel::<Request>();
            let (end, ended) = oneshot::channel();
            tokio::task::spawn_local(async move {
                while let Some(request) = queue.recv().await {
                    request(&mut socket);
                }
                drop(socket);
                drop(end);
            });
            Ok(Self::new(requests, ended, sandbox))
        };
        visitor.visit(netns, open).await
    }

    fn new(requests: mpsc::UnboundedSender<Request>, ended: oneshot::Receiver<()>, sandbox: Sandbox) -> Self {
        Self { requests, ended, sandbox, deadline: DEADLINE, points: Points::default() }
    }

    /// The same connection, with another limit on the time of each request.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same connection, whose changes `points` hears of.
    #[must_use]
    pub fn with_points(mut self, points: Points) -> Self {
        self.points = points;
        self
    }

    /// The namespace that this leads to.
    pub fn sandbox(&self) -> Sandbox {
        self.sandbox
    }

    /// Whether its thread has ended; every request then fails with `Transient`.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Closes the socket and returns when it is closed, so that nothing of ours holds the namespace any longer.
    pub async fn close(self) {
        drop(self.requests);
        // The other end is never used, only dropped.
        let _ = self.ended.await;
    }

    /// Sends a request that changes something, and waits until the kernel has done it.
    pub(crate) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), KernelError> {
        let asked = || self.ask(message, NLM_F_ACK | flags, Some, self.due());
        self.points.pass(Point::ChangeKernel, asked).await.map(drop)
    }

    /// Asks for one object.
    pub(crate) async fn get(&self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, KernelError> {
        self.ask(message, 0, Some, self.due()).await?.pop().ok_or(KernelError::Unexpected)
    }

    /// Asks for a list, again where it changed while it was read: what is kept of a list is whole and of one moment, or an
    /// error.
    pub(crate) async fn dump<T: Send + 'static>(
        &self,
        message: RouteNetlinkMessage,
        keep: fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Answered<T> {
        let due = self.due();
        for _ in 0..DUMP_ATTEMPTS {
            match self.ask(message.clone(), NLM_F_DUMP, keep, due).await {
                Err(KernelError::Interrupted(_)) => {}
                result => return result,
            }
        }
        Err(KernelError::Interrupted(DUMP_ATTEMPTS))
    }

    fn due(&self) -> Instant {
        Instant::now() + self.deadline
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        keep: fn(RouteNetlinkMessage) -> Option<T>,
        due: Instant,
    ) -> Answered<T> {
        let (answer, answered) = oneshot::channel();
        let request = move |socket: &mut RequestSocket| {
            // Nobody listens any more when the caller was dropped.
            let _ = answer.send(socket.exchange(message, flags, keep));
        };
        self.requests.send(Box::new(request)).map_err(|_| KernelError::Closed)?;
        others_first().await;
        timeout_at(due, answered)
            .await
            .map_err(|_| KernelError::Deadline(self.deadline))?
            .map_err(|_| KernelError::Closed)?
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}

/// Lets the tasks that are ready have their turn. On the thread that asks the kernel the answer is there then, and no timer
/// was needed: each that is set wakes the thread.
async fn others_first() {
    let mut passed = false;
    poll_fn(|context| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Asks the kernel in `netns`, until nobody can ask any more.
fn ask(netns: Netns, ready: oneshot::Sender<Result<()>>, mut queue: mpsc::UnboundedReceiver<Request>) {
    let opened = netns.enter().and_then(|()| {
        RequestSocket::open().map_err(|e| error::io(e, "open netlink socket", netns.sandbox()))
    });
    // The socket keeps the namespace.
    drop(netns);
    match opened {
        Ok(mut socket) => {
            if ready.send(Ok(())).is_ok() {
                while let Some(request) = queue.blocking_recv() {
                    request(&mut socket);
                }
            }
        }
        // Nobody listens any more when the caller was dropped.
        Err(error) => drop(ready.send(Err(error))),
    }
}
