//! A netlink socket in one network namespace, with a thread that drives it.
//!
//! The kernel carries out a request while it is being sent, and moving a link takes it some 20 ms; so each
//! connection has a thread of its own, and the runtime's threads never wait for the kernel. The thread is also what
//! enters the namespace.

use std::fmt;
use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use hostnic_core::attachment::Sandbox;
use hostnic_core::point::{Point, Points};
use hostnic_core::{Error, ErrorKind, Result};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, SocketAddr};
use nix::errno::Errno;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::{self, KernelError};
use crate::netns::Netns;

/// How long a request may take unless [`Connection::with_deadline`] says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// How often a dump is begun again because the list changed under it.
const DUMP_ATTEMPTS: u32 = 8;
/// How long to wait for a list that nobody wants any more.
const ABANDONED_DUMP: Duration = Duration::from_millis(1);
/// Room for the events of a burst; the kernel tells us when even this was too small.
const EVENT_BUFFER: u32 = 1 << 20;

pub(crate) type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// A connection to the kernel's routing sockets in one network namespace.
///
/// Requests made at the same time are sent in the order in which their futures are first polled (so, with
/// [`futures::join!`], in the order written) and are not waited for one by one. Dropping a request's future stops
/// waiting for the answer, not the request. The namespace stays alive until the connection is closed or dropped.
pub struct Connection {
    handle: Handle,
    driver: Driver,
    sandbox: Sandbox,
    deadline: Duration,
    points: Points,
    /// The kernel gives one list at a time on a socket, and refuses a second one until the first is read.
    list: Mutex<()>,
}

impl Connection {
    /// Connects to the kernel in `netns`.
    ///
    /// # Errors
    /// `Invalid` when this is a namespace of another kind, `Unauthorised` when it may not be entered, `Transient`
    /// when no descriptor or thread is to be had.
    pub async fn open(netns: &Netns) -> Result<Self> {
        let (driver, handle, _) = Driver::start(netns, None).await?;
        let (sandbox, points) = (netns.sandbox(), Points::default());
        Ok(Self { handle, driver, sandbox, deadline: DEADLINE, points, list: Mutex::new(()) })
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

    /// Whether the socket was closed from the other side; every request then fails with `Transient`.
    pub fn is_closed(&self) -> bool {
        self.driver.stop.is_closed()
    }

    /// Closes the socket and returns when it is closed, so that nothing of ours holds the namespace any longer.
    pub async fn close(self) {
        self.driver.stop().await;
    }

    /// Sends a request that changes something, and waits until the kernel has done it.
    pub(crate) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), KernelError> {
        let asked = || self.ask(message, NLM_F_ACK | flags, self.due());
        self.points.pass(Point::ChangeKernel, asked).await.map(drop)
    }

    /// Asks for one object.
    pub(crate) async fn get(&self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, KernelError> {
        self.ask(message, 0, self.due()).await?.pop().ok_or(KernelError::Unexpected)
    }

    /// Asks for a list, again where it changed while it was read: a list is whole and of one moment, or an error.
    pub(crate) async fn dump(
        &self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        let due = self.due();
        let _turn =
            timeout_at(due, self.list.lock()).await.map_err(|_| KernelError::Deadline(self.deadline))?;
        let mut interrupted = 0;
        loop {
            match self.ask(message.clone(), NLM_F_DUMP, due).await {
                Err(KernelError::Interrupted(_)) if interrupted < DUMP_ATTEMPTS => interrupted += 1,
                // The list of a caller that was dropped is still being read by our thread.
                Err(e) if e.is(Errno::EBUSY) => tokio::time::sleep(ABANDONED_DUMP).await,
                Err(KernelError::Interrupted(_)) => return Err(KernelError::Interrupted(DUMP_ATTEMPTS)),
                result => return result,
            }
            if Instant::now() >= due {
                return Err(KernelError::Deadline(self.deadline));
            }
        }
    }

    fn due(&self) -> Instant {
        Instant::now() + self.deadline
    }

    async fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        due: Instant,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let replies = self.handle.clone().request(request).map_err(|_| KernelError::Closed)?;
        let ends_with_a_sign = flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        timeout_at(due, collect(replies, ends_with_a_sign))
            .await
            .map_err(|_| KernelError::Deadline(self.deadline))?
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}

/// Gathers the replies to one request. `ends_with_a_sign` says whether an acknowledgement or end of dump must come:
/// replies that merely stop were cut off.
async fn collect(
    replies: impl futures::Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
    ends_with_a_sign: bool,
) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
    let mut replies = std::pin::pin!(replies);
    let mut items = Vec::new();
    let mut interrupted = false;
    while let Some(reply) = replies.next().await {
        interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
        match reply.payload {
            NetlinkPayload::InnerMessage(item) => items.push(item),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(KernelError::refused(&error)),
            NetlinkPayload::Error(_) => return Ok(items),
            NetlinkPayload::Done(done) if done.code < 0 => return Err(KernelError::refused_code(done.code)),
            NetlinkPayload::Done(_) if interrupted => return Err(KernelError::Interrupted(1)),
            NetlinkPayload::Done(_) => return Ok(items),
            NetlinkPayload::Noop => {}
            _ => return Err(KernelError::Unexpected),
        }
    }
    if ends_with_a_sign || items.is_empty() { Err(KernelError::Closed) } else { Ok(items) }
}

