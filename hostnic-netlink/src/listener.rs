//! What drives a socket that hears the kernel's events: a thread of its own, or a task of one that many share.

use std::io;

use futures::channel::mpsc::UnboundedReceiver;
use hostnic_core::{Error, ErrorKind, Result};
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, SocketAddr};
use rtnetlink::MulticastGroup;
use tokio::sync::oneshot;

use crate::error;
use crate::netns::Netns;
use crate::visitor::Visitor;

/// Room for the events of a burst; the kernel tells us when even this was too small.
const BUFFER: u32 = 1 << 20;

pub(crate) type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

type Socket = netlink_proto::Connection<RouteNetlinkMessage>;

/// It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    _stop: oneshot::Sender<()>,
}

impl Listener {
    /// Starts a thread in `netns` that hears a group's events.
    pub(crate) async fn start(netns: &Netns, group: MulticastGroup) -> Result<(Self, Events)> {
        let inside = netns.try_clone()?;
        let sandbox = netns.sandbox();
        let (ready, opened) = oneshot::channel();
        let (stop, until) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("hostnic-events".into());
        let listen = move || listen(inside, group, ready, until);
        thread.spawn(listen).map_err(|e| error::io(e, "start netlink thread", sandbox))?;
        let lost =
            |_| Error::new(ErrorKind::Internal, "open netlink socket", sandbox).detail("its thread ended");
        let events = opened.await.map_err(lost)??;
        Ok((Self { _stop: stop }, events))
    }

    /// Has the visitor's thread hear them.
    pub(crate) async fn share(
        visitor: &Visitor,
        netns: &Netns,
        group: MulticastGroup,
    ) -> Result<(Self, Events)> {
        let sandbox = netns.sandbox();
        let open = move || {
            let opened = open_socket(group).map_err(|e| error::io(e, "open netlink socket", sandbox));
            let (connection, events) = opened?;
            let (stop, until) = oneshot::channel::<()>();
            tokio::task::spawn_local(async move { drop(futures::future::select(connection, until).await) });
            Ok((Self { _stop: stop }, events))
        };
        visitor.visit(netns, open).await
    }

    #[cfg(test)]
    pub(crate) fn of_nothing() -> Self {
        Self { _stop: oneshot::channel().0 }
    }
}

fn listen(
    netns: Netns,
    group: MulticastGroup,
    ready: oneshot::Sender<Result<Events>>,
    until: oneshot::Receiver<()>,
) {
    let sandbox = netns.sandbox();
    let entered = netns.enter();
    // The socket keeps the namespace.
    drop(netns);
    let started = entered.and_then(|()| {
        let failed = |e| error::io(e, "open netlink socket", sandbox);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let inside = runtime.enter();
        let parts = open_socket(group).map_err(failed)?;
        drop(inside);
        Ok((runtime, parts))
    });
    match started {
        Ok((runtime, (connection, events))) => {
            if ready.send(Ok(events)).is_ok() {
                runtime.block_on(futures::future::select(connection, until));
            }
        }
        // Nobody listens any more when the caller was dropped.
        Err(error) => drop(ready.send(Err(error))),
    }
}

fn open_socket(group: MulticastGroup) -> io::Result<(Socket, Events)> {
    let (mut connection, _, events) = rtnetlink::new_multicast_connection(&[group])?;
    connection.socket_mut().socket_mut().set_rx_buf_sz(BUFFER)?;
    Ok((connection, events))
}