/// The thread that drives one socket. It ends when this is dropped, after the request that it is just sending.
#[derive(Debug)]
pub(crate) struct Driver {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Driver {
    /// Starts a thread in `netns`; with `group`, its socket also hears that group's events.
    pub(crate) async fn start(
        netns: &Netns,
        group: Option<MulticastGroup>,
    ) -> Result<(Self, Handle, Events)> {
        let inside = netns.try_clone()?;
        let sandbox = netns.sandbox();
        let (ready, opened) = oneshot::channel();
        let (stop, until) = oneshot::channel::<()>();
        let (ended, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("hostnic-netlink".into())
            .spawn(move || {
                drive(inside, group, ready, until);
                drop(ended);
            })
            .map_err(|e| error::io(e, "start netlink thread", sandbox))?;
        let lost =
            |_| Error::new(ErrorKind::Internal, "open netlink socket", sandbox).detail("its thread ended");
        let (handle, events) = opened.await.map_err(lost)??;
        Ok((Self { stop, stopped }, handle, events))
    }

    #[cfg(test)]
    pub(crate) fn of_nothing() -> Self {
        Self { stop: oneshot::channel().0, stopped: oneshot::channel().1 }
    }

    /// Stops the thread and returns when it has let go of the socket.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // The other end is never used, only dropped.
        let _ = self.stopped.await;
    }
}

type Opened = Result<(Handle, Events)>;

fn drive(
    netns: Netns,
    group: Option<MulticastGroup>,
    ready: oneshot::Sender<Opened>,
    until: oneshot::Receiver<()>,
) {
    let sandbox = netns.sandbox();
    let started = netns.enter().and_then(|()| {
        let failed = |e| error::io(e, "open netlink socket", sandbox);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let inside = runtime.enter();
        let parts = open_socket(group).map_err(failed)?;
        drop(inside);
        Ok((runtime, parts))
    });
    match started {
        Ok((runtime, (connection, handle, events))) => {
            if ready.send(Ok((handle, events))).is_ok() {
                runtime.block_on(futures::future::select(connection, until));
            }
        }
        // Nobody listens any more when the caller was dropped.
        Err(error) => drop(ready.send(Err(error))),
    }
}

type Socket = netlink_proto::Connection<RouteNetlinkMessage>;

fn open_socket(group: Option<MulticastGroup>) -> io::Result<(Socket, Handle, Events)> {
    let (mut connection, handle, events) = match group {
        None => rtnetlink::new_connection_with_strict_check()?,
        Some(group) => rtnetlink::new_multicast_connection(&[group])?,
    };
    // Without these two an answer cannot be told from a socket that was closed.
    connection.set_forward_ack(true);
    connection.set_forward_done(true);
    let socket = connection.socket_mut().socket_mut();
    // The kernel's reasons in words, and not the refused request as well. Kernels before 4.12 have neither.
    let _ = socket.set_ext_ack(true).and_then(|()| socket.set_cap_ack(true));
    if group.is_some() {
        socket.set_rx_buf_sz(EVENT_BUFFER)?;
    }
    Ok((connection, handle, events))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, ErrorMessage, NLM_F_MULTIPART, NetlinkHeader};
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    type Reply = NetlinkMessage<RouteNetlinkMessage>;

    fn reply(flags: u16, payload: NetlinkPayload<RouteNetlinkMessage>) -> Reply {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        NetlinkMessage::new(header, payload)
    }

    fn link(flags: u16) -> Reply {
        let link = RouteNetlinkMessage::NewLink(LinkMessage::default());
        reply(NLM_F_MULTIPART | flags, NetlinkPayload::InnerMessage(link))
    }

    fn done(code: i32) -> Reply {
        let mut done = DoneMessage::default();
        done.code = code;
        reply(0, NetlinkPayload::Done(done))
    }

    async fn dumped(replies: Vec<Reply>) -> Result<usize, KernelError> {
        collect(futures::stream::iter(replies), true).await.map(|items| items.len())
    }

    #[tokio::test]
    async fn a_dump_is_whole_or_an_error() {
        assert!(matches!(dumped(vec![link(0), link(0), done(0)]).await, Ok(2)));
        // The list changed while it was read, which the kernel may tell on any of its messages.
        for replies in
            [vec![link(NLM_F_DUMP_INTR), link(0), done(0)], vec![link(0), link(NLM_F_DUMP_INTR), done(0)]]
        {
            assert!(matches!(dumped(replies).await, Err(KernelError::Interrupted(_))));
        }
        // A failure that came after the first links is told at the end.
        let refused = dumped(vec![link(0), done(-(Errno::ENODEV as i32))]).await.unwrap_err();
        assert!(refused.is(Errno::ENODEV), "{refused}");
        // The socket was closed in the middle.
        assert!(matches!(dumped(vec![link(0)]).await, Err(KernelError::Closed)));
    }

    #[tokio::test]
    async fn a_change_is_done_when_the_kernel_says_so() {
        let acknowledged = reply(0, NetlinkPayload::Error(ErrorMessage::default()));
        assert!(matches!(dumped(vec![acknowledged]).await, Ok(0)));
        assert!(matches!(dumped(vec![]).await, Err(KernelError::Closed)));
    }
}
